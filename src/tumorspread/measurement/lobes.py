"""Lungs and lobes that somebody else segmented: which label is what, told by the labels and checked by geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import cc3d
import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.measurement.lungs import LEFT, RIGHT, LungMask
from tumorspread.measurement.parts import Lobe, Lungs
from tumorspread.scan.volume import Volume

LOBES: tuple[Lobe, ...] = get_args(Lobe)

# Labels of left upper, left lower, right upper, right middle and right lower lobe.
CONVENTIONS = {
    "TotalSegmentator 2": (10, 11, 12, 13, 14),
    "TotalSegmentator 1": (13, 14, 15, 16, 17),
    "lungmask LTRCLobes": (1, 2, 3, 4, 5),
}
EXPECTED = (
    "expected lobes by TotalSegmentator (10-14, or 13-17 of version 1) or lungmask (1-5), or two labels, one a lung"
)


@dataclass(frozen=True, eq=False)
class LobeMap:
    """Lungs, and perhaps lobes, that were brought along.

    Attributes:
        lungs: in place of segmented ones.
        lobes: uint8 on the scan's grid: 0 outside, n in the n-th of `LOBES`; None where only lungs were brought.
    """

    lungs: LungMask
    lobes: NDArray[np.uint8] | None


def read_lobe_map(labels: Volume) -> LobeMap:
    """Understand a label map of lobes or lungs.

    Args:
        labels: whole numbers on the scan's grid; labels of other organs are passed over.

    Raises:
        MaskError: the labels are of no known kind, or lie where those of that kind cannot.
    """
    found = _centres(labels)
    if 0 < len(found) <= 2 and set(found) <= {1, 2}:
        return LobeMap(_lungs(_sides_of_two(labels, found), labels.voxel_ml), None)
    reasons = []
    for name, numbers in CONVENTIONS.items():
        # A middle lobe may have been taken out, and with it whatever else.
        if {*numbers[:3], numbers[4]} <= set(found):
            reason = _misplaced([found.get(number) for number in numbers])
            if not reason:
                table = np.zeros(max(found) + 1, np.uint8)
                table[[n for n in numbers if n in found]] = [i + 1 for i, n in enumerate(numbers) if n in found]
                lobes = table[labels.voxels.astype(np.int64, copy=False)]
                sides = np.array([0, LEFT, LEFT, RIGHT, RIGHT, RIGHT], np.uint8)[lobes]
                return LobeMap(_lungs(sides, labels.voxel_ml), lobes)
            reasons.append(f"read as {name}, {reason}")
    shown = ", ".join(map(str, sorted(found)[:8])) or "none"
    raise MaskError(f"the lobe mask has the labels {shown}; {'; '.join(reasons) or EXPECTED}")


def _centres(labels: Volume) -> dict[int, NDArray[np.float64]]:
    """The centre of mass, LPS mm, of each label above 0."""
    found = cc3d.statistics(np.ascontiguousarray(labels.voxels.astype(np.uint16, copy=False)))
    counts, centres = found["voxel_counts"], found["centroids"]
    return {n: labels.to_world(centres[n]) for n in range(1, len(counts)) if counts[n]}


def _misplaced(centres: list[Any]) -> str:
    """What is wrong with the places of the five lobes; nothing where all is right."""
    left_upper, left_lower, right_upper, right_middle, right_lower = centres
    left = [c[0] for c in (left_upper, left_lower)]
    right = [c[0] for c in (right_upper, right_middle, right_lower) if c is not None]
    if min(left) <= max(right):
        return "a left lobe lies to the right of a right one"
    if left_upper[2] <= left_lower[2] or right_upper[2] <= right_lower[2]:
        return "an upper lobe lies below the lower one"
    return ""


def _sides_of_two(labels: Volume, centres: dict[int, NDArray[np.float64]]) -> NDArray[np.uint8]:
    """Which of one or two lungs is the left one: lungmask counts the right as 1, others the left."""
    table = np.zeros(3, np.uint8)
    if len(centres) == 2:
        table[1:] = (LEFT, RIGHT) if centres[1][0] > centres[2][0] else (RIGHT, LEFT)
    else:
        raise MaskError("the lung mask has one label; expected two, one a lung, to tell left from right")
    return np.asarray(table[labels.voxels.astype(np.int64, copy=False)])


def _lungs(sides: NDArray[np.uint8], voxel_ml: float) -> LungMask:
    left, right = (int(np.count_nonzero(sides == side)) * voxel_ml for side in (LEFT, RIGHT))
    return LungMask(sides, Lungs(left, right, left + right), ())
