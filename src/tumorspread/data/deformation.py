"""A chest as another patient might have it: stretched along each axis, and bent, so that no vessel lies where it did.

Hosts are few. A network that sees the same ribs and vessels again and again comes to know them by heart, and takes what
is not among them for a tumour; in a chest that it has not seen this helps it little.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.scan.volume import Volume

# By these factors each axis is stretched, apart from the others.
STRETCH = (0.88, 1.14)
# The chest is bent by a cubic B-spline with knots this far apart, each moved along each axis by so much at the most.
# Neighbours then differ by 0.4 of their distance, so that nothing folds.
KNOT_MM, SHIFT_MM = 45.0, 9.0


def deform(scan: Volume, labels: Volume, random: np.random.Generator) -> tuple[Volume, Volume]:
    """Scan and labels of the deformed chest, on a grid of the same shape.

    What comes from beyond the edge is that edge. Values are interpolated between voxels, which softens the noise a
    little; labels are the nearest.

    Args:
        scan: HU, axes (z, y, x) to head, back and left.
        labels: uint8 on the same grid.
        random: the same state gives the same chest.
    """
    shape, spacing_mm = scan.shape, np.array(scan.spacing_mm)
    weights = [_spline_weights(count, step) for count, step in zip(shape, spacing_mm, strict=True)]
    knots_mm = random.uniform(-SHIFT_MM, SHIFT_MM, (3, *(w.shape[1] for w in weights)))
    affine = scan.affine.copy()
    affine[:3, :3] *= random.uniform(*STRETCH, 3)
    bent, sides = np.empty(shape, np.float32), np.empty(shape, labels.voxels.dtype)
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    ends, steps_mm = (np.array(each)[:, None, None] for each in (np.array(shape) - 1, spacing_mm))
    for z, shift_mm in enumerate(_shifts(weights, knots_mm)):
        places = np.stack(np.broadcast_arrays(z, rows, columns)) + shift_mm / steps_mm
        ndimage.map_coordinates(scan.voxels, places, bent[z], order=1, mode="nearest")
        sides[z] = labels.voxels[tuple(np.clip(np.rint(places).astype(int), 0, ends))]
    whole = np.issubdtype(scan.voxels.dtype, np.integer)
    return Volume(np.rint(bent).astype(scan.voxels.dtype) if whole else bent, affine), Volume(sides, affine)


def _shifts(weights: list[NDArray[np.float64]], knots_mm: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Slice by slice where its voxels come from, (3, y, x) mm along (z, y, x) from where they are."""
    for of_slice in weights[0]:
        plane = np.tensordot(of_slice, knots_mm, (0, 1))
        yield weights[1] @ plane @ weights[2].T


def _spline_weights(count: int, step_mm: float) -> NDArray[np.float64]:
    """What each knot counts at each of so many voxels along an axis, (voxels, knots); rows sum to 1."""
    places = np.arange(count) * step_mm / KNOT_MM
    knots = np.arange(-1, int(places[-1]) + 3)
    far = np.abs(places[:, None] - knots)
    return np.asarray(np.where(far < 1, 2 / 3 - far**2 + far**3 / 2, np.maximum(2 - far, 0) ** 3 / 6))
