"""Lesions that vanish and come back: the same lesion, not a new one.

RECIST 1.1 (Eisenhauer et al. 2009, appendix II) goes on measuring such a lesion and adds it to the sum again; only
after a complete response is its return progression.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tumorspread.followup.matching import NEAR_MM, Match
from tumorspread.followup.registration import Registration
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion

Node = tuple[int, int]  # scan, lesion


def find_returned(
    findings: Sequence[Findings], matches: Sequence[Sequence[Match]], registrations: Sequence[Registration]
) -> dict[Node, Node]:
    """Lesions that are new since the scan before, but stand where one vanished earlier.

    Args:
        findings: of each scan, in the order of time.
        matches: of each scan with the next; one fewer.
        registrations: of each scan with the next, from the points of the later to those of the earlier.

    Returns:
        (scan, lesion) that returned to the (scan, lesion) that it was when it was last seen; each once.
    """
    lost: list[tuple[Node, Lesion, np.ndarray]] = []  # and where the scan at hand would have it, LPS mm
    returned: dict[Node, Node] = {}
    for scan in range(1, len(findings)):
        before, after = ({n.id: n for n in findings[t].lesions} for t in (scan - 1, scan))
        lost = [(node, lesion, registrations[scan - 1].map_back(place)) for node, lesion, place in lost]
        for number in (n for match in matches[scan - 1] if match.kind == "new" for n in match.after):
            place = np.array(after[number].centroid_mm)
            reach = [_gap_mm(lesion, after[number], float(np.linalg.norm(there - place))) for _, lesion, there in lost]
            if reach and min(reach) <= NEAR_MM:
                returned[scan, number] = lost.pop(int(np.argmin(reach)))[0]
        for number in (n for match in matches[scan - 1] if match.kind == "gone" for n in match.before):
            place = registrations[scan - 1].map_back(before[number].centroid_mm)
            lost.append(((scan - 1, number), before[number], place))
    return returned


def _gap_mm(one: Lesion, other: Lesion, apart_mm: float) -> float:
    """How far the centre of the smaller lesion lies outside the larger one, taken as a ball."""
    return apart_mm - max(one.long_axis_mm, other.long_axis_mm) / 2
