"""The whole run: what is missing goes to the workers, what comes back is kept at once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from tumorspread.cohort.cases import Case
from tumorspread.cohort.claim import Claims
from tumorspread.cohort.interrupts import Interrupts, counted_interrupts
from tumorspread.cohort.place import Place
from tumorspread.cohort.plan import planned
from tumorspread.cohort.progress import Counter, Progress
from tumorspread.cohort.retry import Limits
from tumorspread.cohort.rows import Index, Journal, Row
from tumorspread.cohort.stream import Stream, Task
from tumorspread.cohort.work import STOP, Work
from tumorspread.errors import OutputError

TELL_S = 1.0


@dataclass(frozen=True)
class Options:
    """How a run goes.

    Attributes:
        limits: of tries.
        redo: do again what was refused or set aside too.
        resources: what a worker must offer, by Dask's names.
    """

    limits: Limits = field(default_factory=Limits)
    redo: bool = False
    resources: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        rows: that came.
        failed: of those, not done.
        is_stopped: whether somebody stopped it before its end.
        seconds: that it took.
    """

    rows: int
    failed: int
    is_stopped: bool
    seconds: float


def run_cases(
    client: Any,
    work: Work,
    place: Place,
    total: int,
    *,
    options: Options = Options(),
    tell: Callable[[Progress], None] = lambda progress: None,
    cases: Callable[[Place], Iterator[Case]] = planned,
) -> Ended:
    """Do what is missing of the plan.

    Ctrl-C lets the cases that run come to their end; a second one drops them.

    Args:
        client: `distributed.Client`.
        work: what is done with a case.
        place: the cohort's folder, with a plan in it.
        total: cases to do, for the progress.
        options: of the run.
        tell: called about once a second.
        cases: gives the plan.

    Raises:
        NetworkError: the scheduler is gone. Started again, the run goes on.
        WeightsError: a worker cannot use the weights.
        OutputError: the journal cannot be written.
    """
    place.prepare()
    clear(place)
    start = time.monotonic()
    # Sorted by name they are sorted by time.
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid4().hex[:8]}"
    stream = Stream(client, Task(run, work, place, options.limits, options.redo, options.resources))
    counter, journal = Counter(total, dashboard_of(client)), Journal(place.journal, run)
    try:
        with counted_interrupts() as interrupts:
            tick = _Ticker(stream, counter, interrupts, tell)
            for row in stream.rows(_missing(place, work.digest, options.redo, cases), tick=tick):
                journal.append(row)
                counter.add(is_done=row.status == "done")
    finally:
        journal.close()
        clear(place)
        (place.claims / f"{STOP}{run}").unlink(missing_ok=True)
    end = counter.now()
    tell(end)
    return Ended(end.done, end.failed, interrupts.count > 0, time.monotonic() - start)


def _missing(place: Place, settings: str, redo: bool, cases: Callable[[Place], Iterator[Case]]) -> Iterator[Case]:
    index = Index(place.journal)
    return (case for case in cases(place) if not index.has(case, settings, redo=redo))


@dataclass
class _Ticker:
    """Tells how far the run is, and hands Ctrl-C on."""

    stream: Stream
    counter: Counter
    interrupts: Interrupts
    tell: Callable[[Progress], None]
    told_at: float = 0.0
    heard: int = 0

    def __call__(self) -> None:
        if time.monotonic() - self.told_at >= TELL_S:
            self.told_at = time.monotonic()
            self.tell(self.counter.now())
        if self.interrupts.count > self.heard:
            self.heard = self.interrupts.count
            if self.heard == 1:
                self.stream.stop()
            else:
                self.stream.drop()


def dashboard_of(client: Any) -> str:
    """Address of Dask's page; empty where there is none."""
    return str(client.dashboard_link or "") if getattr(client, "dashboard_link", None) else ""


def clear(place: Place) -> None:
    """Take away what dead tries have left half made; what a living one is at stays."""
    claims = Claims(place.claims)
    for folder in place.unfinished.iterdir():
        case = folder.name.rpartition(".")[0].removesuffix(".old")
        if claims.is_free(case):
            shutil.rmtree(folder, ignore_errors=True)


def collect(place: Place) -> Iterator[tuple[Case, Row | None]]:
    """Each case of the plan with its newest row, in the order of the plan.

    Whose scan it is, when it was made and where it lies says the plan: a list that was corrected changes no number.
    """
    for case, row in Index(place.journal).rows(planned(place)):
        if row is not None:
            row = replace(row, scan=case.scan, series=case.series, patient=case.patient, date=case.date)
        yield case, row


def check_folder(folder: Path) -> None:
    """Refuse a folder with something else in it than a cohort.

    Raises:
        OutputError: it is a file, or holds other things.
    """
    try:
        held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be a folder for results ({error.strerror})") from error
    if held and "journal" not in held:
        raise OutputError(f"{folder} is not empty and holds no cohort of tumorspread; name a new folder")
