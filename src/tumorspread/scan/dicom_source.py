"""What results must carry over from the series they were found in: whose scan it is, and where its slices lie.

Patient, study and frame of reference of a result are those of its scan, or a PACS files it under somebody else. Only
the attributes named here are taken, since a header holds much more, and not all of it is valid. Attribute definitions:
DICOM PS3.3 C.7.1.1 (patient), C.7.2.1 (general study), C.7.4.1 (frame of reference).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.config import RAISE, disable_value_validation
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import Bundle, plain
from tumorspread.scan.dicom import find_stack
from tumorspread.scan.dicom_dir import open_dicom
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS
from tumorspread.scan.dicom_values import fault
from tumorspread.scan.quiet import quiet
from tumorspread.scan.volume import Volume

# What a result is filed by; taken as it stands, since another spelling would be another patient or study.
_IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyInstanceUID", "StudyID",
    "ReferringPhysicianName", "StudyDescription", "FrameOfReferenceUID", "SeriesInstanceUID", "SOPClassUID",
    "SOPInstanceUID", "Modality", "PositionReferenceIndicator",
)  # fmt: skip
# Left out where they are not valid: a result must not repeat a date like "unknown".
_CHECKED = (
    "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "StudyDate", "StudyTime",
    "ContentDate", "ContentTime", "SeriesNumber", "PatientIdentityRemoved", "DeidentificationMethod",
    "LongitudinalTemporalInformationModified",
)  # fmt: skip
_GEOMETRY = (
    "Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "DeidentificationMethodCodeSequence",
)  # fmt: skip
# Type 2 in PS3.3: they must be there, and may be empty.
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
# What slices of one scan share; where they do not, results would be filed with somebody, but with whom?
_SHARED = ("PatientID", "StudyInstanceUID")
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True, eq=False)
class Source:
    """The series that was read, as results refer to it.

    Attributes:
        images: the headers, one a file, in the order of the volume's slices; see `read_source` for what they hold.
        frames: for each slice of the volume its image, as an index of `images`, and its frame in that, both from 0.
        grid: affine and shape as the slices give them. Of a tilted gantry the volume that was read has the same slices
            on larger planes.
    """

    images: tuple[Any, ...]
    frames: tuple[tuple[int, int], ...]
    grid: Volume

    @property
    def first(self) -> Any:
        """The header that stands for what all of them share."""
        return self.images[0]

    @property
    def frame_of_reference(self) -> str:
        """UID of the coordinate system."""
        return str(self.first.FrameOfReferenceUID)


def read_source(
    path: Path,
    *,
    series: str | None = None,
    made_at: tuple[str, str] | None = None,
    change: Callable[[Dataset], Dataset] | None = None,
) -> Source:
    """Read the headers of the series that `read_dicom` reads.

    Args:
        path: folder, zip, DICOMDIR or file, as for `read_dicom`.
        series: as for `read_dicom`.
        made_at: date (YYYYMMDD) and time (HHMMSS) of the results. They stand in each header as ContentDate and
            ContentTime, so that `change` shifts them as it shifts the others.
        change: makes a header into the one that results may show, such as a `Deidentifier`.

    Returns:
        Headers with the attributes that results take over, text as `str`, without private ones and pixels. Empty
        where the standard asks for an attribute that may be empty. Without a FrameOfReferenceUID one is made of the
        series' UID, the same on every run.

    Raises:
        ReadError: as `read_dicom`; or no UID of study, series or instance, or several patients or studies.
        GeometryError: as `read_dicom`.
    """
    stack = find_stack(path, series=series)
    order = {file: place for place, file in enumerate(dict.fromkeys(frame.file for frame in stack.frames))}
    with open_dicom(path) as (bundle, _), quiet(), disable_value_validation():
        images = tuple(_image(bundle.name, file, _read(bundle, file), made_at, change) for file in order)
    _check_shared(bundle.name, images)
    for image in images:
        # A multi-frame file has it in its functional groups.
        if "NumberOfFrames" not in image and not image.get("SliceThickness"):
            image.SliceThickness = f"{stack.step_mm:.6g}"
    frames = tuple((order[frame.file], frame.index) for frame in stack.frames)
    # One byte stands for all voxels: only shape and affine are asked for.
    voxels = np.broadcast_to(np.uint8(0), (len(frames), *stack.frames[0].size))
    return Source(images, frames, Volume(voxels, stack.affine))


def _read(bundle: Bundle, file: str) -> Any:
    try:
        with bundle.open(file) as stream:
            return pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    except PYDICOM_FAULTS as error:
        raise ReadError(f"{plain(file)}: a damaged DICOM file ({fault(error)}); export it again") from error


def _image(
    name: str,
    file: str,
    dataset: Any,
    made_at: tuple[str, str] | None,
    change: Callable[[Dataset], Dataset] | None,
) -> Dataset:
    try:
        if made_at is not None:
            dataset.ContentDate, dataset.ContentTime = made_at
        image = _taken(dataset if change is None else change(dataset))
    except PYDICOM_FAULTS as error:
        raise ReadError(f"{plain(file)}: damaged DICOM attributes ({fault(error)}); export it again") from error
    missing = [keyword for keyword in _NEEDED if not image.get(keyword)]
    if missing:
        raise ReadError(
            f"{name}: {plain(file)} has no {missing[0]}, so results cannot refer to it; export the series "
            "again, or leave the DICOM results out with --no-dicom"
        )
    if not image.get("FrameOfReferenceUID"):
        image.FrameOfReferenceUID = made_uid(image.SeriesInstanceUID, "frame of reference")
    return image


def _check_shared(name: str, images: Sequence[Dataset]) -> None:
    for keyword in _SHARED:
        count = len({str(image.get(keyword) or "") for image in images})
        if count > 1:
            raise ReadError(
                f"{name}: {count} values of {keyword} in one series, so results cannot be filed; give one scan, "
                "or leave the DICOM results out with --no-dicom"
            )


def made_uid(*parts: str) -> str:
    """A UID that is the same for the same texts, of the kind made from UUIDs (PS3.5 annex B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '|'.join(parts)).int}"


def _taken(dataset: Dataset) -> Dataset:
    taken = Dataset()
    for keyword in (*_IDENTITY, *_CHECKED, *_GEOMETRY):
        value = _value(dataset, keyword)
        if value is not None or keyword in _MAY_BE_EMPTY:
            setattr(taken, keyword, value)
    texts = [str(element.value) for element in taken if element.VR in ("PN", "LO", "SH", "LT", "CS")]
    if not all(text.isascii() for text in texts):
        taken.SpecificCharacterSet = "ISO_IR 192"
    return taken


def _value(dataset: Dataset, keyword: str) -> Any:
    """The value as results may repeat it; None where there is none."""
    if keyword not in dataset:
        return None
    element = dataset[keyword]
    value = element.value
    if element.is_empty or (element.VR == "UI" and isinstance(value, MultiValue)):
        return None
    if element.VR in ("PN", "LO", "SH", "LT", "CS", "UI") and keyword not in _GEOMETRY:
        value = ("\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)).strip()
    if keyword not in _CHECKED:
        return value
    if keyword == "PatientSex" and value not in _SEXES:
        return None
    try:
        validate_value(element.VR, value, RAISE)
    except ValueError:
        return None
    return value
