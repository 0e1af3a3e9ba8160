"""One case on a worker: claimed, analysed, and left behind as one folder with one row; whatever happens.

A scan that is refused is a row with its reason. What may pass (a network, a full disk) goes back to be tried again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from tumorspread.cohort.cases import Case
from tumorspread.cohort.claim import Claims, Owner
from tumorspread.cohort.place import Place
from tumorspread.cohort.rows import Measures, Row
from tumorspread.errors import DownloadError, NetworkError, OutputError, TumorspreadError, WeightsError

logger = logging.getLogger(__name__)

LOG = "log.txt"
STOP = "stop."
# What another try may get over. Of all else a second try would give the first one's answer.
PASSING = (NetworkError, DownloadError, OutputError)
_one_at_a_time = threading.Lock()


class Work(Protocol):
    """What is done with a case; it is sent to the workers.

    Attributes:
        digest: of the settings.
        weights_sha256: of the weights, for the rows.
    """

    @property
    def digest(self) -> str:
        """Of the settings."""

    @property
    def weights_sha256(self) -> str:
        """Of the weights."""

    def __call__(self, case: Case, folder: Path) -> Measures | None:
        """Write the results of a case into a folder."""


@dataclass(frozen=True)
class Order:
    """Cases for one worker, one after the other.

    Attributes:
        run: name of the run that gives it.
        token: unlike that of any other order.
        cases: with the number of each one's try, from 1.
        most_tries: after which what may pass counts as failed.
        longest_s: after which a case is given up, and its worker with it; None waits for ever.
        redo: whether what was refused or set aside by another run is done again.
    """

    run: str
    token: str
    cases: tuple[tuple[Case, int], ...]
    most_tries: int = 3
    longest_s: float | None = None
    redo: bool = False


End = Literal["row", "again", "taken", "died", "late", "not_begun", "unfit"]


ENDS_ORDER = ("died", "late", "unfit")


@dataclass(frozen=True)
class Answer:
    """What became of one case of an order.

    Attributes:
        case: the case.
        tries: the number of this try.
        end: `row`: there is one; `again`: it may work another time; `taken`: another run has it; `died`: the worker
            that had this order before died of it; `late`: of its time limit; `not_begun`: the run was
            stopped before, or the order ended; `unfit`: no case can be done with the weights on this worker.
        row: of `row`, and of `again` and `unfit` what it would be; None else.
    """

    case: Case
    tries: int
    end: End
    row: Row | None = None


def do_order(order: Order, work: Work, place: Place) -> list[Answer]:
    """Do the cases of an order.

    At one that a worker has died of it ends, so that this is known whatever comes next, and so it does
    where the weights cannot be used.
    """
    stop = place.claims / f"{STOP}{order.run}"
    answers: list[Answer] = []
    # A worker of somebody else's cluster may have several threads; one network takes all of its cores.
    with _one_at_a_time:
        for case, tries in order.cases:
            if stop.exists() or any(answer.end in ENDS_ORDER for answer in answers):
                answers.append(Answer(case, tries, "not_begun"))
            else:
                answers.append(_do_case(case, tries, order, work, place))
    return answers


def _do_case(case: Case, tries: int, order: Order, work: Work, place: Place) -> Answer:
    claims = Claims(place.claims)
    with _Told() as told:
        is_ours = claims.take(case.id, order.token)
        try:
            known = place.row(case.id)
            if known is not None and _is_enough(known, case, order, work):
                return Answer(case, tries, "row", known)
            if not is_ours:
                return Answer(case, tries, _end_of(claims.owner(case.id), order))
            with _given_up_after(order.longest_s, lambda: claims.mark_late(case.id)):
                return _try_case(case, tries, order, work, place)
        finally:
            if is_ours:
                claims.release(case.id, order.token)
    # Not even a folder could be made.
    row = replace(_row(case, tries, order.run, work, 0.0), status="failed", reason=told.reason, error=told.kind)
    return Answer(case, tries, "row" if tries >= order.most_tries else "again", row)


def _is_enough(known: Row, case: Case, order: Order, work: Work) -> bool:
    """Whether the row that is there answers the order: made by this run, or what this run would make."""
    if known.run == order.run and known.settings == work.digest:
        return True
    return known.is_of(case, work.digest) and (known.status == "done" or not order.redo)


def _end_of(owner: Owner | None, order: Order) -> End:
    """Why a claim could not be had: Dask gives an order to one worker at a time, so who had it before is dead."""
    if owner is None or owner.token != order.token:
        return "taken"
    return "late" if owner.is_late else "died"


def _try_case(case: Case, tries: int, order: Order, work: Work, place: Place) -> Answer:
    start = time.perf_counter()
    with place.growing(case.id) as folder:
        measures = None
        with _log_into(folder / LOG), _Told() as told:
            logger.info("%s: try %d on %s", case.id, tries, socket.gethostname())
            measures = work(case, folder)
            logger.info("done in %.1f s", time.perf_counter() - start)
        row = _row(case, tries, order.run, work, time.perf_counter() - start, measures)
        if told.reason is not None:
            row = replace(row, status="failed" if told.is_mendable else "refused", reason=told.reason, error=told.kind)
            if told.is_unfit:
                return Answer(case, tries, "unfit", row)
            if told.may_pass and tries < order.most_tries:
                return Answer(case, tries, "again", row)
            _leave_log_only(folder)
        place.keep(folder, case.id, row)
    return Answer(case, tries, "row", row)


def _row(case: Case, tries: int, run: str, work: Work, seconds: float, measures: Measures | None = None) -> Row:
    return Row(
        case=case.id,
        status="done",
        scan=case.scan,
        series=case.series,
        mask=case.mask,
        patient=case.patient,
        date=case.date,
        stamp=case.stamp,
        settings=work.digest,
        weights_sha256=work.weights_sha256,
        seconds=round(seconds, 3),
        tries=tries,
        run=run,
        host=socket.gethostname(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        measures=measures,
    )


def set_aside(case: Case, tries: int, reason: str, run: str, work: Work, place: Place) -> Row:
    """The row of a case that ended its worker again and again, left in its folder as any other."""
    row = replace(_row(case, tries, run, work, 0.0), status="set_aside", reason=reason, error="WorkerLost")
    with place.growing(case.id) as folder:
        (folder / LOG).write_text(f"{reason}\n", encoding="utf-8")
        place.keep(folder, case.id, row)
    return row


class _Told:
    """Turns whatever a case raises into a reason.

    Of a fault in the code only class and place are kept: libraries put the values that they stumble over into their
    messages, and so the patient's name.
    """

    reason: str | None = None
    kind: str | None = None
    may_pass = False
    is_mendable = True
    is_unfit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if kind is None or error is None:
            return True
        self.kind = kind.__name__
        if isinstance(error, TumorspreadError):
            self.may_pass = self.is_mendable = isinstance(error, PASSING)
            self.is_unfit = isinstance(error, WeightsError)
            self.reason = " ".join(str(error).split())
        else:
            last = traceback.extract_tb(trace)[-1]
            self.reason = f"a fault: {kind.__name__} in {last.name} ({Path(last.filename).name}:{last.lineno})"
        logger.info("%s: %s", self.kind, self.reason)
        return True


@contextmanager
def _log_into(path: Path) -> Iterator[None]:
    """What tumorspread logs of this case, in a file beside its results."""
    root = logging.getLogger("tumorspread")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


@contextmanager
def _given_up_after(longest_s: float | None, mark: Callable[[], None]) -> Iterator[None]:
    """Nothing but the end of its process stops a thread that hangs in a codec; another process takes its place."""
    if longest_s is None:
        yield
        return

    def end() -> None:
        mark()
        os._exit(1)

    timer = threading.Timer(longest_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave_log_only(folder: Path) -> None:
    """Half of a result would be taken for a whole one."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif path.name != LOG:
            path.unlink()


def tokens(run: str) -> Iterator[str]:
    """Names for orders, each another."""
    number = 0
    while True:
        number += 1
        yield f"{run}.{number}"
