"""NIfTI files: the only place that knows RAS.

NIfTI stores (x, y, z) in RAS+ mm; the house keeps (z, y, x) in LPS mm. nibabel reads header and voxels; ISA-L packs and
unpacks gzip in half the time of zlib.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from tumorspread.errors import GeometryError, OutputError, ReadError
from tumorspread.scan.pages import STRETCH_BYTES, let_go, roomy_empty
from tumorspread.scan.volume import Volume

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
REVERSE_AXES = np.eye(4)[[2, 1, 0, 3]]
# Of a file at once.
PIECE_BYTES = 2**22
# The most that deflate packs (RFC 1951: 258 bytes in 2 bits).
DEFLATE_RATIO = 1032

# What nibabel lets out on damaged files, seen on truncated, foreign and overwritten ones.
_NIBABEL_FAULTS = (
    ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, OverflowError, TypeError,
    MemoryError, KeyError, AttributeError, zlib.error,
    cast(type[Exception], isal_zlib.error),  # its stub says an instance
)  # fmt: skip


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI image (`.nii` or `.nii.gz`) with its scaling applied.

    Args:
        path: the file.

    Returns:
        The volume in the axes of the file, reversed to (z, y, x). Voxels keep the file's type unless a slope
        or intercept is set. A fourth dimension of length one is dropped.

    Raises:
        ReadError: missing, truncated, not NIfTI, or with more or fewer than three dimensions.
        GeometryError: no orientation (both codes 0), two orientations that disagree, zero spacing, shear.
    """
    if not path.is_file():
        raise ReadError(f"{path}: no such file")
    with _open(path) as stream:
        try:
            image = nib.Nifti1Image.from_stream(stream)
            header, affine = image.header, image.affine
        except _NIBABEL_FAULTS as error:
            raise ReadError(f"{path.name}: not a readable NIfTI file ({_short(error)})") from error
        shape = _check_shape(path, header.get_data_shape())
        _check_orientation(path, header, shape)
        try:
            voxels = _read_voxels(stream, image.dataobj)
            # gzip compares its checksum only at the end of the stream, which nibabel never reaches.
            while stream.read(2**20):
                pass
        except _NIBABEL_FAULTS as error:
            raise ReadError(f"{path.name}: its voxels cannot be read; damaged? ({_short(error)})") from error
    if voxels.dtype.kind not in "iufb":
        raise ReadError(f"{path.name}: voxels of type {voxels.dtype}; expected numbers, one a voxel")
    try:
        return Volume(voxels.reshape(shape).transpose(2, 1, 0), RAS_TO_LPS @ affine @ REVERSE_AXES)
    except GeometryError as error:
        raise GeometryError(f"{path.name}: {error}") from error


def check_nifti(path: Path, *, most_voxels: int) -> None:
    """Judge a NIfTI file by its header, before its voxels take memory.

    Args:
        path: the file.
        most_voxels: that it may have.

    Raises:
        ReadError: not NIfTI, not one 3-D image, more voxels than that, or more than the file can hold.
        GeometryError: as for `read_nifti`, of spacing and orientation.
    """
    with _open(path) as stream:
        try:
            image = nib.Nifti1Image.from_stream(stream)
            shape, bytes_a_voxel = image.header.get_data_shape(), image.header.get_data_dtype().itemsize
        except _NIBABEL_FAULTS as error:
            raise ReadError(f"{path.name}: not a readable NIfTI file ({_short(error)})") from error
    if any(n < 1 for n in shape) or math.prod(shape) > most_voxels:
        raise ReadError(f"{path.name}: claims {math.prod(shape)} voxels; expected 1 to {most_voxels}")
    held = path.stat().st_size * (DEFLATE_RATIO if isinstance(stream, igzip.IGzipFile) else 1)
    if math.prod(shape) * bytes_a_voxel > held:
        raise ReadError(f"{path.name}: claims {math.prod(shape)} voxels, more than the file can hold")
    _check_orientation(path, image.header, _check_shape(path, shape))
    try:
        Volume(np.broadcast_to(np.int8(0), shape[:3][::-1]), RAS_TO_LPS @ image.affine @ REVERSE_AXES)
    except GeometryError as error:
        raise GeometryError(f"{path.name}: {error}") from error


def write_nifti(volume: Volume, path: str | Path) -> None:
    """Write a volume so that `read_nifti` gives it back: same voxels, same type, same place.

    The file appears whole or not at all.

    Raises:
        OutputError: the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    voxels = volume.voxels.view(np.uint8) if volume.voxels.dtype == bool else volume.voxels
    image = nib.Nifti1Image(voxels.transpose(2, 1, 0), RAS_TO_LPS @ volume.affine @ REVERSE_AXES)
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _create(unfinished) as stream:
            image.to_stream(stream)
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _open(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where they are gzip; their first two say so, whatever the name."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({_short(error)})") from error
    if stream.read(2) == b"\x1f\x8b":
        stream.close()
        return cast(IO[bytes], igzip.open(path))
    stream.seek(0)
    return stream


@contextmanager
def _create(path: Path) -> Iterator[IO[bytes]]:
    with path.open("wb") as file:
        if not path.name.endswith(".gz"):
            yield file
            return
        # Neither time nor name in its header: the same volume gives the same bytes.
        with igzip.IGzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed:
            yield cast(IO[bytes], packed)


def _read_voxels(stream: IO[bytes], data: Any) -> NDArray[Any]:
    """The voxels, (x, y, z), unpacked piece by piece into their place: nibabel and gzip would hold them twice.

    Raises:
        EOFError: the file ends before.
    """
    slope, intercept = data.slope, data.inter
    if (slope, intercept) != (1.0, 0.0):
        return np.asanyarray(data)
    stream.seek(data.offset)
    flat = roomy_empty((math.prod(data.shape),), data.dtype)
    room = flat.view(np.uint8).data
    while room:
        if len(room) % STRETCH_BYTES < PIECE_BYTES:
            let_go(flat)
        piece = stream.read(min(len(room), PIECE_BYTES))
        if not piece:
            raise EOFError(f"ends {len(room)} bytes too soon")
        room[: len(piece)] = piece
        room = room[len(piece) :]
    return flat.reshape(data.shape, order="F")


def _check_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    trimmed = shape
    while len(trimmed) > 3 and trimmed[-1] == 1:
        trimmed = trimmed[:-1]
    if len(trimmed) != 3:
        raise ReadError(f"{path.name}: {len(shape)} dimensions {shape}; expected one 3-D image")
    if 0 in trimmed:
        raise ReadError(f"{path.name}: the image is empty, shape {shape}")
    return trimmed


def _check_orientation(path: Path, header: Any, shape: tuple[int, ...]) -> None:
    """Left is told from right by the affine alone, so an absent or contradicted one is refused."""
    zooms = header["pixdim"][1:4]
    if not np.isfinite(zooms).all() or (zooms == 0).any():
        raise GeometryError(f"{path.name}: voxel spacing {[float(z) for z in zooms]}; expected mm above 0")
    try:
        sform, sform_code = header.get_sform(coded=True)
        qform, qform_code = header.get_qform(coded=True)
    except (HeaderDataError, ValueError) as error:
        raise GeometryError(f"{path.name}: its orientation cannot be read ({_short(error)})") from error
    if not sform_code and not qform_code:
        raise GeometryError(
            f"{path.name}: no orientation (qform_code and sform_code are 0), so left and right are unknown; "
            "convert the scan again with a tool that writes one"
        )
    if sform_code and qform_code and np.isfinite(sform).all():
        corners = _corners(shape)
        apart = np.linalg.norm(((sform - qform) @ corners)[:3], axis=0).max()
        if apart > 1.0 + float(np.abs(zooms).max()):
            raise GeometryError(
                f"{path.name}: its two orientations (sform, qform) disagree by {apart:.0f} mm; "
                "left and right are ambiguous; convert the scan again"
            )


def _corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    return np.vstack([ends, np.ones(ends.shape[1])])


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
