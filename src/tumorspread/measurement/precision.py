"""How far a number can be off because voxels are not small: error bars from the mask alone.

Each bar is the half width of an interval that held the truth in at least 95 % of balls, ellipsoids, tori and
dumb-bells of 3 to 60 mm, at any angle and place, on grids of 0.5 to 5 mm (`tests/measurement/test_precision.py`).
They say nothing of where a reader or a model would have drawn the outline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Shares of a voxel, fitted on such solids: of each voxel of the surface, all independent of each other, and of each
# voxel of the first and the last slice along an axis, which are wrong together.
FACE_SHARE, END_SHARE = 0.3, 0.5
# Shares of a pixel, of the long axis over the squared number of slices, and of the change to the next slice.
PIXEL_SHARE, SLICE_SHARE, NEIGHBOUR_SHARE = 1.1, 1.0, 0.5


def volume_error_ml(mask: NDArray[np.bool_], voxel_ml: float) -> float:
    """Error bar of the volume of one lesion.

    The voxels of the surface are in or out by chance, so that their errors add in squares; at the ends of the lesion
    a whole slice is in or out at once (midpoint rule), and few thick slices make that the larger part.

    Args:
        mask: bool (z, y, x), not empty.
        voxel_ml: volume of one voxel.
    """
    faces, ends = 0, 0.0
    closed = np.pad(mask, 1).astype(np.int8)
    for axis in range(3):
        faces += int(np.count_nonzero(np.diff(closed, axis=axis)))
        sizes = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        filled = np.flatnonzero(sizes)
        ends += float(sizes[filled[0]]) ** 2 + float(sizes[filled[-1]]) ** 2
    return voxel_ml * float(np.sqrt(FACE_SHARE**2 * faces + END_SHARE**2 * ends))


def axis_error_mm(length_mm: float, pixel_mm: float, slice_count: int, to_next_mm: float) -> float:
    """Error bar of the long or the short axis of one lesion.

    Args:
        length_mm: the axis.
        pixel_mm: the larger spacing in its plane.
        slice_count: slices in which the lesion lies; the longest diameter may lie between two.
        to_next_mm: largest difference of the axis to that of a neighbouring slice, 0 without one.
    """
    between = SLICE_SHARE * length_mm / slice_count**2
    return float(np.sqrt((PIXEL_SHARE * pixel_mm) ** 2 + between**2 + (NEIGHBOUR_SHARE * to_next_mm) ** 2))
