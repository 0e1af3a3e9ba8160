"""Where each lesion lies: zone, region and lobe, and how far from pleura, mediastinum and the other lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.gaps import nearest_lesions
from tumorspread.measurement.lesions import OUTSIDE, is_in_lungs
from tumorspread.measurement.lobes import LOBES
from tumorspread.measurement.lung_surface import Kind, LungSurface, lung_surface
from tumorspread.measurement.parts import Lesion, Lungs, Reasons
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.measurement.shape import centre_index
from tumorspread.measurement.surface import surface_points
from tumorspread.measurement.zones import CUT, SIDES, zone_at, zone_borders
from tumorspread.scan.volume import Reorientation, Triple, Volume

# A lesion whose centre lies this near to the pleura is peripheral.
OUTER_MM = 20.0
NO_LUNGS = "no lungs were found in this scan"
NO_SIDE = "its lung is unknown"
NO_LOBES = "no lobe mask was brought along"
ONE_LUNG = "with one lung alone its surface at the ribs cannot be told from that at the mediastinum"
SURFACES: dict[Kind, str] = {"pleura": "ribs or diaphragm", "mediastinum": "mediastinum"}
OF_GAP = ("nearest_lesion_id", "nearest_lesion_mm")
OF_SURFACE = (
    *("region", "pleural_contact_cm2", "distance_to_pleura_mm", "distance_to_pleura_mm_error"),
    *("distance_to_mediastinum_mm", "distance_to_mediastinum_mm_error"),
)

Mask = NDArray[np.bool_]
Sides = NDArray[np.uint8]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What lesions lie in; arrays in axes turned to (head, back, left).

    Attributes:
        labels: label map, n in lesion n.
        boxes: about the lesions, by id.
        sides: 1 in the left lung and 2 in the right.
        lobes: n in the n-th of `lobes.LOBES`; None where no lobe mask was brought along.
        spacing_mm: of that grid.
        surface: of the lungs; None where it cannot be told.
        borders: where the zones of each lung meet.
    """

    labels: NDArray[np.integer]
    boxes: Mapping[int, Box]
    sides: Sides
    lobes: NDArray[np.uint8] | None
    spacing_mm: Triple
    surface: LungSurface | None
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
    boxes = dict(enumerate(lesion_boxes(voxels), 1))
    gaps = nearest_lesions(voxels, boxes, upright.spacing_mm)
    told = sides is not None and not (lungs.left_ml is None and lungs.right_ml is None)
    if sides is None or not told or not lesions:
        reason = lungs.reasons.get("left_ml", NO_LUNGS)
        return tuple(with_gap(nowhere(lesion, reason), gaps[lesion.id]) for lesion in lesions)
    canonical_lobes = None if lobes is None else turn.apply_array(lobes)
    around = surround(lesions, voxels, boxes, turn.apply_array(sides), canonical_lobes, upright.spacing_mm)
    return tuple(with_gap(locate(lesion, around), gaps[lesion.id]) for lesion in lesions)


def nowhere(lesion: Lesion, reason: str) -> Lesion:
    """A lesion whose place is unknown, and why."""
    return replace(lesion, reasons=lesion.reasons | dict.fromkeys(("zone", "lobe", *OF_SURFACE), reason))


def without_place(lesion: Lesion) -> Lesion:
    """A lesion as `measure_lesions` gives it, before it was said where it lies."""
    unknown: dict[str, Any] = dict.fromkeys(("zone", "lobe", *OF_SURFACE, *OF_GAP))
    kept = {name: reason for name, reason in lesion.reasons.items() if name not in unknown}
    return replace(lesion, **unknown, reasons=kept)


def with_gap(lesion: Lesion, gap: tuple[int, float] | None) -> Lesion:
    """A lesion with (id, gap in mm) of the nearest other one; None where there is no other."""
    if gap is None:
        reasons = dict.fromkeys(OF_GAP, "there is no other lesion")
        return replace(lesion, nearest_lesion_id=None, nearest_lesion_mm=None, reasons=lesion.reasons | reasons)
    reasons = {name: reason for name, reason in lesion.reasons.items() if name not in OF_GAP}
    return replace(lesion, nearest_lesion_id=gap[0], nearest_lesion_mm=gap[1], reasons=reasons)


def surround(
    lesions: Sequence[Lesion],
    labels: NDArray[np.integer],
    boxes: Mapping[int, Box],
    sides: Sides,
    lobes: NDArray[np.uint8] | None,
    spacing_mm: Triple,
) -> Surroundings:
    """What some lesions lie in; arguments as the attributes of `Surroundings`."""
    numbers = {name: number for number, name in SIDES.items()}
    of_lesions = np.zeros(max(boxes, default=0) + 1, np.uint8)
    for lesion in lesions:
        of_lesions[lesion.id] = numbers[lesion.side] if lesion.side else 0
    surface = lung_surface(sides, labels, of_lesions, spacing_mm)
    return Surroundings(labels, boxes, sides, lobes, spacing_mm, surface, zone_borders(sides))


def locate(lesion: Lesion, around: Surroundings) -> Lesion:
    """One lesion with its place, and the reasons of what is unknown."""
    if not is_in_lungs(lesion):
        return nowhere(lesion, OUTSIDE)
    side = next((number for number, name in SIDES.items() if name == lesion.side), None)
    if side is None:
        return nowhere(lesion, lesion.reasons.get("side", NO_SIDE))
    box = around.boxes[lesion.id]
    inside = around.labels[box] == lesion.id
    start = np.array([b.start for b in box])
    values, reasons = _distances(lesion, inside, start, side, around)
    zone, zone_reason = _zone(side, float(centre_index(inside)[0] + start[0]), around)
    lobe, lobe_reason = _lobe(inside, box, around)
    values |= {"zone": zone, "lobe": lobe}
    return replace(lesion, **values, reasons=lesion.reasons | reasons | zone_reason | lobe_reason)


def _distances(
    lesion: Lesion, inside: Mask, start: NDArray[np.int64], side: int, around: Surroundings
) -> tuple[dict[str, Any], Reasons]:
    """Gaps, contact and region as fields of `Lesion`, and why some are missing."""
    surface = around.surface
    if surface is None:
        return {}, dict.fromkeys(OF_SURFACE, ONE_LUNG)
    touch = dict(zip(SURFACES, _contacts(lesion, around.boxes[lesion.id], around, surface), strict=True))
    values: dict[str, Any] = {"pleural_contact_cm2": touch["pleura"] / 100}
    reasons: Reasons = {}
    rim = surface_points(inside, (1.0, 1.0, 1.0)).astype(np.intp) + start
    for kind, what in SURFACES.items():
        name = f"distance_to_{kind}_mm"
        gap = 0.0 if touch[kind] else _gap(surface.nearest(side, kind, rim), 1.0)
        values |= {name: gap, f"{name}_error": None if gap is None else surface.error_mm}
        if gap is None:
            reasons |= dict.fromkeys((name, f"{name}_error"), f"the scan shows no surface of this lung at the {what}")
    centre = np.round(centre_index(inside)).astype(np.intp) + start
    depth = _gap(surface.nearest(side, "pleura", centre[None]), 0.5)
    values["region"] = None if depth is None else "outer" if depth <= OUTER_MM else "inner"
    if depth is None:
        reasons["region"] = reasons["distance_to_pleura_mm"]
    return values, reasons


def _gap(way: tuple[float, float] | None, voxels: float) -> float | None:
    """What is left of the way between two voxel centres without so many voxels of it: half a one off each surface."""
    if way is None:
        return None
    distance_mm, steps = way
    # The centre of a bent lesion may itself lie beyond the surface.
    return distance_mm * (1 - voxels / steps) if steps > voxels else 0.0


def _zone(side: int, index: float, around: Surroundings) -> tuple[Any, Reasons]:
    borders = around.borders.get(side)
    return (None, {"zone": CUT}) if borders is None else (zone_at(index, borders), {})


def _lobe(inside: Mask, box: Box, around: Surroundings) -> tuple[Any, Reasons]:
    """The lobe that holds most of the lesion, or is nearest within its box."""
    if around.lobes is None:
        return None, {"lobe": NO_LOBES}
    counts = np.bincount(around.lobes[box][inside], minlength=len(LOBES) + 1)[1:]
    if not counts.any():
        wide = tuple(slice(max(0, b.start - 3), b.stop + 3) for b in box)
        counts = np.bincount(around.lobes[wide].ravel(), minlength=len(LOBES) + 1)[1:]
    return (LOBES[int(counts.argmax())], {}) if counts.any() else (None, {"lobe": "no lobe lies around it"})


def _contacts(lesion: Lesion, box: Box, around: Surroundings, surface: LungSurface) -> tuple[float, float]:
    """mm2 of the lesion's surface on tissue that is neither lung nor lesion: at the pleura, and at the mediastinum.

    The faces of voxels are a staircase, of more area than the surface they stand for: they are scaled by the area of
    the lesion's mesh over that of all its faces.
    """
    wide = tuple(slice(max(0, b.start - 1), b.stop + 1) for b in box)
    corner = [w.start for w in wide]
    inside = around.labels[wide] == lesion.id
    tissue = (around.sides[wide] == 0) & (around.labels[wide] == 0)
    pleura = mediastinum = total = 0.0
    z, y, x = around.spacing_mm
    for axis, area in enumerate((y * x, z * x, z * y)):
        total += area * int(np.count_nonzero(np.diff(np.pad(inside, 1).view(np.int8), axis=axis)))
        lower, upper = [slice(None)] * 3, [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        for here, there in ((tuple(lower), tuple(upper)), (tuple(upper), tuple(lower))):
            faces = np.argwhere(inside[here] & tissue[there]) + corner
            faces[:, axis] += there[axis].start or 0
            medial = int(np.count_nonzero(surface.is_between(faces)))
            mediastinum += area * medial
            pleura += area * (len(faces) - medial)
    scale = min(1.0, 100 * lesion.surface_cm2 / total) if lesion.surface_cm2 is not None else 1.0
    return scale * pleura, scale * mediastinum
