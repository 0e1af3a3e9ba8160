"""Where each lesion lies: zone, region and lobe, and how far from pleura, mediastinum and the other lesions.

Distances run on a grid of about 2.5 mm, to which the outline of the lungs is known; whether a lesion touches is
seen on the scan's own grid. A lung's surface counts as mediastinal where the tissue beside it lies between the
lungs: inside the convex hull of both in that slice, joined to the midline, and with no lung above it (which would
make it diaphragm). The rest of the surface, at ribs and diaphragm, is meant by pleura here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tumorspread.measurement.gaps import nearest_lesions
from tumorspread.measurement.lobes import LOBES
from tumorspread.measurement.lung_checks import LEFT, RIGHT
from tumorspread.measurement.parts import Lesion, Lungs, Reasons
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.measurement.surface import surface_points
from tumorspread.measurement.zones import CUT, SIDES, zone_at, zone_borders
from tumorspread.scan.volume import Reorientation, Triple, Volume

GRID_MM = 2.5
# A lesion whose centre lies this near to the pleura is peripheral.
OUTER_MM = 20.0
NO_LUNGS = "no lungs were found in this scan"
NO_SIDE = "its lung is unknown"
NO_LOBES = "no lobe mask was brought along"

Mask = NDArray[np.bool_]
Sides = NDArray[np.uint8]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class _LungSurface:
    """The surface of one lung as trees of points, mm along the array axes; None where it has none of that kind."""

    pleura: cKDTree | None
    mediastinum: cKDTree | None


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """What lesions lie in; arrays in axes turned to (head, back, left)."""

    labels: NDArray[np.integer]
    boxes: list[Box]
    sides: Sides
    lobes: NDArray[np.uint8] | None
    spacing_mm: Triple
    between: Sides  # on the coarse grid: 1 in the mediastinum
    step: tuple[int, int, int]
    surfaces: dict[int, _LungSurface]
    borders: dict[int, tuple[float, float]]


def locate_lesions(
    lesions: Sequence[Lesion], labels: Volume, sides: Sides | None, lungs: Lungs, lobes: NDArray[np.uint8] | None = None
) -> tuple[Lesion, ...]:
    """Say of each lesion where it lies.

    Args:
        lesions: as `measure_lesions` gives them.
        labels: label map, ids as in `lesions`.
        sides: 1 in the left lung and 2 in the right, in the axes of `labels`; None where no lungs were found.
        lungs: their volumes; where neither side has one, the labels do not tell left from right.
        lobes: n in the n-th of `lobes.LOBES`, in the same axes; None where no lobe mask was brought along.

    Returns:
        The same lesions with zone, region, lobe and distances; what is unknown is None with its reason.
    """
    turn = Reorientation.to_canonical(labels)
    upright = turn.apply(labels)
    voxels = upright.voxels
    boxes = lesion_boxes(voxels)
    gaps = nearest_lesions(voxels, boxes, upright.spacing_mm)
    told = sides is not None and not (lungs.left_ml is None and lungs.right_ml is None)
    if sides is None or not told or not lesions:
        reason = lungs.reasons.get("left_ml", NO_LUNGS)
        return tuple(_with_gap(_nowhere(lesion, reason), gap) for lesion, gap in zip(lesions, gaps, strict=True))
    canonical_lobes = None if lobes is None else turn.apply_array(lobes)
    around = _surroundings(voxels, boxes, turn.apply_array(sides), canonical_lobes, upright.spacing_mm)
    return tuple(_with_gap(_locate(lesion, around), gap) for lesion, gap in zip(lesions, gaps, strict=True))


def _nowhere(lesion: Lesion, reason: str) -> Lesion:
    names = ("zone", "region", "lobe", "distance_to_pleura_mm", "pleural_contact_cm2", "distance_to_mediastinum_mm")
    return replace(lesion, reasons=lesion.reasons | dict.fromkeys(names, reason))


def _with_gap(lesion: Lesion, gap: tuple[int, float] | None) -> Lesion:
    if gap is None:
        reasons = dict.fromkeys(("nearest_lesion_id", "nearest_lesion_mm"), "there is no other lesion")
        return replace(lesion, reasons=lesion.reasons | reasons)
    return replace(lesion, nearest_lesion_id=gap[0], nearest_lesion_mm=gap[1])


def _surroundings(
    labels: NDArray[np.integer], boxes: list[Box], sides: Sides, lobes: NDArray[np.uint8] | None, spacing_mm: Triple
) -> _Surroundings:
    z, y, x = (max(1, round(GRID_MM / mm)) for mm in spacing_mm)
    coarse = np.ascontiguousarray(sides[z // 2 :: z, y // 2 :: y, x // 2 :: x])
    between = _between(coarse)
    surfaces = {side: _surface(coarse == side, between, (z, y, x), spacing_mm) for side in SIDES}
    return _Surroundings(labels, boxes, sides, lobes, spacing_mm, between, (z, y, x), surfaces, zone_borders(sides))


def _between(sides: Sides) -> Sides:
    """1 in the tissue between the lungs, on the grid of `sides`; 0 everywhere where a lung is missing."""
    out = np.zeros(sides.shape, np.uint8)
    if not ((sides == LEFT).any() and (sides == RIGHT).any()):
        return out
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


def _surface(lung: Mask, between: Sides, step: tuple[int, int, int], spacing_mm: Triple) -> _LungSurface:
    coarse_mm = tuple(k * mm for k, mm in zip(step, spacing_mm, strict=True))
    points = surface_points(lung, (1.0, 1.0, 1.0)).astype(np.intp)
    if not len(points):
        return _LungSurface(None, None)
    beside = np.zeros(len(points), bool)
    for axis in range(3):
        for move in (-1, 1):
            there = points.copy()
            there[:, axis] = np.clip(there[:, axis] + move, 0, lung.shape[axis] - 1)
            beside |= between[tuple(there.T)] > 0
    offset = np.array([(k // 2) * mm for k, mm in zip(step, spacing_mm, strict=True)])
    place = points * np.array(coarse_mm) + offset
    trees = [cKDTree(place[chosen]) if chosen.any() else None for chosen in (~beside, beside)]
    return _LungSurface(*trees)


def _locate(lesion: Lesion, around: _Surroundings) -> Lesion:
    """One lesion with its place, and the reasons of what is unknown."""
    side = next((number for number, name in SIDES.items() if name == lesion.side), None)
    if side is None:
        return _nowhere(lesion, lesion.reasons.get("side", NO_SIDE))
    box = around.boxes[lesion.id - 1]
    inside = around.labels[box] == lesion.id
    start = np.array([b.start for b in box])
    centre = np.argwhere(inside).mean(axis=0) + start
    touch_pleura, touch_mediastinum = _contacts(lesion.id, box, around)
    surface = surface_points(inside, around.spacing_mm) + start * around.spacing_mm
    trees = around.surfaces[side]
    values: dict[str, Any] = {}
    reasons: Reasons = {}
    values["distance_to_pleura_mm"] = 0.0 if touch_pleura else _gap(trees.pleura, surface)
    values["distance_to_mediastinum_mm"] = 0.0 if touch_mediastinum else _gap(trees.mediastinum, surface)
    for name, what in (("distance_to_pleura_mm", "ribs or diaphragm"), ("distance_to_mediastinum_mm", "mediastinum")):
        if values[name] is None:
            reasons[name] = f"the scan shows no surface of this lung at the {what}"
    depth = _gap(trees.pleura, centre[None] * around.spacing_mm)
    values["region"] = None if depth is None else "outer" if depth <= OUTER_MM else "inner"
    if depth is None:
        reasons["region"] = reasons["distance_to_pleura_mm"]
    zone, zone_reason = _zone(side, float(centre[0]), around)
    lobe, lobe_reason = _lobe(inside, box, around)
    values |= {"pleural_contact_cm2": touch_pleura / 100, "zone": zone, "lobe": lobe}
    return replace(lesion, **values, reasons=lesion.reasons | reasons | zone_reason | lobe_reason)


def _gap(tree: cKDTree | None, points: NDArray[np.float64]) -> float | None:
    return None if tree is None else float(tree.query(points)[0].min())


def _zone(side: int, index: float, around: _Surroundings) -> tuple[Any, Reasons]:
    borders = around.borders.get(side)
    return (None, {"zone": CUT}) if borders is None else (zone_at(index, borders), {})


def _lobe(inside: Mask, box: Box, around: _Surroundings) -> tuple[Any, Reasons]:
    """The lobe that holds most of the lesion, or is nearest within its box."""
    if around.lobes is None:
        return None, {"lobe": NO_LOBES}
    counts = np.bincount(around.lobes[box][inside], minlength=len(LOBES) + 1)[1:]
    if not counts.any():
        wide = tuple(slice(max(0, b.start - 3), b.stop + 3) for b in box)
        counts = np.bincount(around.lobes[wide].ravel(), minlength=len(LOBES) + 1)[1:]
    return (LOBES[int(counts.argmax())], {}) if counts.any() else (None, {"lobe": "no lobe lies around it"})


def _contacts(number: int, box: Box, around: _Surroundings) -> tuple[float, float]:
    """mm2 of the lesion's faces on tissue that is neither lung nor lesion: at the pleura, and at the mediastinum."""
    wide = tuple(slice(max(0, b.start - 1), b.stop + 1) for b in box)
    inside = around.labels[wide] == number
    tissue = (around.sides[wide] == 0) & (around.labels[wide] == 0)
    index = [np.arange(w.start, min(w.stop, n)) for w, n in zip(wide, around.labels.shape, strict=True)]
    coarse = [np.minimum(i // k, n - 1) for i, k, n in zip(index, around.step, around.between.shape, strict=True)]
    between = around.between[np.ix_(*coarse)] > 0
    pleura = mediastinum = 0.0
    z, y, x = around.spacing_mm
    for axis, area in enumerate((y * x, z * x, z * y)):
        lower, upper = [slice(None)] * 3, [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        for here, there in ((tuple(lower), tuple(upper)), (tuple(upper), tuple(lower))):
            faces = inside[here] & tissue[there]
            medial = int(np.count_nonzero(faces & between[there]))
            mediastinum += area * medial
            pleura += area * (int(np.count_nonzero(faces)) - medial)
    return pleura, mediastinum
