"""What the lesions of the baseline became in each later scan, going forward only.

A track joins all that ever belonged together; a sum of target diameters must not: a lesion that merges with a target in
the third scan was no part of it in the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tumorspread.followup.matching import Match
from tumorspread.followup.recurrence import Absences, Node


@dataclass(frozen=True)
class Descent:
    """What some lesions of the baseline are in one scan.

    Attributes:
        lesions: ids in that scan.
        is_whole: whether the scan shows the places of all of them.
    """

    lesions: frozenset[int]
    is_whole: bool


def trace(ids: Iterable[int], matches: Sequence[Sequence[Match]], absences: Absences) -> tuple[Descent, ...]:
    """The lesions of the baseline `ids` in every scan, the baseline included.

    Args:
        ids: of lesions of the baseline.
        matches: of each scan with the next.
        absences: from `find_absences`.
    """
    active: set[Node] = {(0, n) for n in ids}
    descents = [Descent(frozenset(ids), True)]
    for scan, pairs in enumerate(matches, 1):
        became = {(scan - 1, n): {(scan, m) for m in match.after} for match in pairs for n in match.before}
        back = {old: {new} for new, old in absences.returned.items() if new[0] == scan}
        # One that has no lesion in this scan keeps the node under which it was last seen.
        active = set().union(*(became.get(node) or back.get(node) or {node} for node in active))
        seen = frozenset(n for t, n in active if t == scan)
        is_whole = not any(scan in absences.hidden.get(node, ()) for node in active if node[0] < scan)
        descents.append(Descent(seen, is_whole))
    return tuple(descents)
