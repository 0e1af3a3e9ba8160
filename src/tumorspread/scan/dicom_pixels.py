"""The pixels of DICOM slices, in HU.

Uncompressed pixels go straight from the file's bytes into a preallocated array, which is the fastest way we
measured; compressed ones through pydicom's codecs (pylibjpeg-openjpeg, pyjpegls, gdcm; none of them GPL).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import pixel_array

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import Bundle, plain, short
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, Frame, read_dataset

PIXEL_TAGS = [
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "PixelData",
]  # fmt: skip
_INT16 = np.iinfo(np.int16)


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
    voxels = _allocate(len(frames), frames[0].size, np.int16 if whole else np.float32)
    stored, held = np.empty(0), ""
    for z, frame in enumerate(frames):
        if frame.file != held:
            stored, held = _decode(bundle, frame.file), frame.file
        plane = stored[frame.index]
        slope, intercept = frame.rescale
        ends = [float(end) * slope + intercept for end in (plane.min(), plane.max())]
        if voxels.dtype == np.int16 and (min(ends) < _INT16.min or max(ends) > _INT16.max):
            voxels = voxels.astype(np.float32)
        if voxels.dtype == np.int16:
            # Modulo 2**16 all the way: exact because the result is known to fit, and needs no wider copy.
            voxels[z] = plane
            voxels[z] *= np.uint16(int(slope) % 2**16).astype(np.int16)
            voxels[z] += np.uint16(int(intercept) % 2**16).astype(np.int16)
        else:
            voxels[z] = plane * slope + intercept
    return voxels


def _allocate(count: int, size: tuple[int, int], dtype: type[np.int16] | type[np.float32]) -> NDArray[Any]:
    try:
        return np.empty((count, *size), dtype)
    except MemoryError as error:
        raise ReadError(f"{count} slices of {size[0]}x{size[1]} do not fit into memory; is it a CT?") from error


def _decode(bundle: Bundle, file: str) -> NDArray[Any]:
    """The stored values of a file, (frames, rows, columns)."""
    dataset = read_dataset(bundle, file, PIXEL_TAGS, pixels=True)
    try:
        if "PixelData" not in dataset or not dataset.PixelData:
            raise ReadError(f"{plain(file)}: no pixel data; expected a CT slice, export it again")
        shape = (int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns))
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and not syntax.is_deflated:
            stored = _decompress(file, dataset).reshape(shape)
        else:
            stored = _unpack(file, dataset, shape)
        _check_bits(file, dataset, stored)
    except PYDICOM_FAULTS as error:
        raise ReadError(f"{plain(file)}: damaged pixel attributes ({short(error)}); export it again") from error
    return stored


def _unpack(file: str, dataset: Any, shape: tuple[int, int, int]) -> NDArray[Any]:
    signed, size = "ui"[int(dataset.PixelRepresentation)], int(dataset.BitsAllocated) // 8
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    expected = int(np.prod(shape)) * size
    if len(dataset.PixelData) < expected:
        raise ReadError(f"{plain(file)}: {len(dataset.PixelData)} bytes of pixels, expected {expected}; truncated?")
    return np.frombuffer(dataset.PixelData, f"{order}{signed}{size}", expected // size).reshape(shape)


def _decompress(file: str, dataset: Any) -> NDArray[Any]:
    try:
        return np.asarray(pixel_array(dataset, raw=True))
    except PYDICOM_FAULTS as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        raise ReadError(
            f"{plain(file)}: pixels in {syntax.name} cannot be decoded ({short(error)}); "
            "damaged, or decompress it first"
        ) from error


def _check_bits(file: str, dataset: Any, stored: NDArray[Any]) -> None:
    """Bits above BitsStored (old overlays, padding of another type) would turn into false HU."""
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if int(dataset.get("HighBit") or bits - 1) != bits - 1 or stored.min() < low or stored.max() > high:
        raise ReadError(
            f"{plain(file)}: stored values {stored.min()} to {stored.max()} do not fit BitsStored {bits} "
            f"({low} to {high}); overlays or padding in the pixels, export it again"
        )
