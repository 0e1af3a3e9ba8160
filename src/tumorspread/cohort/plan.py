"""The dry run: what was found, what of it is to be done, what is left out and why, and how long it may take."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tumorspread.cohort.cases import Case, Skipped
from tumorspread.cohort.place import Place
from tumorspread.cohort.rows import Index
from tumorspread.errors import DatasetError, OutputError

CASES, SKIPPED = "plan.jsonl", "skipped.csv"
# A chest of 512 x 512 x 275 on one core, file to result folder, where nothing was measured yet (docs/benchmarks.md).
CASE_S = 8.0


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        found: cases in the input.
        done: of which rows of the same files and settings are there.
        to_do: the others.
        again: of those, how many have rows of other settings or files, or failed for what may have passed.
        skipped: what is no case, by reason.
        size_bytes: of the scans to do.
        case_s: mean seconds of work for a case: those measured in this cohort, or of a chest.
        is_measured: which of both.
    """

    found: int
    done: int
    to_do: int
    again: int
    skipped: dict[str, int]
    size_bytes: int
    case_s: float
    is_measured: bool

    def seconds(self, workers: int) -> float:
        """How long it may take."""
        return self.to_do * self.case_s / max(1, workers)


def make_plan(
    found: Iterable[Case | Skipped], place: Place, settings: str, *, redo: bool = False, may_be_empty: bool = False
) -> Plan:
    """Write `plan.jsonl` and `skipped.csv`, and count.

    Args:
        found: as `find_cases` gives it.
        place: the cohort's folder.
        settings: digest of the settings.
        redo: do again what was refused or set aside too.
        may_be_empty: whether no case at all is a plan as well.

    Raises:
        DatasetError: no case at all.
        OutputError: the folder cannot be written to.
    """
    index = Index(place.journal)
    reasons: Counter[str] = Counter()
    counts, size = Counter[str](), 0
    with _Pages(place.state) as pages:
        for one in found:
            pages.write(one)
            if isinstance(one, Skipped):
                reasons[_kind(one.reason)] += 1
                continue
            counts["found"] += 1
            if index.has(one, settings, redo=redo):
                counts["done"] += 1
                continue
            counts["again"] += index.knows(one)
            size += one.size_bytes
        if not counts["found"] and not may_be_empty:
            raise DatasetError(
                f"no scan was found{f'; left out: {reasons.most_common(1)[0][0]}' if reasons else ''}; expected NIfTI "
                "files or DICOM series"
            )
    to_do = counts["found"] - counts["done"]
    case_s = index.mean_s or CASE_S
    return Plan(
        counts["found"], counts["done"], to_do, counts["again"], dict(reasons), size, case_s, index.mean_s is not None
    )


def planned(place: Place) -> Iterator[Case]:
    """The cases of the plan, one by one.

    Raises:
        DatasetError: there is no plan, or it is damaged.
    """
    try:
        with (place.state / CASES).open(encoding="utf-8") as lines:
            for line in lines:
                yield Case.from_json(line)
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{place.state / CASES}: cannot be read ({error}); run the command again") from error


class _Pages:
    """Both files of a plan; they appear when all was found."""

    def __init__(self, folder: Path) -> None:
        self._paths = [(folder / f".{name}.{os.getpid()}.part", folder / name) for name in (CASES, SKIPPED)]

    def __enter__(self) -> Self:
        try:
            self._cases, self._skipped = (part.open("w", encoding="utf-8", newline="") for part, _ in self._paths)
        except OSError as error:
            raise OutputError(f"cannot write {self._paths[0][0].parent}: {error.strerror or error}") from error
        self._rows = csv.writer(self._skipped, lineterminator="\n")
        self._rows.writerow(("place", "reason"))
        return self

    def write(self, one: Case | Skipped) -> None:
        if isinstance(one, Case):
            self._cases.write(one.to_json() + "\n")
        else:
            self._rows.writerow((one.place, one.reason))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cases.close()
        self._skipped.close()
        for part, whole in self._paths:
            if kind is None:
                part.replace(whole)
            else:
                part.unlink(missing_ok=True)


def _kind(reason: str) -> str:
    """A reason without what differs from file to file."""
    head = reason.partition(": ")
    return head[2] if head[2] and head[0].split(" ")[0].isdigit() else head[0] if head[2] else reason
