"""Lungs and lobes that somebody else segmented: which label is what, told by the labels and checked by geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import cc3d
import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.measurement.lung_checks import LEFT, RIGHT, check_lungs
from tumorspread.measurement.lungs import LungMask
from tumorspread.measurement.outlines import fill_lobes, fill_lungs
from tumorspread.measurement.parts import Lobe, Lungs
from tumorspread.scan.volume import Remark, Reorientation, Volume

LOBES: tuple[Lobe, ...] = get_args(Lobe)
SIDE_OF_LOBE = np.array([0, LEFT, LEFT, RIGHT, RIGHT, RIGHT], np.uint8)

# Labels of left upper, left lower, right upper, right middle and right lower lobe.
CONVENTIONS = {
    "TotalSegmentator 2": (10, 11, 12, 13, 14),
    "TotalSegmentator 1": (13, 14, 15, 16, 17),
    "lungmask LTRCLobes": (1, 2, 3, 4, 5),
}
EXPECTED = (
    "expected lobes by TotalSegmentator (10-14, or 13-17 of version 1) or lungmask (1-5), at least two of them, "
    "or lungs labelled 1 and 2"
)
LARGEST_LABEL = 65535
# A lung that lies no further beside the midline, as a share of its width, might be either, or both.
LEAST_ASIDE = 0.15


@dataclass(frozen=True, eq=False)
class LobeMap:
    """Lungs, and perhaps lobes, that were brought along.

    Attributes:
        lungs: in place of segmented ones.
        lobes: uint8 on the scan's grid: 0 outside, n in the n-th of `LOBES`; None where only lungs were brought.
    """

    lungs: LungMask
    lobes: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a label lies: its centre of mass, LPS mm, and how far it reaches from left to right, mm."""

    centre: NDArray[np.float64]
    low_mm: float
    high_mm: float

    @property
    def width_mm(self) -> float:
        return self.high_mm - self.low_mm

    def is_beside(self, other: _Place) -> bool:
        """Whether the two lie side by side as lungs do, not above or behind one another as the lobes of one do."""
        x, y, z = np.abs(self.centre - other.centre)
        shared = min(self.high_mm, other.high_mm) - max(self.low_mm, other.low_mm)
        return bool(x > max(y, z) and shared <= min(self.width_mm, other.width_mm) / 2)


def read_lobe_map(
    labels: Volume, *, midline_mm: float | None = None, lesions: NDArray[np.integer] | None = None
) -> LobeMap:
    """Understand a label map of lobes or lungs, whole or of a patient who lacks some of them.

    Args:
        labels: whole numbers on the scan's grid; labels of other organs are passed over.
        midline_mm: x of the middle of the body, LPS; by default that of the grid.
        lesions: label map of lesions on that grid. A lesion that a lung mostly surrounds belongs to it, though the
            lungs or lobes that were brought leave it out, as does any hole of a lung; a hole to the nearest lobe.

    Raises:
        MaskError: the labels are of no known kind, or lie where those of that kind cannot.
    """
    found = _places(labels)
    if midline_mm is None:
        midline_mm = float(labels.to_world([(n - 1) / 2 for n in labels.shape])[0])
    reasons: list[str] = []
    table = _lung_table(found, midline_mm, reasons)
    is_lobes = table is None
    if table is None:
        table = _lobe_table(found, midline_mm, reasons)
    if table is None:
        shown = ", ".join(map(str, sorted(found)[:8])) or "none"
        raise MaskError("; ".join([f"the lobe mask has the labels {shown}", *reasons, EXPECTED]))
    numbered = np.stack([table[plane] for plane in labels.voxels.astype(np.uint16, copy=False)])
    sides = SIDE_OF_LOBE[numbered] if is_lobes else numbered
    if lesions is None:
        lesions = np.zeros(labels.shape, np.uint8)
    sides = fill_lungs(sides, lesions, labels.spacing_mm)
    if not is_lobes:
        return LobeMap(_lungs(sides, labels), None)
    lungs = _lungs(sides, labels)
    missing = [name.replace("_", " ") for n, name in enumerate(LOBES, 1) if n not in table]
    if missing:
        text = f"the lobe mask holds no {', '.join(missing)} lobe: taken out, not in the scan, or left out?"
        lungs = replace(lungs, remarks=(Remark("lobes_missing", text), *lungs.remarks))
    return LobeMap(lungs, fill_lobes(numbered, sides, labels.spacing_mm))


def _places(labels: Volume) -> dict[int, _Place]:
    """Where each label above 0 lies."""
    low, high = labels.voxels.min(), labels.voxels.max()
    if not (low >= 0 and high <= LARGEST_LABEL):
        raise MaskError(f"the lobe mask holds {low if low < 0 else high:g}; expected labels from 0 to {LARGEST_LABEL}")
    upright = Reorientation.to_canonical(labels).apply(labels)
    found = cc3d.statistics(np.ascontiguousarray(upright.voxels.astype(np.uint16)))
    places, width = {}, upright.spacing_mm[2]
    for n, count in enumerate(found["voxel_counts"]):
        if n and count:
            columns = found["bounding_boxes"][n][2]
            index = found["centroids"][n]
            centre = upright.to_world(index)
            ends = [float(centre[0] + (edge - 0.5 - index[2]) * width) for edge in (columns.start, columns.stop)]
            places[n] = _Place(centre, *ends)
    return places


def _lung_table(found: Mapping[int, _Place], midline_mm: float, reasons: list[str]) -> NDArray[np.uint8] | None:
    """Side by label where the labels are one or two lungs: lungmask counts the right as 1, others the left."""
    if not found or not set(found) <= {1, 2}:
        return None
    table = np.zeros(3, np.uint8)
    if len(found) == 2:
        if not found[1].is_beside(found[2]):
            reasons.append("labels 1 and 2 do not lie side by side as two lungs do, but like two lobes of one")
            return None
        table[1:] = (LEFT, RIGHT) if found[1].centre[0] > found[2].centre[0] else (RIGHT, LEFT)
        return table
    ((label, place),) = found.items()
    aside = place.centre[0] - midline_mm
    if abs(aside) < LEAST_ASIDE * place.width_mm:
        reasons.append("its one label lies about the middle of the body, and cannot be told for left or right lung")
        return None
    table[label] = LEFT if aside > 0 else RIGHT
    return table


def _lobe_table(found: Mapping[int, _Place], midline_mm: float, reasons: list[str]) -> NDArray[np.uint8] | None:
    """Lobe by label, by the convention that knows the most of the labels and has them where they can be."""
    fits: dict[str, int] = {}
    for name, numbers in CONVENTIONS.items():
        present = [found.get(number) for number in numbers]
        if (count := sum(place is not None for place in present)) >= 2:
            if reason := _misplaced(present, midline_mm):
                reasons.append(f"read as {name}, {reason}")
            else:
                fits[name] = count
    best = [name for name, count in fits.items() if count == max(fits.values())]
    if len(best) > 1 and fits[best[0]] < len(LOBES):
        reasons.append(f"they may be those of {' or '.join(best)}")
    elif best:
        table = np.zeros(max(found) + 1, np.uint8)
        for lobe, number in enumerate(CONVENTIONS[best[0]], 1):
            if number in found:
                table[number] = lobe
        return table
    return None


def _misplaced(places: Sequence[_Place | None], midline_mm: float) -> str:
    """What is wrong with the places of the five lobes; nothing where all is right."""
    left, right = ([place for place in some if place is not None] for some in (places[:2], places[2:]))
    left_x, right_x = ([float(place.centre[0]) for place in some] for some in (left, right))
    if left and right and min(left_x) <= max(right_x):
        return "a left lobe lies to the right of a right one"
    if left and not right and float(np.mean(left_x)) <= midline_mm:
        return "the left lobes lie in the right half of the body"
    if right and not left and float(np.mean(right_x)) >= midline_mm:
        return "the right lobes lie in the left half of the body"
    for upper, lower in ((places[0], places[1]), (places[2], places[4]), (places[2], places[3])):
        if upper and lower and upper.centre[2] <= lower.centre[2]:
            return "an upper lobe lies below the lower one"
        if upper and lower and upper.is_beside(lower):
            return "two lobes of one lung lie side by side"
    return ""


def _lungs(sides: NDArray[np.uint8], labels: Volume) -> LungMask:
    left, right = (int(np.count_nonzero(sides == side)) * labels.voxel_ml for side in (LEFT, RIGHT))
    found = {"left_ml": left, "right_ml": right}
    reasons = {name: f"the lung mask holds no {name[:-3]} lung" for name, ml in found.items() if not ml}
    volumes = Lungs(left or None, right or None, left + right, reasons)
    upright = Reorientation.to_canonical(labels).apply_array(sides)
    return LungMask(sides, volumes, tuple(check_lungs(volumes, upright)))
