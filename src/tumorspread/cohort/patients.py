"""`patients.csv`: the scans of each patient in the order of their dates, and what became of the tumour."""

from __future__ import annotations

from collections.abc import Iterator

from tumorspread.cohort.courses import Course, Scan, followed
from tumorspread.cohort.following import VISIT_COLUMNS, days_of
from tumorspread.cohort.place import Place
from tumorspread.cohort.rows import Cell, Row
from tumorspread.cohort.tables import csv_file
from tumorspread.errors import OutputError

PATIENTS = "patients.csv"
COLUMNS = (
    "patient", "visit", "date", "day", "case", "status", "reason", "follow_up", "follow_up_reason", "lesion_count",
    "volume_ml", *VISIT_COLUMNS, "warnings", "folder",
)  # fmt: skip
NOT_DONE = "not done: start the command again, without --no-follow-up"


def write_patients(place: Place) -> int:
    """Write the table from the rows of the scans and of the follow-up.

    Of a patient who was not followed the change is that of the whole volume since his first measured scan; all that
    needs matched lesions is empty then, and `follow_up_reason` says why.

    Args:
        place: the cohort's folder.

    Returns:
        The number of patients.

    Raises:
        OutputError: it cannot be written.
    """
    count = 0
    try:
        with csv_file(place.folder / PATIENTS, COLUMNS) as add:
            for course, row in followed(place):
                count += 1
                for cells in course_cells(course, row, place):
                    add(cells)
    except OSError as error:
        raise OutputError(f"cannot write {place.folder / PATIENTS}: {error.strerror or error}") from error
    return count


def course_cells(course: Course, row: Row | None, place: Place) -> Iterator[dict[str, Cell]]:
    """The rows of a patient by column.

    Args:
        course: his scans.
        row: of his follow-up; None where there is none.
        place: of the cases.
    """
    dated = [scan for scan in course.scans if scan.case.date is not None]
    days = dict(zip((scan.case.id for scan in dated), days_of([scan.case.date for scan in dated]), strict=True))
    base = next((scan.volume_ml for scan in dated if scan.volume_ml is not None), None)
    visits = {cells["case"]: cells for cells in row.measures.visits} if row is not None and row.measures else {}
    for number, scan in enumerate(course.scans, 1):
        cells: dict[str, Cell] = dict.fromkeys(COLUMNS)
        cells |= {"patient": course.patient, "visit": number, "date": scan.case.date, "case": scan.case.id}
        cells |= {"day": int(days[scan.case.id]) if scan.case.id in days else None}
        cells |= {"status": scan.status, "reason": scan.reason}
        cells |= {"lesion_count": scan.lesion_count, "volume_ml": scan.volume_ml}
        cells["follow_up"], cells["follow_up_reason"] = _standing(course, scan, row)
        if row is not None and scan.case.id in visits:
            cells |= visits[scan.case.id] | {"folder": place.patients.address(row.case)}
            cells["warnings"] = " ".join(row.measures.warnings if row.measures else ())
        elif row is None and base and scan.case.id in days and scan.volume_ml is not None:
            cells["volume_change_percent"] = 100 * (scan.volume_ml / base - 1)
        yield cells


def _standing(course: Course, scan: Scan, row: Row | None) -> tuple[str, str | None]:
    """Whether a scan was followed, and why not."""
    if course.why_not:
        return "none", course.why_not
    if not scan.is_usable:
        return "left_out", "no date" if scan.case.date is None else "no result"
    return ("none", NOT_DONE) if row is None else (row.status, row.reason)
