"""The surface of a mask as points in mm, and how far two surfaces lie apart.

A surface voxel is one of the mask with a face on the outside, and outside the image counts as outside: a mask
that touches the edge of the scan is closed there. This is the definition of MONAI, whose numbers follow;
DeepMind's surface-distance weighs each place by its area instead and differs by some percent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tumorspread.scan.volume import Triple


def surface_points(mask: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.float64]:
    """Centres of the surface voxels.

    Args:
        mask: bool (z, y, x).
        spacing_mm: distance between voxel centres along (z, y, x).

    Returns:
        (n, 3) mm along the array axes, from voxel 0; n is 0 for an empty mask.
    """
    inner = np.zeros(mask.shape, bool)
    # Whole-array logic on shifted views takes a third of the time of scipy's binary erosion.
    core = inner[1:-1, 1:-1, 1:-1]
    core[...] = mask[1:-1, 1:-1, 1:-1]
    for axis in range(3):
        for start, stop in ((0, -2), (2, None)):
            beside = [slice(1, -1)] * 3
            beside[axis] = slice(start, stop)
            core &= mask[tuple(beside)]
    return np.asarray(np.argwhere(mask & ~inner) * np.asarray(spacing_mm))


def surface_distances(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_mm: Triple
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From each surface voxel of one mask to the nearest of the other, in mm, both ways.

    Args:
        first: bool (z, y, x), not empty.
        second: the same shape, not empty.
        spacing_mm: distance between voxel centres along (z, y, x).

    Returns:
        The distances first to second, and second to first; one value a surface voxel.
    """
    one, other = surface_points(first, spacing_mm), surface_points(second, spacing_mm)
    return np.asarray(cKDTree(other).query(one)[0]), np.asarray(cKDTree(one).query(other)[0])
