"""Cases to the workers and rows back, a window at a time: what waits and what is done takes no memory.

Dask gives what a lost worker had to another one. It cannot tell which case the worker died of; the claims can.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tumorspread.cohort.cases import Case
from tumorspread.cohort.claim import Claims
from tumorspread.cohort.place import Place
from tumorspread.cohort.retry import TAKEN_WAIT_S, WAITS_S, Deaths, Limits, Waiting
from tumorspread.cohort.rows import Row
from tumorspread.cohort.work import STOP, Answer, Order, Work, do_order, set_aside, tokens
from tumorspread.errors import NetworkError, WeightsError

# An order of quick cases takes about this long: the scheduler's own time, some ms an order, hardly counts then.
ORDER_S = 0.5
MOST_IN_ORDER = 256
# Orders for each thread: one that it works on, one that is there when this ends.
ORDERS_A_THREAD = 2
COUNT_S = 2.0
GONE = "the scheduler is gone; what is done is kept: start the cluster and this command again"


@dataclass(frozen=True)
class Task:
    """What is to be done with cases, and where.

    Attributes:
        run: name of this run.
        work: sent to the workers.
        place: of the results.
        limits: of tries.
        redo: do again what was refused or set aside.
        resources: what a worker must offer, by Dask's names, such as `{"GPU": 1}`.
    """

    run: str
    work: Work
    place: Place
    limits: Limits = field(default_factory=Limits)
    redo: bool = False
    resources: dict[str, float] = field(default_factory=dict)


class Stream:
    """Runs cases on a Dask cluster.

    Args:
        client: `distributed.Client`.
        task: what to do with them.
    """

    def __init__(self, client: Any, task: Task) -> None:
        self._client, self._task = client, task
        self._claims = Claims(task.place.claims)
        self._tokens = tokens(task.run)
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._flying: dict[str, tuple[Any, Order]] = {}
        self._waiting, self._deaths = Waiting(), Deaths()
        self._case_s: float | None = None
        self._is_stopped = False
        self._threads, self._counted_at = 1, 0.0

    def rows(self, cases: Iterator[Case], *, tick: Callable[[], None] = lambda: None) -> Iterator[Row]:
        """The row of each case, as it ends.

        Args:
            cases: taken only as fast as the workers work.
            tick: called at least once a second.

        Raises:
            NetworkError: the scheduler is gone. The rows that have come are there; the same run started again goes on.
            WeightsError: a worker cannot use the weights, so that each case would end in the same way.
        """
        self._fill(cases)
        while self._flying or len(self._waiting):
            tick()
            with suppress(queue.Empty):
                yield from self._end(self._ended.get(timeout=0.5))
            if self._client.status == "closed":
                raise NetworkError(GONE)
            self._fill(cases)

    def stop(self) -> None:
        """Begin no further case; those that run come to their end."""
        self._is_stopped = True
        (self._task.place.claims / f"{STOP}{self._task.run}").touch()

    def drop(self) -> None:
        """Give up what runs; its claims and half-made folders are cleared by the next run."""
        self._client.cancel([future for future, _ in self._flying.values()], force=True)
        self._flying.clear()

    def _fill(self, cases: Iterator[Case]) -> None:
        while not self._is_stopped and len(self._flying) < ORDERS_A_THREAD * self._count_threads():
            batch = self._next_batch(cases)
            if not batch:
                return
            self._give(batch)
        if self._is_stopped:
            self._waiting = Waiting()

    def _next_batch(self, cases: Iterator[Case]) -> tuple[tuple[Case, int], ...]:
        again = self._waiting.due()
        if again is not None:
            # Alone, so that what happens to it happens to no other.
            return (again,)
        size = 1 if self._case_s is None else int(ORDER_S / max(self._case_s, ORDER_S / MOST_IN_ORDER))
        return tuple((case, 1) for case in islice(cases, max(1, size)))

    def _give(self, batch: tuple[tuple[Case, int], ...]) -> None:
        limits = self._task.limits
        order = Order(self._task.run, next(self._tokens), batch, limits.tries, limits.longest_s, self._task.redo)
        future = self._client.submit(
            do_order,
            order,
            self._task.work,
            self._task.place,
            key=f"tumorspread-{order.token}",
            pure=False,
            resources=self._task.resources or None,
        )
        self._flying[future.key] = (future, order)
        future.add_done_callback(self._ended.put)

    def _end(self, future: Any) -> Iterator[Row]:
        flown = self._flying.pop(future.key, None)
        if flown is None:
            return
        order = flown[1]
        if future.status == "finished":
            answers = future.result()
            self._learn(answers)
            for answer in answers:
                yield from self._take(answer)
        elif future.status == "error":
            yield from self._lose(order, future.exception())
        elif self._is_stopped:
            return
        else:
            raise NetworkError(GONE)
        future.release()

    def _take(self, answer: Answer) -> Iterator[Row]:
        if answer.end == "row" and answer.row is not None:
            yield answer.row
        elif answer.end == "again":
            self._waiting.add(answer.case, answer.tries + 1, WAITS_S[min(answer.tries, len(WAITS_S)) - 1])
        elif answer.end == "taken":
            self._waiting.add(answer.case, answer.tries, TAKEN_WAIT_S)
        elif answer.end == "not_begun":
            self._waiting.add(answer.case, answer.tries)
        elif answer.end == "unfit":
            self.drop()
            raise WeightsError((answer.row.reason if answer.row else None) or "the weights cannot be used")
        else:
            yield from self._bury(answer.case, answer.tries, is_late=answer.end == "late")

    def _lose(self, order: Order, error: BaseException) -> Iterator[Row]:
        """An order that came to no end at all: Dask has tried it on several workers that died, or could not begin."""
        if type(error).__name__ != "KilledWorker":
            text = " ".join(str(error).split())[:200]
            raise NetworkError(f"the workers cannot do this work ({type(error).__name__}: {text}); see their logs")
        for case, tries in order.cases:
            owner = self._claims.owner(case.id)
            if owner is not None and owner.token == order.token:
                yield from self._bury(case, tries, is_late=owner.is_late)
            else:
                # Done, or not begun: its folder will tell.
                self._waiting.add(case, tries)

    def _bury(self, case: Case, tries: int, *, is_late: bool) -> Iterator[Row]:
        """A worker died while it was at this case."""
        limits = self._task.limits
        self._claims.forget(case.id)
        deaths = self._deaths.add(case.id)
        if deaths < limits.deaths:
            self._waiting.add(case, tries + 1)
            return
        why = "its worker was lost (out of memory, a crash, or the machine went down)"
        if is_late:
            why = f"it took more than {limits.longest_s:g} s"
        reason = f"set aside: {why}, {deaths} times"
        yield set_aside(case, tries, reason, self._task.run, self._task.work, self._task.place)

    def _learn(self, answers: list[Answer]) -> None:
        """A moving mean of how long a case takes."""
        seconds = [answer.row.seconds for answer in answers if answer.row is not None and answer.end == "row"]
        for one in seconds:
            self._case_s = one if self._case_s is None else 0.9 * self._case_s + 0.1 * one

    def _count_threads(self) -> int:
        """Threads of all workers, counted anew every two seconds: a cluster grows and shrinks."""
        if time.monotonic() - self._counted_at > COUNT_S:
            try:
                self._threads = max(1, sum(self._client.nthreads().values()))
            except OSError as error:
                raise NetworkError(GONE) from error
            self._counted_at = time.monotonic()
        return self._threads
