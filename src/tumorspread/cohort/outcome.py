"""What a cohort leaves for people: tables and the report, made from the rows that there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tumorspread.cohort.apart import run_apart
from tumorspread.cohort.cases import Case
from tumorspread.cohort.courses import followed
from tumorspread.cohort.following import days_of
from tumorspread.cohort.patients import write_patients
from tumorspread.cohort.place import Place
from tumorspread.cohort.rows import Row
from tumorspread.cohort.run import collect
from tumorspread.cohort.tables import write_tables
from tumorspread.data.cases import write_text

if TYPE_CHECKING:
    from tumorspread.report.cohort import FollowedPatient

# A page with more would take a browser minutes; the tables hold all.
MOST_REPORTED = 50_000
REPORT = "report.html"


def write_outcome(place: Place) -> int:
    """Write the tables and the report in a process of its own: its libraries and the page take more than a client.

    Args:
        place: the cohort's folder.

    Returns:
        The number of rows; of more than `MOST_REPORTED` there is no report, and one that was there is taken away.

    Raises:
        OutputError: they cannot be written, or that process was ended.
    """
    return run_apart(write_outcome_here, "writes tables and report", place)


def write_outcome_here(place: Place) -> int:
    """Write the tables and the report in this process.

    Returns:
        The number of rows.

    Raises:
        OutputError: they cannot be written.
    """
    count = write_tables(collect(place), place)
    write_patients(place)
    if count <= MOST_REPORTED:
        write_report(collect(place), place)
    else:
        # One of fewer cases would be taken for theirs.
        (place.folder / REPORT).unlink(missing_ok=True)
    return count


def write_report(rows: Iterator[tuple[Case, Row | None]], place: Place) -> None:
    """Write `report.html`: those that want a look first, with links to each result.

    Args:
        rows: the cases in their order; those without a row are left out.
        place: the cohort's folder.

    Raises:
        OutputError: it cannot be written.
    """
    from tumorspread.report.cohort import CohortCase, cohort_page

    cases = []
    for case, row in rows:
        if row is None:
            continue
        measures, is_near = row.measures, place.to is None
        if measures is None:
            cases.append(CohortCase(case.id, "failed", row.patient, row.date, row.reason, seconds=row.seconds))
            continue
        cases.append(
            CohortCase(
                case.id,
                "ok",
                row.patient,
                row.date,
                lesions=measures.lesion_count,
                volume_ml=measures.volume_ml,
                lung_fraction_percent=measures.lung_fraction_percent,
                largest_mm=measures.long_axis_mm,
                warnings=measures.warning_texts,
                seconds=row.seconds,
                report=f"cases/{case.id}/report.html" if is_near else None,
                thumbnail=f"cases/{case.id}/thumbnail.webp" if is_near else None,
                reference_volume_ml=measures.mask_volume_ml,
                dice=measures.mask_dice,
            )
        )
    write_text(place.folder / REPORT, cohort_page(cases, followed=list(_followed_patients(place))))


def _followed_patients(place: Place) -> Iterator[FollowedPatient]:
    from tumorspread.report.cohort import FollowedPatient

    for course, row in followed(place):
        if row is None or row.measures is None or not row.measures.visits:
            continue
        visits, last = row.measures.visits, row.measures.visits[-1]
        change, is_beyond, response = (
            last[name] for name in ("volume_change_percent", "is_change_beyond_error", "overall_response")
        )
        yield FollowedPatient(
            course.patient,
            len(visits),
            int(days_of([visit.date for visit in course.case.visits])[-1]),
            None if response is None else str(response),
            sum(int(visit["new_count"] or 0) for visit in visits),
            None if change is None else float(change),
            None if is_beyond is None else bool(is_beyond),
            row.measures.warning_texts,
            f"patients/{row.case}/report.html" if place.to is None else None,
        )
