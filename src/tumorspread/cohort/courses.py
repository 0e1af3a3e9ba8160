"""Which patients can be followed, and why the others cannot; nothing is guessed where dates do not tell an order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tumorspread.cohort.cases import Case, Skipped, digest_of, safe_id
from tumorspread.cohort.place import Place
from tumorspread.cohort.plan import Plan, make_plan, planned
from tumorspread.cohort.rows import Index, Row
from tumorspread.cohort.run import collect
from tumorspread.cohort.tables import BATCH

# What a patient's table needs of a case beside the case itself.
_VALUES = ("status", "settings", "lesion_count", "volume_ml", "reason")
_MEASURED = ("lesion_count", "volume_ml")


@dataclass(frozen=True)
class Scan:
    """A scan of a patient with what became of it.

    Attributes:
        case: the scan.
        status, settings, reason: of its row.
        lesion_count, volume_ml: None where it is not done.
    """

    case: Case
    status: str
    settings: str
    lesion_count: int | None
    volume_ml: float | None
    reason: str | None

    @property
    def is_usable(self) -> bool:
        """Whether it has both a date and a result."""
        return self.case.date is not None and self.status == "done"


@dataclass(frozen=True)
class Course:
    """The scans of a patient.

    Attributes:
        patient: the name.
        scans: by date; those without one last.
        why_not: to be followed; empty where he can be.
    """

    patient: str
    scans: tuple[Scan, ...]
    why_not: str

    @property
    def case(self) -> Case:
        """The patient as a case, whose stamp changes with what was measured in his scans."""
        used = [scan for scan in self.scans if scan.is_usable]
        known = [(scan.case.id, scan.case.date, scan.settings, scan.case.stamp) for scan in used]
        stamp = digest_of(json.dumps(known))[:12]
        visits = tuple(scan.case for scan in used)
        return Case(safe_id(self.patient), patient=self.patient, stamp=stamp, visits=visits)


def find_courses(place: Place) -> Iterator[Course]:
    """The scans of each patient that have a row, patient by patient.

    Sorted as columns, since objects of a million cases would take gigabytes.
    """
    table = _table(place).sort_by([("patient", "ascending"), ("date", "ascending"), ("number", "ascending")])
    rows = (row for batch in table.to_batches(BATCH) for row in batch.to_pylist())
    for patient, found in groupby(rows, lambda row: row["patient"]):
        scans = tuple(_scan(row) for row in found)
        yield Course(patient, scans, _why_not(scans))


def _table(place: Place) -> Any:
    import pyarrow as pa

    kinds = {"patient": pa.string(), "date": pa.string(), "number": pa.int64(), "case": pa.string()}
    texts = dict.fromkeys(_VALUES, pa.string())
    schema = pa.schema([*kinds.items(), *(texts | {"lesion_count": pa.int64(), "volume_ml": pa.float64()}).items()])
    batches, held = [], []
    for number, (case, row) in enumerate(collect(place)):
        if row is not None and case.patient is not None:
            held.append(
                {"patient": case.patient, "date": case.date, "number": number, "case": case.to_json(), **_values(row)}
            )
        if len(held) >= BATCH:
            batches.append(pa.RecordBatch.from_pylist(held, schema=schema))
            held.clear()
    return pa.Table.from_batches([*batches, pa.RecordBatch.from_pylist(held, schema=schema)], schema=schema)


def _values(row: Row) -> dict[str, Any]:
    return {name: getattr(row.measures if name in _MEASURED else row, name, None) for name in _VALUES}


def _scan(row: dict[str, Any]) -> Scan:
    return Scan(Case.from_json(row["case"]), **{name: row[name] for name in _VALUES})


def _why_not(scans: Sequence[Scan]) -> str:
    if len(scans) == 1:
        return "one scan only"
    if all(scan.case.date is None for scan in scans):
        return "no scan has a date"
    used = [scan for scan in scans if scan.is_usable]
    day, number = Counter(scan.case.date for scan in used).most_common(1)[0] if used else (None, 0)
    if number > 1:
        return f"{number} scans of {day}: their order is unknown; list the one that counts"
    if len(used) < 2:
        return f"{len(used)} of {len(scans)} scans with both a date and a result"
    if len({scan.settings for scan in used}) > 1:
        return "the scans were measured with different settings; let the run come to its end"
    return ""


def plan_follow_up(place: Place, settings: str, redo: bool = False) -> Plan:
    """Write the plan of the follow-up, and count its patients; `skipped.csv` says why the others are left out.

    Args:
        place: of the cases.
        settings: digest of the settings of the follow-up.
        redo: follow again what was refused or set aside too.

    Raises:
        OutputError: the plan cannot be written.
    """
    place.patients.prepare()
    courses = find_courses(place) if _has_several_dates(place) else iter(())
    found = (Skipped(one.patient, one.why_not) if one.why_not else one.case for one in courses)
    return make_plan(found, place.patients, settings, redo=redo, may_be_empty=True)


def _has_several_dates(place: Place) -> bool:
    """Whether any patient has two dates: most studies have none, and are not sorted for it."""
    first: dict[int, int] = {}
    return any(
        first.setdefault(hash(case.patient), hash(case.date)) != hash(case.date)
        for case in planned(place)
        if case.patient is not None and case.date is not None
    )


def followed(place: Place) -> Iterator[tuple[Course, Row | None]]:
    """Each patient with the row of his follow-up; None where there is none of the scans as they are now."""
    held: list[Course] = []

    def patients() -> Iterator[Case]:
        for course in find_courses(place):
            held.append(course)
            yield course.case

    for case, row in Index(place.patients.journal).rows(patients()):
        course = held.pop()
        is_current = row is not None and not course.why_not and row.stamp == case.stamp
        yield course, row if is_current else None
