"""Where in a chest a lung tumour may be: the lungs, the hollows in their outline, and a margin.

The bare outline of the lungs would cut off what grows at the chest wall, at the hilum or in place of lung.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

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
    """

    inside: NDArray[np.bool_]
    below: NDArray[np.bool_]
    lung: NDArray[np.bool_]
    spacing_mm: Triple

    def holds(self, piece: NDArray[np.integer]) -> bool:
        """Whether a piece, given by flat indices, may be a lung tumour: in the lungs by half, and not under them."""
        if self.inside.reshape(-1)[piece].mean() < INSIDE_SHARE:
            return False
        if len(piece) * float(np.prod(self.spacing_mm)) < 1000 * LARGE_ML:
            return True
        return bool(self.below.reshape(-1)[piece].mean() <= 1 - LEAST_ABOVE_LUNG) or self._stands_in_lung(piece)

    def crop(self, box: tuple[slice, ...]) -> Room:
        """The room in a box."""
        return Room(self.inside[box].copy(), self.below[box].copy(), self.lung[box].copy(), self.spacing_mm)

    def _stands_in_lung(self, piece: NDArray[np.integer]) -> bool:
        """Whether a third of what a piece lies against is lung, and some of what is beside its lower half."""
        places = np.stack(np.unravel_index(piece, self.lung.shape))
        reach = [int(np.ceil(AGAINST_MM[1] / mm)) + 1 for mm in self.spacing_mm]
        low = [max(0, int(at.min()) - far) for at, far in zip(places, reach, strict=True)]
        high = [int(at.max()) + far + 1 for at, far in zip(places, reach, strict=True)]
        lung = self.lung[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
        inside = np.zeros(lung.shape, bool)
        inside[tuple(places - np.array(low)[:, None])] = True
        feet, head = (int(z) - low[0] for z in (places[0].min(), places[0].max()))
        lower = slice(feet, (feet + head) // 2 + 1)
        apart = (1000.0, *self.spacing_mm[1:])
        against, beside = _against(inside, self.spacing_mm), _against(inside[lower], apart)
        return _share(lung, against) >= LEAST_IN_LUNG and _share(lung[lower], beside) >= LEAST_BESIDE_LUNG


def find_room(sides: NDArray[np.uint8], far_mm: NDArray[np.float32], spacing_mm: Triple) -> Room:
    """The room that lungs leave for tumours.

    Args:
        sides: 1 in the left lung, 2 in the right, axes turned to (head, back, left).
        far_mm: `distance_to_lungs` of them.
        spacing_mm: distance between voxel centres along (z, y, x).
    """
    return Room(far_mm <= MARGIN_MM, below_lungs(sides), sides > 0, spacing_mm)


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
