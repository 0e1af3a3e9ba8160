"""`patients.csv`: the scans of each patient in the order of their dates, and what became of the tumour."""

from __future__ import annotations

from datetime import date
from itertools import groupby
from typing import Any

from tumorspread.cohort.place import Place
from tumorspread.cohort.tables import CASES, csv_file
from tumorspread.errors import OutputError

PATIENTS = "patients.csv"
COLUMNS = (
    "patient", "visit", "date", "day", "case", "status", "lesion_count", "volume_ml", "volume_change_percent",
    "sum_of_target_axes_mm", "reason",
)  # fmt: skip
_READ = ["patient", "date", "case", "status", "lesion_count", "volume_ml", "sum_of_target_axes_mm", "reason"]


def write_patients(place: Place) -> int:
    """Write the table from `cohort.parquet`, where columns of a million rows take little memory.

    A change is that of the volume of all lesions since the patient's first measured scan; whether it is more than
    outlines differ by, and the response by RECIST 1.1, only `tumorspread follow` can say, which matches the lesions.

    Args:
        place: the cohort's folder.

    Returns:
        The number of patients.

    Raises:
        OutputError: it cannot be written.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(place.folder / CASES, columns=_READ)
    table = table.filter(pc.is_valid(table["patient"])).sort_by(
        [("patient", "ascending"), ("date", "ascending"), ("case", "ascending")]
    )
    rows = (row for batch in table.to_batches(1000) for row in batch.to_pylist())
    count = 0
    try:
        with csv_file(place.folder / PATIENTS, COLUMNS) as add:
            for _, visits in groupby(rows, lambda row: row["patient"]):
                count += 1
                for row in _course(list(visits)):
                    add(row)
    except OSError as error:
        raise OutputError(f"cannot write {place.folder / PATIENTS}: {error.strerror or error}") from error
    return count


def _course(visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first = next((one["date"] for one in visits if one["date"]), None)
    base = next((one["volume_ml"] for one in visits if one["date"] and one["volume_ml"]), None)
    rows = []
    for number, one in enumerate(visits, 1):
        day = (date.fromisoformat(one["date"]) - date.fromisoformat(first)).days if first and one["date"] else None
        change = None
        if base and day is not None and one["volume_ml"] is not None:
            change = 100 * (one["volume_ml"] - base) / base
        rows.append({**one, "visit": number, "day": day, "volume_change_percent": change})
    return rows
