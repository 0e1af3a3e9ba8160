"""The pixels of DICOM slices, in HU.

Uncompressed slices go straight from the file's bytes into a preallocated array, which is the fastest way we
measured; the rest through `dicom_codec`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import Bundle, plain
from tumorspread.scan.dicom_codec import is_packed, unpack
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, Frame, read_dataset
from tumorspread.scan.dicom_stored import Stored
from tumorspread.scan.dicom_values import fault, shown
from tumorspread.scan.pages import let_go, planes_a_stretch, roomy_empty

PIXEL_TAGS = [
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "PixelData",
]  # fmt: skip
PLAIN_SYNTAXES = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
)  # fmt: skip
_INT16 = np.iinfo(np.int16)
# A CT matrix has 512 to 2048 pixels an edge; codecs take 40 bytes a pixel for what a damaged header asks for.
MAX_PLANE_PIXELS = 2**24


def read_hu(bundle: Bundle, frames: Sequence[Frame]) -> NDArray[Any]:
    """The HU of the slices, in their order.

    Padding outside the scanner's circle (-3024 and the like) stays as it is.

    Returns:
        (slices, rows, columns), int16 where every slope, intercept and value is an integer of that range,
        else float32.

    Raises:
        ReadError: pixel data missing, truncated, beyond its declared bits or not decodable.
    """
    whole = all(number.is_integer() for frame in frames for number in frame.rescale)
    voxels = _allocate(frames[0].file, len(frames), frames[0].size, np.int16 if whole else np.float32)
    stored, held = np.empty(0), ""
    buffer = np.empty(frames[0].size, np.int16)
    for z, frame in enumerate(frames):
        if frame.pixels is not None:
            plane, low, high = _read_straight(bundle, frame, frame.pixels, buffer)
        else:
            if frame.file != held:
                stored, held = _decode(bundle, frame.file), frame.file
            plane = stored[frame.index]
            low, high = int(plane.min()), int(plane.max())
        voxels = _rescale(voxels, z, plane, frame.rescale, (low, high))
        if z % planes_a_stretch(voxels) == 0:
            let_go(voxels)
    return voxels


def _rescale(
    voxels: NDArray[Any], z: int, plane: NDArray[Any], rescale: tuple[float, float], ends: tuple[int, int]
) -> NDArray[Any]:
    """Put the HU of a plane of stored values into `voxels`; the answer is a wider copy where int16 is too small."""
    slope, intercept = rescale
    hu = [end * slope + intercept for end in ends]
    if voxels.dtype == np.int16 and (min(hu) < _INT16.min or max(hu) > _INT16.max):
        voxels = voxels.astype(np.float32)
    if voxels.dtype != np.int16:
        voxels[z] = plane * slope + intercept
        return voxels
    # Modulo 2**16 all the way: exact because the result is known to fit, and needs no wider copy.
    shift = np.uint16(int(intercept) % 2**16).astype(np.int16)
    if slope == 1 and plane.dtype in (np.int16, np.uint16):
        np.add(plane.view(np.int16), shift, out=voxels[z])
    else:
        voxels[z] = plane
        voxels[z] *= np.uint16(int(slope) % 2**16).astype(np.int16)
        voxels[z] += shift
    return voxels


def _read_straight(
    bundle: Bundle, frame: Frame, pixels: Stored, buffer: NDArray[np.int16]
) -> tuple[NDArray[Any], int, int]:
    """The stored values of a slice, in the buffer until the next one, with their least and greatest."""
    try:
        with bundle.open(frame.file) as stream:
            stream.seek(pixels.start)
            count = stream.readinto(buffer.data.cast("B"))  # type: ignore[attr-defined]
    except PYDICOM_FAULTS as error:
        raise ReadError(f"{plain(frame.file)}: cannot be read ({fault(error)}); copy or export it again") from error
    _check_length(frame.file, min(count, pixels.length), buffer.nbytes)
    plane = buffer.view(pixels.dtype)
    low, high = int(plane.min()), int(plane.max())
    _check_bits(frame.file, pixels, low, high)
    return plane, low, high


def _allocate(file: str, count: int, size: tuple[int, int], dtype: type[np.int16] | type[np.float32]) -> NDArray[Any]:
    rows, columns = size
    if rows * columns > MAX_PLANE_PIXELS:
        raise ReadError(f"{plain(file)}: a slice of {rows}x{columns} pixels is no CT; export it again")
    try:
        return roomy_empty((count, *size), dtype)
    except MemoryError as error:
        raise ReadError(
            f"{count} slices of {rows}x{columns} do not fit into memory; is it a CT? give a smaller one"
        ) from error


def _decode(bundle: Bundle, file: str) -> NDArray[Any]:
    """The stored values of a file, (frames, rows, columns)."""
    dataset = read_dataset(bundle, file, PIXEL_TAGS, pixels=True)
    try:
        if "PixelData" not in dataset or not dataset.PixelData:
            raise ReadError(f"{plain(file)}: no pixel data; expected a CT slice, export it again")
        shape = (int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns))
        syntax, bits = dataset.file_meta.TransferSyntaxUID, int(dataset.BitsStored)
        if syntax not in PLAIN_SYNTAXES or int(dataset.BitsAllocated) != 16:
            stored = _decompress(file, dataset, shape)
        else:
            stored = _unpack(file, dataset, shape)
        sign, high_bit = "ui"[int(dataset.PixelRepresentation)], int(dataset.get("HighBit") or bits - 1)
        layout = Stored(0, 0, f"{sign}2", bits, high_bit)
        _check_bits(file, layout, int(stored.min()), int(stored.max()))
    except PYDICOM_FAULTS as error:
        raise ReadError(f"{plain(file)}: damaged pixel attributes ({fault(error)}); export it again") from error
    return stored


def _unpack(file: str, dataset: Any, shape: tuple[int, int, int]) -> NDArray[Any]:
    sign = "ui"[int(dataset.PixelRepresentation)]
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    count = int(np.prod(shape))
    _check_length(file, len(dataset.PixelData), 2 * count)
    return np.frombuffer(dataset.PixelData, f"{order}{sign}2", count).reshape(shape)


def _decompress(file: str, dataset: Any, shape: tuple[int, int, int]) -> NDArray[Any]:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        if is_packed(syntax):
            return unpack(dataset, shape)
        return np.asarray(pixel_array(dataset, raw=True)).reshape(shape)
    except PYDICOM_FAULTS as error:
        name = syntax.name if syntax.name != syntax else shown(syntax)
        raise ReadError(
            f"{plain(file)}: pixels in {name} cannot be decoded ({fault(error)}); damaged, or decompress it first"
        ) from error


def _check_length(file: str, found: int, expected: int) -> None:
    if found < expected:
        raise ReadError(
            f"{plain(file)}: {found} bytes of pixels, expected {expected}; truncated? copy or export it again"
        )


def _check_bits(file: str, pixels: Stored, low: int, high: int) -> None:
    """Bits above BitsStored (old overlays, padding of another type) would turn into false HU."""
    bits = pixels.bits
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if "i" in pixels.dtype else (0, (1 << bits) - 1)
    if pixels.high_bit != bits - 1 or low < least or high > most:
        raise ReadError(
            f"{plain(file)}: stored values {low} to {high} do not fit BitsStored {bits} "
            f"({least} to {most}); overlays or padding in the pixels, export it again"
        )
