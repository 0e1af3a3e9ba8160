"""Sums, burden and response of every scan of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tumorspread.followup.lineage import Descent, trace
from tumorspread.followup.matching import Match
from tumorspread.followup.record import TimePoint, Track
from tumorspread.followup.recurrence import Absences
from tumorspread.followup.registration import POOR_DICE, Registration
from tumorspread.followup.response import (
    OtherResponse,
    TargetResponse,
    TargetSum,
    overall_response,
    target_response,
    volume_response,
)
from tumorspread.followup.tracks import NO_DATES, added
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Reasons

NOT_SHOWN = "a scan does not show its place"
BASELINE = "this is the baseline"
NO_TARGETS = "no lesion of the baseline is measurable by RECIST 1.1"
POOR = "the lungs of this scan or one before do not meet after registration: lesions may be matched wrong"
RESPONSES = ("target_response", "other_response", "overall_response", "volume_response")
OVERLAPS = ("lung_dice_before", "lung_dice_after")


@dataclass(frozen=True)
class History:
    """All that is known of a series of scans.

    Attributes:
        findings: of each scan, in the order of time.
        tracks: from `build_tracks`.
        matches: of each scan with the next; one fewer than scans.
        absences: from `find_absences`.
        registrations: of each scan with the next.
    """

    findings: Sequence[Findings]
    tracks: Sequence[Track]
    matches: Sequence[Sequence[Match]]
    absences: Absences
    registrations: Sequence[Registration]


def build_time_points(history: History, days: Sequence[float] | None) -> tuple[TimePoint, ...]:
    """Sums and responses of every scan.

    Args:
        history: the series.
        days: of each scan since the first; None where unknown.
    """
    baseline = history.findings[0]
    chosen = set(baseline.burden.target_ids)
    targets = trace(chosen, history.matches, history.absences)
    others = trace({n.id for n in baseline.lesions} - chosen, history.matches, history.absences)
    sums = [_target_sum(found, descent) for found, descent in zip(history.findings, targets, strict=True)]
    points: list[TimePoint] = []
    for scan, found in enumerate(history.findings):
        reasons: Reasons = {} if days else {"day": NO_DATES}
        new = _new_lesions(history, scan)
        answer: dict[str, Any] = dict.fromkeys((*RESPONSES, *OVERLAPS))
        if scan == 0:
            reasons |= dict.fromkeys(answer, BASELINE)
        else:
            answer |= _overlaps(history.registrations[scan - 1], reasons)
            has_new = _has_progressed_by_lesions(history, points, scan)
            answer |= _responses(history, scan, sums[: scan + 1] if chosen else None, others[scan], has_new, reasons)
        day = days[scan] if days else None
        points.append(_time_point(found, day, sums[scan] if chosen else None, new, answer, reasons))
    return tuple(points)


def _target_sum(found: Findings, descent: Descent) -> TargetSum:
    """The sum of what the targets became in one scan."""
    axes = [n.long_axis_mm for n in found.lesions if n.id in descent.lesions]
    return TargetSum(sum(axes), bool(axes), descent.is_whole)


def _new_lesions(history: History, scan: int) -> tuple[int, ...]:
    """Lesions that no scan before had; in a place that was not scanned before, too (RECIST 1.1, 4.3.5)."""
    unmatched = [n for match in history.matches[scan - 1] if not match.before for n in match.after] if scan else []
    return tuple(sorted(n for n in unmatched if (scan, n) not in history.absences.returned))


def _has_progressed_by_lesions(history: History, before: Sequence[TimePoint], scan: int) -> bool:
    """Whether this scan or one before has a new lesion, or one that returned after a complete response.

    Once there is one, the disease has progressed: later scans are no response.
    """
    has_new = any(_new_lesions(history, t) for t in range(1, scan + 1))
    relapse = before[-1].overall_response == "CR" and any(t == scan for t, _ in history.absences.returned)
    relapsed = any(a.overall_response == "CR" and b.overall_response == "PD" for a, b in pairwise(before))
    return has_new or relapse or relapsed


def _time_point(
    found: Findings,
    day: float | None,
    targets: TargetSum | None,
    new: tuple[int, ...],
    answer: dict[str, Any],
    reasons: Reasons,
) -> TimePoint:
    whole_sum = targets.sum_mm if targets is not None and targets.is_whole else None
    if whole_sum is None:
        reasons["sum_of_target_axes_mm"] = NO_TARGETS if targets is None else NOT_SHOWN
    error = added([n.volume_ml_error for n in found.lesions])
    if error is None:
        reasons["volume_ml_error"] = "an error bar is unknown"
    return TimePoint(
        source=found.scan.source,
        day=day,
        count=found.burden.count,
        volume_ml=found.burden.volume_ml,
        volume_ml_error=error,
        sum_of_target_axes_mm=whole_sum,
        new_lesion_ids=new,
        reasons=reasons,
        **answer,
    )


def _overlaps(registration: Registration, reasons: Reasons) -> dict[str, Any]:
    found = dict(zip(OVERLAPS, (registration.dice_before, registration.dice_after), strict=True))
    if None in found.values():
        reasons |= dict.fromkeys(OVERLAPS, "one of the scans shows no lungs")
    return found


def _responses(
    history: History,
    scan: int,
    sums: Sequence[TargetSum] | None,
    others: Descent,
    has_new: bool,
    reasons: Reasons,
) -> dict[str, Any]:
    """The four responses of one scan as fields of `TimePoint`; why one is missing goes into `reasons`."""
    overlaps = [registration.dice_after for registration in history.registrations[:scan]]
    if any(dice is not None and dice < POOR_DICE for dice in overlaps):
        reasons |= dict.fromkeys(RESPONSES, POOR)
        return dict.fromkeys(RESPONSES)
    targets = None if sums is None else target_response(sums)
    answer = _others(history.findings[0], others)
    overall = overall_response(targets, answer, has_new=has_new)
    by_volume = _by_volume(history, scan)
    if targets is None:
        reasons["target_response"] = NO_TARGETS
    if overall is None:
        reasons["overall_response"] = "the baseline has no lesions"
    if by_volume is None:
        reasons["volume_response"] = "there was no tumour at baseline"
    return dict(zip(RESPONSES, (targets, answer, overall, by_volume), strict=True))


def _others(baseline: Findings, descent: Descent) -> OtherResponse:
    """Response of the lesions of the baseline that are no targets; growth alone is not called progression here."""
    if len(baseline.lesions) == len(baseline.burden.target_ids):
        return "none"
    if not descent.is_whole:
        return "NE"
    return "non-CR/non-PD" if descent.lesions else "CR"


def _by_volume(history: History, scan: int) -> TargetResponse | None:
    """Response by the volume of all lesions; a scan that does not show the place of one has no such volume."""
    volumes = [found.burden.volume_ml for found in history.findings[: scan + 1]]
    if not volumes[0]:
        return None
    hidden = {t for track in history.tracks for t, point in enumerate(track.points) if point.state == "not_covered"}
    if hidden & {0, scan}:
        return "NE"
    return volume_response(volumes[0], min(v for t, v in enumerate(volumes[:-1]) if t not in hidden), volumes[-1])
