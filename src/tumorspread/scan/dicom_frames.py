"""DICOM headers: one `Frame` for every slice, from classic files and enhanced multi-frame files alike.

Only the tags that place and scale a slice, or say which series it is of, are read, so nothing about the patient is
ever held. Attribute definitions: DICOM PS3.3 C.7.6.2 (image plane), C.8.2.1 (CT image), C.7.6.16 (multi-frame
functional groups).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tumorspread.errors import GeometryError, ReadError
from tumorspread.scan.bundle import Bundle, kind_of, plain
from tumorspread.scan.dicom_stored import PIXEL_DATA_STARTS, Stored, check_inflated, stored_pixels
from tumorspread.scan.dicom_values import HEADER_TAGS, fault, shown, value_of
from tumorspread.scan.volume import Triple

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGES = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")

# Transfer syntaxes that always lose (JPEG baseline, JPEG extended, near-lossless JPEG-LS).
LOSSY_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
# JPEG 2000, its part 2 and its high-throughput kind may lose or not: only the attribute tells.
JPEG_2000 = ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.93", "1.2.840.10008.1.2.4.203")

# What pydicom and its codecs let out on damaged files (fuzzed, truncated, foreign and overwritten ones).
PYDICOM_FAULTS = (
    InvalidDicomError, BytesLengthException, AttributeError, KeyError, IndexError, ValueError, TypeError,
    OSError, EOFError, RuntimeError, OverflowError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip

# Most headers end before it, so that one read of a file is enough.
HEAD_BYTES = 2**15
HEADER_TAG_LIST = [Tag(keyword) for keyword in HEADER_TAGS]


@dataclass(frozen=True)
class Header:
    """The header of one DICOM file, values still as pydicom gives them.

    Attributes:
        file: name of the file in its bundle.
        dataset: the attributes.
        pixels: where uncompressed pixels lie in the file; None where they must be read through pydicom.
    """

    file: str
    dataset: Any
    pixels: Stored | None = None

    def text(self, keyword: str) -> str:
        """The attribute as text, several values with backslashes between; empty where it is missing or unreadable."""
        try:
            value = value_of(self.dataset, keyword) or ""
            return ("\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)).strip()
        except PYDICOM_FAULTS:
            return ""

    @property
    def is_ct_slice(self) -> bool:
        """Whether it is a CT image and not a localizer (scout, topogram)."""
        known = self.text("SOPClassUID") in (CT_IMAGE, *ENHANCED_CT_IMAGES)
        return known and self.text("Modality") == "CT" and not self.is_localizer

    @property
    def is_localizer(self) -> bool:
        """Whether it is a scout view by the third value of ImageType (PS3.3 C.8.2.1.1.1)."""
        return "LOCALIZER" in self.text("ImageType").upper()

    @property
    def is_lossy(self) -> bool:
        """Whether its pixels were ever compressed with loss."""
        syntax, tag = str(self.dataset.file_meta.TransferSyntaxUID), self.text("LossyImageCompression")
        return tag == "01" or syntax in LOSSY_SYNTAXES or (syntax in JPEG_2000 and tag != "00")


@dataclass(frozen=True)
class Frame:
    """One slice: where its pixels are stored and where they lie.

    Attributes:
        file: name of the file in its bundle.
        index: number of the frame in its file, from 0.
        frame_of_reference: UID of the coordinate system.
        size: rows, columns.
        orientation: direction of increasing column, then of increasing row, LPS.
        position_mm: centre of the first pixel, LPS x, y, z.
        pixel_spacing_mm: distance between rows, between columns.
        rescale: slope, intercept to HU.
        thickness_mm: nominal slice thickness; None where it is not given.
        pixels: where its uncompressed pixels lie; None where they must be read through pydicom.
    """

    file: str
    index: int
    frame_of_reference: str
    size: tuple[int, int]
    orientation: tuple[float, ...]
    position_mm: Triple
    pixel_spacing_mm: tuple[float, float]
    rescale: tuple[float, float]
    thickness_mm: float | None
    pixels: Stored | None = None


def read_header(bundle: Bundle, file: str) -> Header | None:
    """The attributes `HEADER_TAGS` of a file; None where its first bytes are not DICOM's.

    Raises:
        ReadError: damaged or truncated.
    """
    try:
        with bundle.open(file) as stream:
            head = stream.read(HEAD_BYTES)
            if kind_of(head) != "dicom":
                return None
            dataset, at = _read_head(head) if len(head) == HEAD_BYTES else (None, 0)
            if dataset is None:
                stream.seek(0)
                dataset, at = _read(stream, HEADER_TAG_LIST, pixels=False), stream.tell()
                stream.seek(0)
                head = stream.read(at + 12) if at < HEAD_BYTES else b""
        return Header(file, dataset, stored_pixels(dataset, head[at : at + 12], at))
    except PYDICOM_FAULTS as error:
        raise _damaged(file, error) from error


def _read_head(head: bytes) -> tuple[Any, int]:
    """The dataset and the place of its pixels, from a file's beginning; None where that holds not all of it."""
    stream = io.BytesIO(head)
    try:
        dataset = _read(stream, HEADER_TAG_LIST, pixels=False)
    except PYDICOM_FAULTS:
        return None, 0
    at = stream.tell()
    return (dataset, at) if head[at : at + 4] in PIXEL_DATA_STARTS else (None, 0)


def read_dataset(bundle: Bundle, file: str, tags: Sequence[str], *, pixels: bool) -> Any:
    """The attributes `tags` of a DICOM file as a pydicom dataset, its transfer syntax always set.

    Raises:
        ReadError: not DICOM, damaged or truncated.
    """
    try:
        with bundle.open(file) as stream:
            return _read(stream, [Tag(tag) for tag in tags], pixels=pixels)
    except PYDICOM_FAULTS as error:
        raise _damaged(file, error) from error


def _damaged(file: str, error: BaseException) -> ReadError:
    return ReadError(f"{plain(file)}: a damaged DICOM file ({fault(error)}); copy or export it again")


def _read(stream: BinaryIO, tags: Sequence[int], *, pixels: bool) -> Any:
    check_inflated(stream)
    dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True, specific_tags=list(tags))
    # It keeps the stream otherwise, and with it the beginning of every file.
    dataset.buffer = None
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def frames_of(header: Header) -> list[Frame]:
    """The slices of a CT file: one for a classic image, one a frame for an enhanced one.

    Raises:
        GeometryError: position, orientation or pixel spacing is missing or not finite.
        ReadError: no rescale to HU, no size, more than one sample a pixel, damaged attributes.
    """
    try:
        count = int(value_of(header.dataset, "NumberOfFrames") or 1)
        if header.text("SOPClassUID") in ENHANCED_CT_IMAGES:
            shared, groups = _functional_groups(header, count)
            return [_frame(header, i, [group, *shared]) for i, group in enumerate(groups)]
        if count != 1:
            raise ReadError(
                f"{plain(header.file)}: {count} frames in a single-frame CT image; expected 1, export it again"
            )
        return [_frame(header, 0, [header.dataset])]
    except PYDICOM_FAULTS as error:
        raise ReadError(
            f"{plain(header.file)}: damaged DICOM attributes ({fault(error)}); copy or export it again"
        ) from error


def _functional_groups(header: Header, count: int) -> tuple[list[Any], list[Any]]:
    shared = list(header.dataset.get("SharedFunctionalGroupsSequence") or [])
    groups = list(header.dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if len(groups) != count:
        raise GeometryError(
            f"{plain(header.file)}: {count} frames but {len(groups)} per-frame functional groups; "
            "the frames' places are unknown, export the scan again"
        )
    return shared, groups


def _frame(header: Header, index: int, places: Sequence[Any]) -> Frame:
    """One frame, its attributes looked up in `places`, first one first."""
    file, dataset = header.file, header.dataset
    rows, columns = (int(value_of(dataset, keyword) or 0) for keyword in ("Rows", "Columns"))
    if rows < 1 or columns < 1 or int(value_of(dataset, "SamplesPerPixel") or 1) != 1:
        raise ReadError(f"{plain(file)}: not a grey image with rows and columns; expected a CT slice, take it away")
    x, y, z = _numbers(file, places, ("PlanePositionSequence", "ImagePositionPatient"), 3)
    row, column = _numbers(file, places, ("PixelMeasuresSequence", "PixelSpacing"), 2)
    thickness = _find(places, ("PixelMeasuresSequence", "SliceThickness"))
    return Frame(
        file=file,
        index=index,
        frame_of_reference=header.text("FrameOfReferenceUID"),
        size=(rows, columns),
        orientation=_numbers(file, places, ("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        position_mm=(x, y, z),
        pixel_spacing_mm=(row, column),
        rescale=_rescale(file, places),
        thickness_mm=float(thickness) if thickness else None,
        pixels=header.pixels if places[0] is dataset else None,
    )


def _rescale(file: str, places: Sequence[Any]) -> tuple[float, float]:
    """Slope and intercept; without them, or with another unit than HU, the values cannot be compared."""
    group = "PixelValueTransformationSequence"
    slope, intercept, unit = (
        _find(places, (group, keyword)) for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType")
    )
    if slope is None or intercept is None:
        raise ReadError(f"{plain(file)}: no RescaleSlope or RescaleIntercept; expected a CT in HU, export it again")
    if unit and str(unit).strip().upper() != "HU":
        raise ReadError(f"{plain(file)}: values in {shown(str(unit))} (RescaleType); expected HU, take it away")
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ReadError(
            f"{plain(file)}: RescaleSlope {slope}, RescaleIntercept {intercept}; expected finite, not 0: export it "
            "again"
        )
    return float(slope), float(intercept)


def _find(places: Sequence[Any], key: tuple[str, str]) -> Any:
    """The attribute from the first place that has it, itself or in the functional group of that name."""
    group, keyword = key
    for place in places:
        holders = [place, *list(place.get(group) or [])[:1]]
        for holder in holders:
            value = value_of(holder, keyword)
            if value is not None and value != "":
                return value
    return None


def _numbers(file: str, places: Sequence[Any], key: tuple[str, str], count: int) -> tuple[float, ...]:
    value = _find(places, key)
    if value is None:
        raise GeometryError(f"{plain(file)}: no {key[1]}; the slice has no place in the world, export it again")
    numbers = np.atleast_1d(np.asarray(value, np.float64))
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise GeometryError(f"{plain(file)}: {key[1]} is not {count} finite numbers; export the scan again")
    return tuple(float(n) for n in numbers)
