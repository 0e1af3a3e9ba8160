"""Sums, burden and response of every scan of a series, from its tracks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tumorspread.followup.matching import Match
from tumorspread.followup.record import TimePoint, Track
from tumorspread.followup.registration import Registration
from tumorspread.followup.response import (
    OtherResponse,
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
RESPONSES = ("target_response", "other_response", "overall_response", "volume_response")
OVERLAPS = ("lung_dice_before", "lung_dice_after")


def build_time_points(
    findings: Sequence[Findings],
    tracks: Sequence[Track],
    matches: Sequence[Sequence[Match]],
    registrations: Sequence[Registration],
    days: Sequence[float] | None,
) -> tuple[TimePoint, ...]:
    """Sums and responses of every scan.

    Args:
        findings: of each scan, in the order of time.
        tracks: from `build_tracks`.
        matches: of each scan with the next; one fewer than scans.
        registrations: of each scan with the next.
        days: of each scan since the first; None where unknown.
    """
    sums = [_target_sum(findings[0], tracks, scan) for scan in range(len(findings))]
    points: list[TimePoint] = []
    has_new = False
    for scan, found in enumerate(findings):
        led = matches[scan - 1] if scan else ()
        back = {n for track in tracks if track.points[scan].state == "returned" for n in track.points[scan].lesion_ids}
        new = tuple(sorted(n for match in led if match.kind == "new" for n in match.after if n not in back))
        # Once there is a new lesion, or one that returns after a complete response, the disease has progressed: later
        # scans are no response.
        has_new = has_new or bool(new) or (bool(back) and points[-1].overall_response == "CR")
        has_targets = any(track.is_target for track in tracks)
        reasons: Reasons = {} if days else {"day": NO_DATES}
        answer: dict[str, Any] = dict.fromkeys((*RESPONSES, *OVERLAPS))
        if scan == 0:
            reasons |= dict.fromkeys(answer, BASELINE)
        else:
            answer |= _responses(
                findings[: scan + 1], tracks, sums[: scan + 1] if has_targets else None, has_new, reasons
            )
            answer |= _overlaps(registrations[scan - 1], reasons)
        points.append(_time_point(found, days[scan] if days else None, sums[scan], has_targets, new, answer, reasons))
    return tuple(points)


def _target_sum(baseline: Findings, tracks: Sequence[Track], scan: int) -> TargetSum:
    """The sum of the targets that were chosen at baseline, in one scan."""
    targets, axes = set(baseline.burden.target_ids), {n.id: n.long_axis_mm for n in baseline.lesions}
    total, present = 0.0, False
    for track in tracks:
        if not track.is_target:
            continue
        chosen = [n for n in track.points[0].lesion_ids if n in targets]
        point = track.points[scan]
        if scan == 0:
            total += sum(axes[n] for n in chosen)
        elif point.long_axis_mm is None:
            return TargetSum(None, True)
        else:
            total += point.long_axis_mm
        present = present or bool(point.lesion_ids)
    return TargetSum(total, present)


def _time_point(
    found: Findings,
    day: float | None,
    targets: TargetSum,
    has_targets: bool,
    new: tuple[int, ...],
    answer: dict[str, Any],
    reasons: Reasons,
) -> TimePoint:
    if not has_targets:
        reasons["sum_of_target_axes_mm"] = NO_TARGETS
    elif targets.sum_mm is None:
        reasons["sum_of_target_axes_mm"] = NOT_SHOWN
    error = added([n.volume_ml_error for n in found.lesions])
    if error is None:
        reasons["volume_ml_error"] = "an error bar is unknown"
    return TimePoint(
        source=found.scan.source,
        day=day,
        count=found.burden.count,
        volume_ml=found.burden.volume_ml,
        volume_ml_error=error,
        sum_of_target_axes_mm=targets.sum_mm if has_targets else None,
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
    findings: Sequence[Findings],
    tracks: Sequence[Track],
    sums: Sequence[TargetSum] | None,
    has_new: bool,
    reasons: Reasons,
) -> dict[str, Any]:
    """The four responses of the last scan as fields of `TimePoint`; why one is missing goes into `reasons`."""
    others = _others(tracks, len(findings) - 1)
    volumes = [f.burden.volume_ml for f in findings]
    by_volume = volume_response(volumes[0], min(volumes[:-1]), volumes[-1]) if volumes[0] else None
    if by_volume is None:
        reasons["volume_response"] = "there was no tumour at baseline"
    targets = None if sums is None else target_response(sums)
    overall = overall_response(targets, others, has_new=has_new)
    if targets is None:
        reasons["target_response"] = NO_TARGETS
    if overall is None:
        reasons["overall_response"] = "the baseline has no lesions"
    return dict(zip(RESPONSES, (targets, others, overall, by_volume), strict=True))


def _others(tracks: Sequence[Track], scan: int) -> OtherResponse:
    """Response of the lesions of the baseline that are no targets; growth alone is not called progression here."""
    states = [t.points[scan] for t in tracks if not t.is_target and t.points[0].lesion_ids]
    if not states:
        return "none"
    if any(point.volume_ml is None for point in states):
        return "NE"
    return "non-CR/non-PD" if any(point.lesion_ids for point in states) else "CR"
