"""Lesions over time: tracks, growth, response; and its JSON (docs/followup.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tumorspread.followup.response import OtherResponse, OverallResponse, TargetResponse
from tumorspread.measurement.findings import DISCLAIMER
from tumorspread.measurement.parts import Reasons
from tumorspread.measurement.written import Written
from tumorspread.scan.volume import Remark, Triple

FOLLOWUP_SCHEMA = 1

State = Literal["baseline", "stays", "new", "gone", "merged", "split", "regrouped", "returned", "not_covered", "absent"]


@dataclass(frozen=True)
class TrackPoint:
    """One track in one scan.

    Attributes:
        state: what became of it since the scan before: `stays`, `new`, `gone`, `merged`, `split`, `regrouped`,
            `returned` (it had been gone), `not_covered` (the scan does not show its place); `baseline` in the first
            scan, `absent` before it was new and after it was gone. `regrouped`: several became several, or one of
            several is new.
        lesion_ids: its lesions in the findings of that scan.
        volume_ml: sum over them; 0 where it is gone, None where the scan does not show its place.
        volume_ml_error: error bar of that, from the voxels alone.
        long_axis_mm: sum of their long axes, as RECIST 1.1 does with a lesion that split.
        long_axis_mm_error: error bar of that.
        place_mm: centre of mass of its lesions in that scan, LPS mm; where it has none, where registration expects it.
    """

    state: State
    lesion_ids: tuple[int, ...]
    volume_ml: float | None
    volume_ml_error: float | None
    long_axis_mm: float | None
    long_axis_mm_error: float | None
    place_mm: Triple | None = None


@dataclass(frozen=True)
class Change:
    """What became of a track between the first and the last scan that show it.

    Attributes:
        volume_percent: change of volume over the first volume.
        volume_percent_error: its error bar, from those of both volumes.
        long_axis_mm: change of the long axis.
        long_axis_percent: that over the first long axis.
        doubling_time_days: days times ln 2 over the logarithm of the ratio of volumes (Schwartz 1961, Cancer
            14:1272-1294); negative where it shrinks.
        doubling_time_days_error: its error bar, propagated from those of both volumes.
    """

    volume_percent: float | None
    volume_percent_error: float | None
    long_axis_mm: float | None
    long_axis_percent: float | None
    doubling_time_days: float | None
    doubling_time_days_error: float | None
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class Track:
    """Lesions of several scans that are one, or became one, or came from one.

    Attributes:
        id: 1 for the one that was largest where it was first seen; those of the baseline come first.
        is_target: whether a RECIST target of the baseline belongs to it.
        points: one a scan.
        change: from the first scan that shows it to the last.
    """

    id: int
    is_target: bool
    points: tuple[TrackPoint, ...]
    change: Change


@dataclass(frozen=True)
class TimePoint:
    """One scan of the series.

    Attributes:
        source: name of the scan.
        day: days since the baseline; None where no dates were given.
        count: lesions.
        volume_ml: of all of them.
        volume_ml_error: its error bar.
        sum_of_target_axes_mm: sum of the long axes of the targets that were chosen at baseline.
        target_response, other_response, overall_response: RECIST 1.1; None at baseline.
        volume_response: by the limits of RECIST turned into volumes of balls; None at baseline.
        new_lesion_ids: lesions of this scan that no scan before had, though the one before shows their place.
        lung_dice_before: overlap of the lungs with those of the scan before, as they lie.
        lung_dice_after: the same after registration.
    """

    source: str
    day: float | None
    count: int
    volume_ml: float
    volume_ml_error: float | None
    sum_of_target_axes_mm: float | None
    target_response: TargetResponse | None
    other_response: OtherResponse | None
    overall_response: OverallResponse | None
    volume_response: TargetResponse | None
    new_lesion_ids: tuple[int, ...]
    lung_dice_before: float | None
    lung_dice_after: float | None
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class FollowUp(Written):
    """A patient's lesions over time; scans in the order of time, the first is the baseline."""

    file: ClassVar[str] = "followup.json"
    version: ClassVar[int] = FOLLOWUP_SCHEMA

    software: str
    time_points: tuple[TimePoint, ...]
    tracks: tuple[Track, ...]
    warnings: tuple[Remark, ...] = ()
    disclaimer: str = DISCLAIMER
    schema: int = FOLLOWUP_SCHEMA
