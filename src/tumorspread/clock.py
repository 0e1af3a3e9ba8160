"""How long each stage of a work took, to be written down beside its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter


class Clock:
    """Seconds by stage, in the order in which the stages first ran; a stage that ran twice has the sum."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside as `name`; what ends in an error does not count."""
        start = perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start

    def added_to(self, known: Mapping[str, float]) -> dict[str, float]:
        """`known` seconds and these, stage by stage, to the millisecond; stages that were not known come last."""
        names = dict.fromkeys((*known, *self.seconds))
        return {name: round(known.get(name, 0.0) + self.seconds.get(name, 0.0), 3) for name in names}
