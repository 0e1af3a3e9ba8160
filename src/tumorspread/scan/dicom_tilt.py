"""A series scanned with a tilted gantry, brought to an upright grid.

With the gantry tilted the table still moves level, so every slice lies a little sideways of the one before: the stack
is sheared, and no `Volume` can hold it. Each slice is shifted within its own plane to where an upright stack, square to
the slices, has its grid. Slices stay the planes they were, so contours and masks drawn on them keep their slices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import GeometryError, ReadError
from tumorspread.scan.bundle import plain
from tumorspread.scan.dicom_gate import Stack
from tumorspread.scan.volume import Remark, Volume

AIR_HU = -1024


def stand_upright(voxels: NDArray[Any], stack: Stack) -> Volume:
    """The volume of a stack whose slices lean, each shifted by linear interpolation, nothing cut off.

    The grid grows down and across the slices by as much as they lean in all; what no slice covers is air (-1024 HU).
    A point of the world is at the same HU before and after, to within what linear interpolation smooths (over two
    pixels); on an axis without lean nothing changes.

    Args:
        voxels: HU of the slices of `stack`, in their order.
        stack: may be upright.

    Returns:
        The volume in place in the world, with the remark `gantry_tilt_resampled`; an upright stack as it is, without.

    Raises:
        ReadError: it does not fit into memory.
    """
    if stack.tilt_degrees == 0:
        return Volume(voxels, stack.affine)
    shifts = np.outer(np.arange(len(voxels)), stack.lean_mm) / np.linalg.norm(stack.affine[:3, 1:3], axis=0)
    # Whole pixels before the first slice, so that the first, at least, is not interpolated.
    first = np.floor(shifts.min(axis=0)).astype(int)
    extra = np.ceil(shifts.max(axis=0)).astype(int) - first
    size = (len(voxels), voxels.shape[1] + extra[0], voxels.shape[2] + extra[1])
    try:
        upright = np.full(size, AIR_HU, voxels.dtype)
    except MemoryError as error:
        raise ReadError(f"resampled for its tilt, {size} voxels do not fit into memory; read a part of it") from error
    for z, plane in enumerate(voxels):
        _place(plane, shifts[z] - first, upright[z])
    affine = stack.affine.copy()
    affine[:3, 3] += affine[:3, 1:3] @ first
    text = (
        f"the slices lean by {stack.tilt_degrees:.2f} degrees (gantry tilt); they were resampled to an upright grid, "
        f"{size[1]}x{size[2]} for {voxels.shape[1]}x{voxels.shape[2]} pixels"
    )
    return Volume(upright, affine, (Remark("gantry_tilt_resampled", text),))


def check_upright(name: str, stack: Stack) -> None:
    """Refuse a stack whose slices lean.

    Raises:
        GeometryError: they do.
    """
    if stack.tilt_degrees > 0:
        raise GeometryError(
            f"{plain(name)}: the slices lean by {stack.tilt_degrees:.2f} degrees against their stack (gantry tilt), "
            f"from {plain(stack.frames[0].file)} on; expected an upright stack: allow --tilt resample, or resample it "
            "before"
        )


def _place(plane: NDArray[Any], shift: NDArray[np.float64], into: NDArray[Any]) -> None:
    """Put a plane into a larger one of air, `shift` pixels down and across from its corner."""
    whole = np.floor(shift).astype(int)
    mixed = plane
    for axis, part in enumerate(shift - whole):
        mixed = _shift_part(mixed, axis, float(part))
    rows, columns = (slice(start, start + n) for start, n in zip(whole, mixed.shape, strict=True))
    into[rows, columns] = mixed if into.dtype.kind == "f" or mixed is plane else np.rint(mixed)


def _shift_part(plane: NDArray[Any], axis: int, part: float) -> NDArray[Any]:
    """The plane shifted by a part of a pixel along an axis, and longer by one, with air around it."""
    if part == 0:
        return plane
    padding = [(1, 1) if i == axis else (0, 0) for i in range(2)]
    padded = np.moveaxis(np.pad(plane.astype(np.float32), padding, constant_values=AIR_HU), axis, 0)
    return np.moveaxis(padded[1:] * np.float32(1 - part) + padded[:-1] * np.float32(part), 0, axis)
