"""How far a run is: what a person who waits wants to know."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

# The rate is that of the last minutes: the first cases wait for libraries and weights.
WINDOW_S = 300.0


@dataclass(frozen=True)
class Progress:
    """A moment of a run.

    Attributes:
        done: rows that came, of any status.
        failed: of those, not done.
        total: to do in this run.
        per_minute: rows a minute, lately.
        remaining_s: at that rate; None before it is known.
        dashboard: address of Dask's page; empty where there is none.
    """

    done: int
    failed: int
    total: int
    per_minute: float
    remaining_s: float | None
    dashboard: str = ""

    def __str__(self) -> str:
        """One line."""
        rest = "" if self.remaining_s is None else f", {span(self.remaining_s)} left"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total}{failed}, {self.per_minute:.3g} a minute{rest}"


class Counter:
    """Counts rows as they come.

    Args:
        total: to come.
        dashboard: address of Dask's page.
    """

    def __init__(self, total: int, dashboard: str = "") -> None:
        self._total, self._dashboard = total, dashboard
        self._done = self._failed = 0
        # A point a second at most, whatever the number of cases.
        self._points: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def add(self, *, is_done: bool) -> None:
        """One more row."""
        self._done += 1
        self._failed += not is_done
        now = time.monotonic()
        if now - self._points[-1][0] >= 1.0:
            self._points.append((now, self._done))
            while now - self._points[0][0] > WINDOW_S:
                self._points.popleft()

    def now(self) -> Progress:
        """This moment."""
        since, before = self._points[0]
        per_s = (self._done - before) / max(time.monotonic() - since, 1e-3)
        left = self._total - self._done
        return Progress(
            self._done, self._failed, self._total, 60 * per_s, left / per_s if per_s else None, self._dashboard
        )


def span(seconds: float) -> str:
    """A time as people say it.

    >>> span(42), span(200), span(9000), span(400000)
    ('42 s', '3 min', '2.5 h', '4.6 days')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
