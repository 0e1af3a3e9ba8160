"""The tables of a cohort, written from the journals a few thousand rows at a time."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from tumorspread.cohort.cases import Case
from tumorspread.cohort.columns import lesion_kinds
from tumorspread.cohort.place import Place
from tumorspread.cohort.rows import MEASURE_COLUMNS, ROW_COLUMNS, Cell, Measures, Row
from tumorspread.errors import OutputError

CASES, CASES_CSV, LESIONS = "cohort.parquet", "cohort.csv", "lesions.parquet"
# Rows held at once.
BATCH = 2000


def row_kinds() -> dict[str, type[str | int | float | bool]]:
    """Type of each column of the table of cases."""
    kinds: dict[str, type[str | int | float | bool]] = {}
    for one in (*fields(Row), *fields(Measures)):
        text = str(one.type)
        kinds[one.name] = float if "float" in text else int if "int" in text else str
    return {name: kinds[name] for name in (*ROW_COLUMNS, "folder", *MEASURE_COLUMNS) if name in kinds} | {"folder": str}


def write_tables(rows: Iterator[tuple[Case, Row | None]], place: Place) -> int:
    """Write `cohort.parquet`, `cohort.csv` and `lesions.parquet`; each appears whole or not at all.

    Args:
        rows: the cases in their order; those without a row are left out.
        place: the cohort's folder.

    Returns:
        The number of rows.

    Raises:
        OutputError: they cannot be written.
    """
    count = 0
    kinds = row_kinds()
    lesions = {"case": str, "patient": str, "date": str, **lesion_kinds()}
    try:
        with ExitStack() as files:
            cases_table = files.enter_context(_parquet(place.folder / CASES, kinds))
            lesions_table = files.enter_context(_parquet(place.folder / LESIONS, lesions))
            text = files.enter_context(csv_file(place.folder / CASES_CSV, tuple(kinds)))
            for case, row in rows:
                if row is None:
                    continue
                count += 1
                cells = row_cells(row, place.address(case.id))
                cases_table(cells)
                text(cells)
                for lesion in row.measures.lesions if row.measures else ():
                    lesions_table({"case": row.case, "patient": row.patient, "date": row.date, **lesion})
    except OSError as error:
        raise OutputError(f"cannot write {place.folder}: {error.strerror or error}") from error
    return count


def row_cells(row: Row, folder: str) -> dict[str, Cell]:
    """A row by column; several warnings have spaces between them."""
    cells: dict[str, Cell] = {name: getattr(row, name) for name in ROW_COLUMNS}
    cells["folder"] = folder
    for name in MEASURE_COLUMNS:
        cells[name] = None if row.measures is None else getattr(row.measures, name)
    cells["warnings"] = None if row.measures is None else " ".join(row.measures.warnings)
    return cells


@contextmanager
def _parquet(path: Path, kinds: dict[str, type]) -> Iterator[Callable[[dict[str, Cell]], None]]:
    """Writes rows as parquet, `BATCH` of them at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    held: list[dict[str, Any]] = []

    def add(cells: dict[str, Cell]) -> None:
        held.append(cells)
        if len(held) >= BATCH:
            flush()

    def flush() -> None:
        writer.write_table(pa.Table.from_pylist(held, schema=schema))
        held.clear()

    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            yield add
            flush()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def csv_file(path: Path, columns: tuple[str, ...]) -> Iterator[Callable[[dict[str, Cell]], None]]:
    """Writes rows as CSV; the file appears whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            yield lambda cells: writer.writerow([cell(cells[name]) for name in columns])
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def cell(value: Cell) -> str:
    """A number with 7 significant figures; text that a spreadsheet would run as a formula is quoted."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.7g}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
