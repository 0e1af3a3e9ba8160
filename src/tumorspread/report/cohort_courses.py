"""The volumes of a study's patients over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from tumorspread.followup.response import TargetResponse, volume_response
from tumorspread.report.cohort_case import CohortCase


@dataclass(frozen=True)
class PatientCourse:
    """The scans of one patient with two dates or more.

    Attributes:
        patient: the id.
        days: of each scan since the first, rising.
        volumes_ml: all tumour in each.
        responses: by volume at each scan after the first (see `volume_response`).
    """

    patient: str
    days: tuple[int, ...]
    volumes_ml: tuple[float, ...]
    responses: tuple[TargetResponse, ...]

    @property
    def best(self) -> tuple[float, TargetResponse] | None:
        """The lowest change from the first scan, percent, and the response then; None where that had no tumour."""
        first = self.volumes_ml[0]
        if not first:
            return None
        lowest = min(range(1, len(self.days)), key=lambda n: self.volumes_ml[n])
        return 100 * (self.volumes_ml[lowest] / first - 1), self.responses[lowest - 1]


def patient_courses(cases: Sequence[CohortCase]) -> list[PatientCourse]:
    """The courses of all patients with two dates or more, in the order of the patients' ids.

    Cases without a patient, a date or a volume play no part; of several with one date the first counts.
    """
    dated: dict[str, dict[date, float]] = defaultdict(dict)
    for case in cases:
        day = _day(case.date)
        if case.patient and day is not None and case.volume_ml is not None:
            dated[case.patient].setdefault(day, case.volume_ml)
    return [_course(patient, volumes) for patient, volumes in sorted(dated.items()) if len(volumes) > 1]


def _course(patient: str, dated: dict[date, float]) -> PatientCourse:
    days = sorted(dated)
    volumes = tuple(dated[day] for day in days)
    responses = tuple(
        volume_response(volumes[0], min(volumes[:number]), volumes[number]) for number in range(1, len(volumes))
    )
    return PatientCourse(patient, tuple((day - days[0]).days for day in days), volumes, responses)


def _day(text: str | None) -> date | None:
    """The day of an ISO date, with or without the time; None for anything else."""
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        return None
