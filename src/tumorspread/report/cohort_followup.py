"""The patients of a study who were followed, those that got worse first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The page shows so many; patients.csv holds all.
MOST_FOLLOWED = 100
_ORDER = ("PD", "NE", "SD", "non-CR/non-PD", "PR", "CR", None)


@dataclass(frozen=True)
class FollowedPatient:
    """What became of a patient's lesions, at the last of the scans that were followed.

    Attributes:
        patient: the name.
        scans: that were followed.
        days: from the first to the last.
        response: overall response by RECIST 1.1; None where there is none.
        new_lesions: of all scans after the first.
        volume_change_percent: of the whole volume since the first scan; None where unknown.
        is_beyond_error: whether that is more than its error bar; None where unknown.
        remarks: of the follow-up, in words.
        report: link to its report, relative to the page; None where it lies elsewhere.
    """

    patient: str
    scans: int
    days: int
    response: str | None
    new_lesions: int
    volume_change_percent: float | None
    is_beyond_error: bool | None
    remarks: tuple[str, ...] = ()
    report: str | None = None


def worst_first(patients: Sequence[FollowedPatient]) -> list[FollowedPatient]:
    """Progression first, among equals the most new lesions, then the largest growth."""
    return sorted(
        patients,
        key=lambda one: (_ORDER.index(one.response), -one.new_lesions, -(one.volume_change_percent or 0.0)),
    )
