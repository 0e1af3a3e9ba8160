"""Where in a chest a lung tumour may be: the lungs, the hollows in their outline, and a margin.

The bare outline of the lungs would cut off what grows at the chest wall, at the hilum or in place of lung.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cc3d
import cv2
import edt
import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.lungs import LEFT, RIGHT
from tumorspread.measurement.pieces import filled_box
from tumorspread.scan.volume import Triple

# A piece of a mask belongs to the lungs if most of it lies within the first distance from their hulls. The second is as
# far as masses were seen to grow: of synthetic ones of 50 mL and more 11 % lie beyond the first and 6 % beyond it.
MARGIN_MM, REACH_MM = 15.0, 25.0
INSIDE_SHARE = 0.5
# A large piece with lung beneath less than this share of it hangs below the lungs: liver, spleen, stomach. On synthetic
# cases of three patients 30 of 31 such false pieces had 0.18 at most. Of 53 tumours three, on the diaphragm, had 0.17
# at most; the others had 0.36 and more.
LEAST_ABOVE_LUNG, LARGE_ML = 0.2, 10.0
# So has a mass on the diaphragm, but it stands up into the lung: a third of its surface lies against lung, and some of
# the flank of its lower half, where the liver has lung around its dome alone. Of large pieces without lung beneath
# `make bench-beneath` keeps all 3 that are tumour, 2 of 11 in which tumour and liver are one, 4 of 16 others.
LEAST_IN_LUNG, LEAST_BESIDE_LUNG = 1 / 3, 0.15
# What is tumour and liver in one rises above lung where the liver does not: of its voxels with lung beneath, those this
# deep hold together this much. Of 28 such pieces without tumour in three patients 2.7 mL at most did.
CORE_MM, LEAST_CORE_ML = 4.0, 5.0
# A small piece of which this share is denser is bone (a spur of a rib), a calcified granuloma or metal: of a spur 0.02
# to 0.3, by the thickness of the slices; of what lies on 82 synthetic tumours 0.03 at most. A large one may hold a rib.
DENSE_HU, DENSE_SHARE, MOST_BONE_ML = 300.0, 0.1, 2.0
# The distance from the lungs is that of a grid no finer than this, which is that of the weights: the margins are not
# known to a voxel, and in voxels of 0.8 mm it takes a tenth of the time.
DISTANCE_GRID_MM = 2.0
# How far off its surface a piece is asked what it lies against: nearer, the network's grid blurs the two.
AGAINST_MM = (3.0, 7.0)


@dataclass(frozen=True, eq=False)
class Room:
    """Where lung tumours may be, on one grid.

    Attributes:
        inside: bool, in the lungs or near them.
        below: bool, without lung beneath.
        lung: bool, in the lungs.
        spacing_mm: distance between voxel centres along (z, y, x).
        dense: bool, above `DENSE_HU`; None where nobody knows.
    """

    inside: NDArray[np.bool_]
    below: NDArray[np.bool_]
    lung: NDArray[np.bool_]
    spacing_mm: Triple
    dense: NDArray[np.bool_] | None = None

    def holds(self, piece: NDArray[np.integer]) -> bool:
        """Whether a piece, given by flat indices, may be a lung tumour: half in the lungs, not under them, no bone."""
        if self.inside.reshape(-1)[piece].mean() < INSIDE_SHARE or self.is_bone(piece):
            return False
        return not self.hangs_below(piece) or self._stands_in_lung(piece) or self._rises_above_lung(piece)

    def hangs_below(self, piece: NDArray[np.integer]) -> bool:
        """Whether a piece, given by flat indices, is large and hardly has lung beneath."""
        is_large = len(piece) * self.voxel_ml >= LARGE_ML
        return bool(is_large and self.below.reshape(-1)[piece].mean() > 1 - LEAST_ABOVE_LUNG)

    def is_bone(self, piece: NDArray[np.integer]) -> bool:
        """Whether a piece, given by flat indices, is small and as dense as bone, calcium or metal."""
        is_small = len(piece) * self.voxel_ml <= MOST_BONE_ML
        return self.dense is not None and is_small and bool(self.dense.reshape(-1)[piece].mean() >= DENSE_SHARE)

    @property
    def voxel_ml(self) -> float:
        """The volume of a voxel."""
        return float(np.prod(self.spacing_mm)) / 1000

    def crop(self, box: tuple[slice, ...]) -> Room:
        """The room in a box."""
        dense = None if self.dense is None else self.dense[box].copy()
        return Room(self.inside[box].copy(), self.below[box].copy(), self.lung[box].copy(), self.spacing_mm, dense)

    def _stands_in_lung(self, piece: NDArray[np.integer]) -> bool:
        """Whether a third of what a piece lies against is lung, and some of what is beside its lower half."""
        reach = [int(np.ceil(AGAINST_MM[1] / mm)) + 1 for mm in self.spacing_mm]
        box, inside = boxed(piece, self.lung.shape, reach)
        lung, filled = self.lung[box], np.flatnonzero(inside.any(axis=(1, 2)))
        lower = slice(int(filled[0]), int(filled[0] + filled[-1]) // 2 + 1)
        apart = (1000.0, *self.spacing_mm[1:])
        against, beside = _against(inside, self.spacing_mm), _against(inside[lower], apart)
        return _share(lung, against) >= LEAST_IN_LUNG and _share(lung[lower], beside) >= LEAST_BESIDE_LUNG

    def _rises_above_lung(self, piece: NDArray[np.integer]) -> bool:
        """Whether a core of it has lung beneath."""
        box, inside = boxed(piece, self.lung.shape)
        above = np.ascontiguousarray(inside & ~self.below[box])
        deep = edt.edt(np.pad(above, 1), anisotropy=self.spacing_mm) > CORE_MM
        cores = np.bincount(cc3d.connected_components(np.ascontiguousarray(deep)).reshape(-1))[1:]
        return bool(cores.max(initial=0) * self.voxel_ml >= LEAST_CORE_ML)


def boxed(
    piece: NDArray[np.integer], shape: tuple[int, ...], reach: Sequence[int] = (0, 0, 0)
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """A piece, given by flat indices into an array of `shape`, in the box about it.

    Args:
        piece: of one voxel at least.
        shape: (z, y, x).
        reach: voxels about the piece that the box takes in, along each axis.

    Returns:
        The box, cut off at the array's faces; and where in it the piece is, bool.
    """
    places = np.unravel_index(piece, shape)
    box = tuple(
        slice(max(0, int(at.min()) - far), min(edge, int(at.max()) + far + 1))
        for at, far, edge in zip(places, reach, shape, strict=True)
    )
    inside = np.zeros([one.stop - one.start for one in box], bool)
    inside[tuple(at - one.start for at, one in zip(places, box, strict=True))] = True
    return box, inside


def find_room(sides: NDArray[np.uint8], inside: NDArray[np.bool_], spacing_mm: Triple) -> Room:
    """The room that lungs leave for tumours.

    Args:
        sides: 1 in the left lung, 2 in the right, axes turned to (head, back, left).
        inside: within `MARGIN_MM` of their hulls; see `near_lungs`.
        spacing_mm: distance between voxel centres along (z, y, x).
    """
    return Room(inside, below_lungs(sides), sides > 0, spacing_mm)


def near_lungs(
    sides: NDArray[np.uint8], spacing_mm: Triple, limits_mm: Sequence[float]
) -> tuple[NDArray[np.bool_], ...]:
    """For each limit the voxels that lie within it of the convex hull of either lung in an axial slice.

    Voxels of half of `DISTANCE_GRID_MM` and less are taken together up to it, and are as near as the one amid them.

    Args:
        sides: 1 in the left lung, 2 in the right, axes turned to (head, back, left).
        spacing_mm: distance between voxel centres along (z, y, x).
        limits_mm: distances.
    """
    steps = [max(1, int(DISTANCE_GRID_MM / mm + 1e-6)) for mm in spacing_mm]
    amid = [np.minimum(np.arange(0, n, k) + k // 2, n - 1) for n, k in zip(sides.shape, steps, strict=True)]
    coarse = np.ascontiguousarray(sides[np.ix_(*amid)])
    z, y, x = (mm * k for mm, k in zip(spacing_mm, steps, strict=True))
    far_mm = distance_to_lungs(coarse, (z, y, x), max(limits_mm))
    return tuple(_spread(far_mm <= limit, steps, sides.shape) for limit in limits_mm)


def _spread(coarse: NDArray[np.bool_], steps: Sequence[int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Each voxel repeated so often along each axis, cut to a shape."""
    # Along the rows first, where it is slow and the array small.
    for axis in reversed(range(len(steps))):
        coarse = np.repeat(coarse, steps[axis], axis) if steps[axis] > 1 else coarse
    return np.ascontiguousarray(coarse[tuple(slice(edge) for edge in shape)])


def _against(inside: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.bool_]:
    """The voxels that a piece lies against: outside of it, at a distance of `AGAINST_MM`."""
    away_mm = edt.edt(~inside, anisotropy=spacing_mm)
    return np.asarray((away_mm > AGAINST_MM[0]) & (away_mm <= AGAINST_MM[1]))


def _share(lung: NDArray[np.bool_], where: NDArray[np.bool_]) -> float:
    """The share of some voxels that is lung; 0 for none."""
    return float(lung[where].mean()) if where.any() else 0.0


def distance_to_lungs(sides: NDArray[np.uint8], spacing_mm: Triple, reach_mm: float = math.inf) -> NDArray[np.float32]:
    """The distance of each voxel from the convex hull of either lung in each axial slice.

    Args:
        sides: 1 in the left lung, 2 in the right, axes turned to (head, back, left).
        spacing_mm: distance between voxel centres along (z, y, x).
        reach_mm: further off it may be left at infinity, which takes a fraction of the time in fine voxels.

    Returns:
        float32 mm on the same grid, 0 in the hulls; infinite without lungs.
    """
    hulls = _hulls(sides)
    far_mm = np.full(sides.shape, np.inf, np.float32)
    box = filled_box(hulls)
    if box is not None:
        margins = [math.ceil(min(reach_mm / mm, edge)) for mm, edge in zip(spacing_mm, hulls.shape, strict=True)]
        near = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, margins, strict=True))
        far_mm[near] = edt.edt(np.ascontiguousarray(hulls[near] == 0), anisotropy=spacing_mm, parallel=2)
    return far_mm


def below_lungs(sides: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The voxels with no lung beneath them, at the same place or anywhere towards the feet.

    Where the scan ends within the lungs they go on below it: all in the hull of either lung in the lowest slice has
    lung beneath.

    Args:
        sides: 1 in the left lung, 2 in the right, axes turned to (head, back, left).
    """
    below: NDArray[np.bool_] = sides == 0
    below[0] &= _hulls(sides[:1])[0] == 0
    # Slice by slice: `accumulate` goes along the columns, in ten times the time.
    for lower, plane in pairwise(below):
        plane &= lower
    return below


def _hulls(sides: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """1 in the convex hull of either lung in each axial slice."""
    hulls = np.zeros(sides.shape, np.uint8)
    for plane, hull in zip(sides, hulls, strict=True):
        for side in (LEFT, RIGHT):
            points = cv2.findNonZero((plane == side).view(np.uint8))
            if points is not None:
                cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return hulls
