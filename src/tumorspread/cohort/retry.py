"""What is tried again, when, and how often."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from dataclasses import dataclass

from tumorspread.cohort.cases import Case

# Waits before the second and the third try: a server that restarts is back after the second.
WAITS_S = (2.0, 15.0)
# How often another run's claim is looked at.
TAKEN_WAIT_S = 5.0


@dataclass(frozen=True)
class Limits:
    """How often a case is begun.

    Attributes:
        tries: where the reason may pass: a network, a full disk, a machine that is gone.
        deaths: of the worker while it was at this case; then the case is set aside.
        longest_s: after which a case is given up with its worker; None waits for ever.
    """

    tries: int = 3
    deaths: int = 2
    longest_s: float | None = 3600.0


class Waiting:
    """Cases to be given out again, each at its time, with the number of its next try."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Case, int]] = []
        self._number = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, case: Case, tries: int, wait_s: float = 0.0) -> None:
        """Give the case out after `wait_s`."""
        heapq.heappush(self._heap, (time.monotonic() + wait_s, next(self._number), case, tries))

    def due(self) -> tuple[Case, int] | None:
        """A case whose time has come; None where there is none."""
        if not self._heap or self._heap[0][0] > time.monotonic():
            return None
        _, _, case, tries = heapq.heappop(self._heap)
        return case, tries


class Deaths:
    """Counts the workers that a case has ended."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, case: str) -> int:
        """One more; how many there are now."""
        self._counts[case] += 1
        return self._counts[case]
