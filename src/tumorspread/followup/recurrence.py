"""Lesions that are out of sight for a while: vanished and come back, or in a part that a scan does not show.

RECIST 1.1 (Eisenhauer et al. 2009, appendix II) goes on measuring a lesion that comes back and adds it to the sum
again; only after a complete response is its return progression. One that a scan does not show is neither gone nor new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tumorspread.followup.matching import NEAR_MM, Match
from tumorspread.followup.registration import Registration
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion
from tumorspread.scan.volume import Volume

Node = tuple[int, int]  # scan, lesion


@dataclass(frozen=True)
class Absences:
    """What became of lesions after the last scan that has them.

    Attributes:
        returned: (scan, lesion) that came back, to the (scan, lesion) that it was when it was last seen; each once.
        hidden: (scan, lesion) to the later scans that do not show its place, until it comes back.
    """

    returned: Mapping[Node, Node] = field(default_factory=lambda: MappingProxyType({}))
    hidden: Mapping[Node, frozenset[int]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, eq=False)
class _Lost:
    """A lesion that is out of sight, and where the scan at hand would have it, LPS mm."""

    node: Node
    lesion: Lesion
    place_mm: NDArray[np.float64]


def find_absences(
    findings: Sequence[Findings],
    matches: Sequence[Sequence[Match]],
    registrations: Sequence[Registration],
    grids: Sequence[Volume],
) -> Absences:
    """Follow the places of lesions that are out of sight, and find those that come back.

    Args:
        findings: of each scan, in the order of time.
        matches: of each scan with the next; one fewer.
        registrations: of each scan with the next, from the points of the later to those of the earlier.
        grids: of each scan, any voxels.
    """
    lost: list[_Lost] = []
    returned: dict[Node, Node] = {}
    hidden: dict[Node, set[int]] = {}
    for scan in range(1, len(findings)):
        before, after = ({n.id: n for n in findings[t].lesions} for t in (scan - 1, scan))
        way = registrations[scan - 1]
        lost = [_Lost(one.node, one.lesion, way.map_back(one.place_mm)) for one in lost]
        for number in (n for match in matches[scan - 1] if not match.before for n in match.after):
            known = _nearest(lost, after[number])
            if known is not None:
                returned[scan, number] = lost.pop(known).node
        for number in (n for match in matches[scan - 1] if not match.after for n in match.before):
            lost.append(_Lost((scan - 1, number), before[number], way.map_back(before[number].centroid_mm)))
        for one in lost:
            if not shows(grids[scan], one.place_mm):
                hidden.setdefault(one.node, set()).add(scan)
    return Absences(returned, {node: frozenset(scans) for node, scans in hidden.items()})


def shows(grid: Volume, point_mm: NDArray[np.float64]) -> bool:
    """Whether a point lies within the voxels of a scan."""
    index = grid.to_index(point_mm)
    return bool(((index >= -0.5) & (index <= np.array(grid.shape) - 0.5)).all())


def _nearest(lost: Sequence[_Lost], lesion: Lesion) -> int | None:
    """Which of the lost lesions this one is: its place is within the larger of the two, or nearly."""
    place = np.array(lesion.centroid_mm)
    gaps = [
        float(np.linalg.norm(one.place_mm - place)) - max(one.lesion.long_axis_mm, lesion.long_axis_mm) / 2
        for one in lost
    ]
    return int(np.argmin(gaps)) if gaps and min(gaps) <= NEAR_MM else None
