"""A cohort from a CSV: who and when each scan is, and whose outlines to compare with."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from tumorspread.cohort.cases import Case, Found, Skipped, safe_id
from tumorspread.cohort.folders import size_and_stamp
from tumorspread.cohort.place import is_far
from tumorspread.errors import DatasetError

COLUMNS = ("scan", "mask", "patient", "date", "id", "series")


def read_listing(path: Path) -> Iterator[Found]:
    """The cases of a CSV with the column `scan` and any of `mask`, `patient`, `date`, `id`, `series`.

    Paths are taken from the folder of the CSV; a scan that is not there becomes a case too, and its row says so.

    Raises:
        DatasetError: not a CSV with that column, a column of another name, or a date that is none.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            unknown = sorted(set(rows.fieldnames or ()) - set(COLUMNS))
            if "scan" not in (rows.fieldnames or ()) or unknown:
                raise DatasetError(
                    f"{path}: found the columns {', '.join(rows.fieldnames or ()) or 'none'}; expected scan, and "
                    f"any of {', '.join(COLUMNS[1:])}"
                )
            for row in rows:
                yield _found(path, rows.line_num, {name: (text or "").strip() for name, text in row.items() if name})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as CSV ({error})") from error


def _found(path: Path, line: int, row: dict[str, str]) -> Found:
    if not row["scan"]:
        return Skipped(f"{path.name}, line {line}", "no scan is named there")
    scan, mask = (_address(path.parent, row.get(name, "")) for name in ("scan", "mask"))
    patient, day = row.get("patient") or None, row.get("date") or None
    if day is not None:
        try:
            date.fromisoformat(day)
        except ValueError as error:
            raise DatasetError(f"{path}, line {line}: the date {day}; expected one such as 2024-05-02") from error
    name = row.get("id") or _name(row["scan"])
    size, stamp = size_and_stamp(scan, mask)
    series = row.get("series") or None
    return Case(safe_id(name), scan, series, None, mask or None, patient, day, stamp, size)


def _address(folder: Path, text: str) -> str:
    return text if is_far(text) or not text else str((folder / text).absolute())


def _name(scan: str) -> str:
    """The last two parts of a path, as far as there are two: many archives call every scan `ct.nii.gz`."""
    parts = [part for part in scan.partition("://")[2 if is_far(scan) else 0].split("/") if part not in ("", ".", "..")]
    return "/".join(parts[-2:]).removesuffix(".gz").removesuffix(".nii") or "scan"
