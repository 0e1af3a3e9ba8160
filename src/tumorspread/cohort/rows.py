"""A row of the cohort, and the journal that holds the rows: one file a run, only ever appended to.

A line that a crash has torn is passed over: the row also stands in the case's result folder, where it is found again.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tumorspread.cohort.cases import Case, digest_of
from tumorspread.errors import OutputError, ReadError

Status = Literal["done", "refused", "failed", "set_aside"]
Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Measures:
    """What was measured of a case, as far as a table of cases can hold it; units as in docs/findings.md.

    Attributes:
        warnings: codes of the findings' warnings.
        warning_texts: the same in words.
        lesions: values of each lesion by column, see `columns.py`.
        visits: of a patient, whose other numbers are those of the last scan, values of each scan by column, see
            `following.py`.
    """

    lesion_count: int
    volume_ml: float
    lung_ml: float | None = None
    lung_fraction_percent: float | None = None
    sum_of_target_axes_mm: float | None = None
    largest_ml: float | None = None
    long_axis_mm: float | None = None
    sides_involved: int | None = None
    t: str | None = None
    m: str | None = None
    spacing_z_mm: float | None = None
    mask_volume_ml: float | None = None
    mask_dice: float | None = None
    threshold: float | None = None
    engine: str | None = None
    warnings: tuple[str, ...] = ()
    warning_texts: tuple[str, ...] = ()
    lesions: tuple[dict[str, Cell], ...] = ()
    visits: tuple[dict[str, Cell], ...] = ()


@dataclass(frozen=True)
class Row:
    """What became of a case.

    Attributes:
        case: its id.
        status: `done`; `refused`, which will not pass; `failed`, which may pass and is tried again by the next run;
            `set_aside`, since its worker died of it.
        reason: why it is not done, in one line; None where it is.
        error: class of the error; None where it is done.
        scan, series, mask, patient, date, stamp: as in `Case`.
        settings: digest of the settings, see `Settings`.
        weights_sha256: of the weights.
        seconds: of work, from opening the scan to the last file.
        tries: how often it was begun by the run that ended it.
        run: name of that run.
        host: that did it.
        made_at: when it ended, ISO 8601 in UTC.
        measures: None where it is not done.
    """

    case: str
    status: Status
    reason: str | None = None
    error: str | None = None
    scan: str = ""
    series: str | None = None
    mask: str | None = None
    patient: str | None = None
    date: str | None = None
    stamp: str = ""
    settings: str = ""
    weights_sha256: str = ""
    seconds: float = 0.0
    tries: int = 1
    run: str = ""
    host: str = ""
    made_at: str = ""
    measures: Measures | None = field(default=None)

    @property
    def is_final(self) -> bool:
        """Whether another try with the same settings would end the same way."""
        return self.status != "failed"

    def is_of(self, case: Case, settings: str) -> bool:
        """Whether it is what `case` with these settings would give again."""
        return self.is_final and _key(self.case, self.settings, self.stamp) == _key(case.id, settings, case.stamp)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Row:
        """Read back what `to_json` wrote.

        Raises:
            ReadError: torn, or of another version.
        """
        try:
            values: dict[str, Any] = json.loads(line)
            measures = values.pop("measures")
            if measures is not None:
                measures = Measures(**measures | {name: tuple(measures.get(name, ())) for name in TUPLES})
            return cls(**values, measures=measures)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ReadError(f"not a row of tumorspread ({type(error).__name__})") from error


TUPLES = ("warnings", "warning_texts", "lesions", "visits")
ROW_COLUMNS = tuple(one.name for one in fields(Row) if one.name != "measures")
MEASURE_COLUMNS = tuple(one.name for one in fields(Measures) if one.name not in TUPLES[1:])


class Journal:
    """The rows of this run, appended one by one.

    Args:
        folder: `journal` in the cohort's folder; made where it is missing.
        run: name of this run; names sort by time.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.path = folder / f"{run}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error

    def append(self, row: Row) -> None:
        """Keep a row.

        Raises:
            OutputError: the disk is full, or gone.
        """
        try:
            self._file.write(row.to_json().encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file; one without rows is taken away."""
        self._file.close()
        if self.path.stat().st_size == 0:
            self.path.unlink()


class Index:
    """Where the newest row of each case stands: 33 bytes a row, so that a million cases take 33 MB.

    Args:
        folder: of the journals; a missing one is empty.

    Attributes:
        files: the journals, oldest first.
        mean_s: mean seconds of work of the cases that are done; None where there are none.
    """

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.jsonl"))
        ids, keys, numbers, offsets = (array("Q") for _ in range(4))
        is_done = array("B")
        seconds, done = 0.0, 0
        for number, file in enumerate(self.files):
            for offset, row in _rows_in(file):
                ids.append(_short(row.case))
                keys.append(_short(_key(row.case, row.settings, row.stamp)) if row.is_final else 0)
                numbers.append(number)
                offsets.append(offset)
                is_done.append(row.status == "done")
                seconds += row.seconds * (row.status == "done")
                done += row.status == "done"
        self.mean_s = seconds / done if done else None
        known = np.frombuffer(ids, np.uint64)[::-1]
        self._ids, newest = np.unique(known, return_index=True)
        last = len(known) - 1 - newest
        self._keys, self._numbers, self._offsets = (
            np.frombuffer(column, np.uint64)[last] for column in (keys, numbers, offsets)
        )
        self._is_done = np.frombuffer(is_done, np.bool_)[last]

    def __len__(self) -> int:
        return len(self._ids)

    def has(self, case: Case, settings: str, *, redo: bool = False) -> bool:
        """Whether the newest row of the case is final and was made of the same files with the same settings.

        Args:
            case: the case.
            settings: digest of the settings.
            redo: whether a case that is not done counts as missing.
        """
        at = self._find(case.id)
        if at is None or (redo and not self._is_done[at]):
            return False
        return int(self._keys[at]) == _short(_key(case.id, settings, case.stamp))

    def knows(self, case: Case) -> bool:
        """Whether there is a row of the case at all."""
        return self._find(case.id) is not None

    def rows(self, cases: Iterator[Case]) -> Iterator[tuple[Case, Row | None]]:
        """The newest row of each case, read from the journals one by one; None where there is none yet."""
        opened = [file.open("rb") for file in self.files]
        try:
            for case in cases:
                at = self._find(case.id)
                if at is None:
                    yield case, None
                    continue
                file = opened[int(self._numbers[at])]
                file.seek(int(self._offsets[at]))
                yield case, Row.from_json(file.readline())
        finally:
            for file in opened:
                file.close()

    def _find(self, case: str) -> int | None:
        wanted = np.uint64(_short(case))
        at = int(np.searchsorted(self._ids, wanted))
        return at if at < len(self._ids) and self._ids[at] == wanted else None


def _rows_in(file: Path) -> Iterator[tuple[int, Row]]:
    """Each whole row with its offset."""
    offset = 0
    with file.open("rb") as lines:
        for line in lines:
            with suppress(ReadError):
                yield offset, Row.from_json(line)
            offset += len(line)


def _key(case: str, settings: str, stamp: str) -> str:
    return f"{case}\n{settings}\n{stamp}"


def _short(text: str) -> int:
    """64 bits of its hash: two of a million differ with a probability of 1 - 3e-8."""
    return int(digest_of(text)[:16], 16)
