"""The lungs in parts: thirds by height, and lobes."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.lobes import LOBES
from tumorspread.measurement.lung_checks import LEFT, RIGHT
from tumorspread.measurement.parts import LungPart, Side, Zone

SIDES: dict[int, Side] = {LEFT: "left", RIGHT: "right"}
ZONES: tuple[Zone, ...] = get_args(Zone)

CUT = "the scan does not show the whole height of this lung"


def zone_borders(sides: NDArray[np.uint8]) -> dict[int, tuple[float, float]]:
    """For each lung that the scan shows from end to end, where its zones meet.

    Args:
        sides: 1 in the left lung, 2 in the right, axes turned to (head, back, left).

    Returns:
        By side the two slice indices between lower and middle, and middle and upper third.
    """
    borders = {}
    for side in SIDES:
        slices = np.flatnonzero([bool((plane == side).any()) for plane in sides])
        if len(slices) and slices[0] > 0 and slices[-1] < len(sides) - 1:
            low, height = slices[0] - 0.5, slices[-1] + 1 - slices[0]
            borders[side] = (low + height / 3, low + 2 * height / 3)
    return borders


def zone_at(index: float, borders: tuple[float, float]) -> Zone:
    """The zone of a slice index, given where the zones meet."""
    return ZONES[2 - int(index > borders[0]) - int(index > borders[1])]


def lung_parts(sides: NDArray[np.uint8], lobes: NDArray[np.uint8] | None, voxel_ml: float) -> tuple[LungPart, ...]:
    """The zones of each lung that the scan shows from end to end, and the lobes.

    Args:
        sides: 1 in the left lung, 2 in the right, axes turned to (head, back, left).
        lobes: n in the n-th lobe, in the same axes; None where they are unknown.
        voxel_ml: volume of one voxel.
    """
    parts = []
    for side, borders in zone_borders(sides).items():
        areas = np.array([np.count_nonzero(plane == side) for plane in sides]) * voxel_ml
        # The slice in which two zones meet goes by its middle.
        places = [zone_at(index, borders) for index in range(len(sides))]
        for zone in ZONES:
            volume = float(sum(a for a, place in zip(areas, places, strict=True) if place == zone))
            parts.append(LungPart("zone", f"{SIDES[side]}_{zone}", volume))
    if lobes is not None:
        counts = np.zeros(len(LOBES) + 1, np.int64)
        for plane in lobes:
            counts += np.bincount(plane.ravel(), minlength=len(LOBES) + 1)
        parts += [LungPart("lobe", name, float(n) * voxel_ml) for name, n in zip(LOBES, counts[1:], strict=True) if n]
    return tuple(parts)
