"""The surface of each lung, in two kinds: at ribs and diaphragm, which is meant by pleura here, and at the mediastinum.

Surface counts as mediastinal where the tissue beside it lies between the lungs: inside the convex hull of both in that
slice, joined to the midline, and with no lung above it (which would make it diaphragm). That is told on a grid of about
2.5 mm, to which the outline of the lungs is known; the nearest place is then looked for on the scan's own grid, since
voxels of 2.5 mm alone made distances 1 to 2 mm short. Where the scan cuts a lung there is no surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tumorspread.measurement.lung_checks import LEFT, RIGHT
from tumorspread.measurement.surface import surface_points
from tumorspread.scan.volume import Triple

GRID_MM = 2.5
# Places of the coarse grid that are looked at more closely, for each point of a lesion that comes near.
CANDIDATES = 8

Mask = NDArray[np.bool_]
Sides = NDArray[np.uint8]
Index = NDArray[np.intp]
Kind = Literal["pleura", "mediastinum"]


@dataclass(frozen=True, eq=False)
class LungSurface:
    """The surfaces of both lungs; arrays in axes turned to (head, back, left).

    Attributes:
        sides: 1 in the left lung and 2 in the right.
        labels: lesions, 1..n.
        lesion_side: by lesion id the lung it belongs to, 0 for none; its voxels count as that lung.
        spacing_mm: of that grid.
        step: its voxels in one of the coarse grid.
        between: on the coarse grid, 1 in the tissue between the lungs.
        trees: the coarse surface voxels of a lung by kind, mm; without an entry where a lung has none of that kind.
    """

    sides: Sides
    labels: NDArray[np.integer]
    lesion_side: Sides
    spacing_mm: Triple
    step: tuple[int, int, int]
    between: Sides
    trees: dict[tuple[int, Kind], cKDTree]

    @property
    def error_mm(self) -> float:
        """How far a distance can be off: a step of the coarse grid, to which lungs are known."""
        return float(max(k * mm for k, mm in zip(self.step, self.spacing_mm, strict=True)))

    def nearest(self, side: int, kind: Kind, points: Index) -> tuple[float, float] | None:
        """The way from the nearest of some voxels to the first voxel beyond that surface, in mm and in voxels.

        Args:
            side: 1 for the left lung, 2 for the right.
            kind: which surface.
            points: indices (z, y, x) of voxels, (n, 3).

        Returns:
            None where the lung has no such surface.
        """
        tree = self.trees.get((side, kind))
        if tree is None:
            return None
        spacing = np.asarray(self.spacing_mm)
        apart = tree.query(points * spacing)[0]
        close = points[apart <= apart.min() + 2 * self.error_mm]
        found = tree.query(close * spacing, k=min(CANDIDATES, tree.n))[1]
        beyond = self._beyond(side, kind, tree.data[np.unique(found)])
        if not len(beyond):
            return float(apart.min()), max(1.0, float(apart.min() / spacing.min()))
        distance, at = cKDTree(beyond * spacing).query(close * spacing)
        first = int(distance.argmin())
        return float(distance[first]), float(np.linalg.norm(beyond[at[first]] - close[first]))

    def _beyond(self, side: int, kind: Kind, places_mm: NDArray[np.float64]) -> Index:
        """Voxels beside a lung, beyond its surface of that kind, in and around some voxels of the coarse grid."""
        step = np.array(self.step)
        cells = np.round(places_mm / self.spacing_mm).astype(np.intp) // step
        cells = _unique((cells[:, None] + _offsets((-1, -1, -1), (2, 2, 2))).reshape(-1, 3), self.between.shape)
        voxels = (cells[:, None] * step + _offsets((0, 0, 0), self.step)).reshape(-1, 3)
        voxels = voxels[(voxels < self.sides.shape).all(axis=1)]
        voxels = voxels[self._holds(side, voxels)]
        steps = np.concatenate([np.eye(3, dtype=np.intp), -np.eye(3, dtype=np.intp)])
        beside = _unique((voxels[:, None] + steps).reshape(-1, 3), self.sides.shape)
        beside = beside[~self._holds(side, beside)]
        medial = self.is_between(beside)
        return beside[medial if kind == "mediastinum" else ~medial]

    def is_between(self, voxels: Index) -> Mask:
        """Whether voxels lie in the tissue between the lungs."""
        cells = np.minimum(voxels // np.array(self.step), np.array(self.between.shape) - 1)
        return np.asarray(self.between[tuple(cells.T)] > 0)

    def _holds(self, side: int, voxels: Index) -> Mask:
        at = tuple(voxels.T)
        return np.asarray((self.sides[at] == side) | (self.lesion_side[self.labels[at]] == side))


def lung_surface(
    sides: Sides, labels: NDArray[np.integer], lesion_side: Sides, spacing_mm: Triple
) -> LungSurface | None:
    """The surfaces of both lungs; None where there is one lung only, whose two kinds cannot be told apart.

    Args:
        sides: 1 in the left lung and 2 in the right, axes turned to (head, back, left).
        labels: lesions, 1..n, likewise.
        lesion_side: by lesion id the lung it belongs to, 0 for none.
        spacing_mm: of that grid.
    """
    z, y, x = (max(1, round(GRID_MM / mm)) for mm in spacing_mm)
    grid = np.s_[z // 2 :: z, y // 2 :: y, x // 2 :: x]
    coarse = np.ascontiguousarray(sides[grid])
    if not ((coarse == LEFT).any() and (coarse == RIGHT).any()):
        return None
    lungs = np.where(coarse > 0, coarse, lesion_side[labels[grid]])
    between = _between(coarse) * (lungs == 0)
    trees: dict[tuple[int, Kind], cKDTree] = {}
    for side in (LEFT, RIGHT):
        points, medial = _surface(lungs == side, between)
        places = (points * (z, y, x) + (z // 2, y // 2, x // 2)) * np.asarray(spacing_mm)
        kinds: tuple[tuple[Kind, Mask], ...] = (("pleura", ~medial), ("mediastinum", medial))
        trees |= {(side, kind): cKDTree(places[chosen]) for kind, chosen in kinds if chosen.any()}
    return LungSurface(sides, labels, lesion_side, spacing_mm, (z, y, x), between, trees)


def _between(sides: Sides) -> Sides:
    """1 in the tissue between the lungs, on the grid of `sides`."""
    out = np.zeros(sides.shape, np.uint8)
    columns = np.arange(sides.shape[2])
    inner = [np.average(columns, weights=(sides == side).sum((0, 1))) for side in (RIGHT, LEFT)]
    midline = round(float(np.mean(inner)))
    above = np.zeros(sides.shape[1:], bool)
    for z in range(len(sides) - 1, -1, -1):
        lung = sides[z] > 0
        points = cv2.findNonZero(lung.astype(np.uint8))
        if points is not None:
            hull = np.zeros(lung.shape, np.uint8)
            cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
            tissue = ((hull > 0) & ~lung & ~above).astype(np.uint8)
            pieces = cv2.connectedComponents(tissue, connectivity=4)[1]
            joined = np.unique(pieces[:, max(0, midline - 2) : midline + 3])
            out[z] = np.isin(pieces, joined[joined > 0])
        above |= lung
    return out


def _surface(lung: Mask, between: Sides) -> tuple[Index, Mask]:
    """The surface voxels of one lung, and which of them lie beside the mediastinum."""
    # The edge of the scan is no surface: beyond it the lung goes on.
    points = surface_points(np.pad(lung, 1, mode="edge"), (1.0, 1.0, 1.0)).astype(np.intp) - 1
    points = points[((points >= 0) & (points < lung.shape)).all(axis=1)]
    medial = np.zeros(len(points), bool)
    for axis in range(3):
        for move in (-1, 1):
            there = points.copy()
            there[:, axis] = np.clip(there[:, axis] + move, 0, lung.shape[axis] - 1)
            medial |= between[tuple(there.T)] > 0
    return points, medial


def _offsets(low: tuple[int, int, int], high: tuple[int, int, int]) -> Index:
    ranges = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def _unique(index: Index, shape: tuple[int, ...]) -> Index:
    """The different ones of some indices that lie on a grid."""
    index = index[((index >= 0) & (index < shape)).all(axis=1)]
    flat = np.unique(np.ravel_multi_index(tuple(index.T), shape))
    return np.stack(np.unravel_index(flat, shape), axis=1)
