"""From matches between neighbouring scans to tracks over all of them, and their growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tumorspread.followup.matching import Kind, Match
from tumorspread.followup.record import Change, State, TimePoint, Track, TrackPoint
from tumorspread.followup.recurrence import Absences, Node
from tumorspread.followup.registration import Registration
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion, Reasons
from tumorspread.scan.volume import Triple

NO_DATES = "no dates were given"


@dataclass(frozen=True)
class _Group:
    """The lesions of one track in every scan, what led to them, and the scans that do not show their place."""

    lesions: tuple[tuple[Lesion, ...], ...]
    kinds: tuple[frozenset[Kind], ...]
    hidden: frozenset[int]


def build_tracks(
    findings: Sequence[Findings],
    matches: Sequence[Sequence[Match]],
    days: Sequence[float] | None,
    absences: Absences = Absences(),
) -> tuple[Track, ...]:
    """Join the matches between neighbouring scans to tracks.

    Args:
        findings: of each scan, in the order of time.
        matches: of each scan with the next; one fewer.
        days: of each scan since the first; None where unknown.
        absences: from `find_absences`.

    Returns:
        Every lesion of every scan in one track.
    """
    groups = _groups(findings, matches, absences)
    targets = set(findings[0].burden.target_ids)
    tracks = []
    for number, group in enumerate(groups, 1):
        points = tuple(_point(group, scan) for scan in range(len(findings)))
        is_target = any(lesion.id in targets for lesion in group.lesions[0])
        tracks.append(Track(number, is_target, points, _change(points, days)))
    return tuple(tracks)


def _groups(findings: Sequence[Findings], matches: Sequence[Sequence[Match]], absences: Absences) -> list[_Group]:
    """Lesions that matches join, over all scans; those of the baseline first, the largest first."""
    parent: dict[Node, Node] = {(t, n.id): (t, n.id) for t, f in enumerate(findings) for n in f.lesions}

    def root(node: Node) -> Node:
        while parent[node] != node:
            node = parent[node]
        return node

    def join(one: Node, other: Node) -> None:
        first, last = sorted((root(one), root(other)))
        parent[last] = first

    hidden = {node: set(scans) for node, scans in absences.hidden.items()}
    kinds: dict[Node, Kind] = {}
    for node, earlier in absences.returned.items():
        join(node, earlier)
    for t, pairs in enumerate(matches):
        for match in pairs:
            nodes = [(t, n) for n in match.before] + [(t + 1, n) for n in match.after]
            for node in nodes[1:]:
                join(nodes[0], node)
            kinds |= {(t + 1, n): match.kind for n in match.after}
            if match.kind == "not_covered" and not match.before:
                hidden.setdefault(nodes[0], set()).add(t)
    members: dict[Node, list[Node]] = {}
    for node in sorted(parent):
        members.setdefault(root(node), []).append(node)
    by_id = [{n.id: n for n in f.lesions} for f in findings]
    groups = []
    for nodes in members.values():
        lesions = tuple(tuple(by_id[t][n] for s, n in nodes if s == t) for t in range(len(findings)))
        led = tuple(frozenset(kinds[node] for node in nodes if node[0] == t and t > 0) for t in range(len(findings)))
        groups.append(_Group(lesions, led, frozenset().union(*(hidden.get(node, set()) for node in nodes))))
    return groups


def _point(group: _Group, scan: int) -> TrackPoint:
    here = group.lesions[scan]
    state = _state(group, scan)
    if not here:
        seen = None if state == "not_covered" else 0.0
        return TrackPoint(state, (), seen, seen, seen, seen)
    return TrackPoint(
        state=state,
        lesion_ids=tuple(n.id for n in here),
        volume_ml=sum(n.volume_ml for n in here),
        volume_ml_error=added([n.volume_ml_error for n in here]),
        long_axis_mm=sum(n.long_axis_mm for n in here),
        long_axis_mm_error=added([n.long_axis_mm_error for n in here]),
        place_mm=_centre(here),
    )


def _centre(lesions: Sequence[Lesion]) -> Triple:
    centres, weights = [n.centroid_mm for n in lesions], [n.volume_ml for n in lesions]
    z, y, x = np.average(centres, axis=0, weights=weights).tolist()
    return z, y, x


def _state(group: _Group, scan: int) -> State:
    before = group.lesions[scan - 1] if scan else ()
    if not group.lesions[scan]:
        if scan in group.hidden:
            return "not_covered"
        covered = [lesions for t, lesions in enumerate(group.lesions[:scan]) if t not in group.hidden]
        return "gone" if covered and covered[-1] else "absent"
    if scan == 0:
        return "baseline"
    if not before:
        # RECIST 1.1 (4.3.5): a lesion in a place that was not scanned before is a new one too.
        if not any(group.lesions[:scan]):
            return "new"
        return "stays" if scan - 1 in group.hidden else "returned"
    kinds = group.kinds[scan]
    for kind in ("stays", "merged", "split"):
        if kinds == {kind}:
            return kind
    return "regrouped"


def expect_places(tracks: Sequence[Track], registrations: Sequence[Registration]) -> tuple[Track, ...]:
    """The tracks with the places where a scan does not have them, carried over from the nearest scan that does.

    Args:
        tracks: from `build_tracks`.
        registrations: of each scan with the next, from the points of the later to those of the earlier.
    """
    return tuple(replace(track, points=_with_places(track.points, registrations)) for track in tracks)


def _with_places(points: Sequence[TrackPoint], registrations: Sequence[Registration]) -> tuple[TrackPoint, ...]:
    places: list[Any] = [point.place_mm for point in points]
    for t in range(1, len(places)):
        if places[t] is None and places[t - 1] is not None:
            places[t] = registrations[t - 1].map_back(places[t - 1]).tolist()
    for t in reversed(range(len(places) - 1)):
        if places[t] is None:
            places[t] = registrations[t].map_points(places[t + 1]).tolist()
    return tuple(replace(point, place_mm=tuple(place)) for point, place in zip(points, places, strict=True))


def added(errors: Sequence[float | None]) -> float | None:
    """Error bar of a sum of independent numbers; None where one is unknown."""
    known = [e for e in errors if e is not None]
    return float(np.linalg.norm(known)) if len(known) == len(errors) else None


def _change(points: Sequence[TrackPoint], days: Sequence[float] | None) -> Change:
    """From the first scan in which the track has a lesion to the last that shows its place."""
    first = next(i for i, p in enumerate(points) if p.lesion_ids)
    last = max(i for i, p in enumerate(points) if p.volume_ml is not None)
    names = ("volume_percent", "volume_percent_error", "long_axis_mm", "long_axis_percent")
    times = ("doubling_time_days", "doubling_time_days_error")
    if last <= first:
        reason = "seen in one scan only"
        return Change(None, None, None, None, None, None, dict.fromkeys((*names, *times), reason))
    one, other = points[first], points[last]
    v1, v2, a1, a2 = (float(v or 0.0) for v in (one.volume_ml, other.volume_ml, one.long_axis_mm, other.long_axis_mm))
    reasons: Reasons = {}
    spread = log_error(one, other)
    if spread is None:
        reasons["volume_percent_error"] = "an error bar is unknown, or the lesion is gone"
    elapsed = None if days is None else days[last] - days[first]
    time, time_error, reason = _doubling(v1, v2, spread, elapsed)
    if reason:
        reasons |= dict.fromkeys(times, reason)
    elif time_error is None:
        reasons["doubling_time_days_error"] = reasons["volume_percent_error"]
    return Change(
        volume_percent=100 * (v2 / v1 - 1),
        volume_percent_error=None if spread is None else 100 * v2 / v1 * spread,
        long_axis_mm=a2 - a1,
        long_axis_percent=100 * (a2 / a1 - 1),
        doubling_time_days=time,
        doubling_time_days_error=time_error,
        reasons=reasons,
    )


def log_error(one: TrackPoint | TimePoint, other: TrackPoint | TimePoint) -> float | None:
    """Error bar of the logarithm of the ratio of two volumes; None where one is unknown or 0."""
    if not one.volume_ml or not other.volume_ml or None in (one.volume_ml_error, other.volume_ml_error):
        return None
    return float(np.hypot((one.volume_ml_error or 0) / one.volume_ml, (other.volume_ml_error or 0) / other.volume_ml))


def exceeds(ratio: float, spread: float) -> bool:
    """Whether two volumes of this ratio differ by more than the error bar of its logarithm."""
    return abs(float(np.log(ratio))) > spread


def _doubling(v1: float, v2: float, spread: float | None, days: float | None) -> tuple[float | None, float | None, str]:
    """Doubling time and its error in days, or why there is none."""
    if days is None:
        return None, None, NO_DATES
    if v2 <= 0:
        return None, None, "the lesion is gone"
    logarithm = float(np.log(v2 / v1))
    if not exceeds(v2 / v1, spread or 0.0):
        return None, None, "no change of volume beyond the error bar"
    time = days * float(np.log(2)) / logarithm
    return time, None if spread is None else abs(time) * spread / abs(logarithm), ""
