"""Ctrl-C as a wish to be asked for, so that it tears no row and no file apart."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupts:
    """How often Ctrl-C was pressed."""

    count: int = 0


@contextmanager
def counted_interrupts() -> Iterator[Interrupts]:
    """Within the block SIGINT and SIGTERM are counted; the third ends the program as ever."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def count(number: int, frame: FrameType | None) -> None:
        interrupts.count += 1
        if interrupts.count > 2:
            raise KeyboardInterrupt

    before = {one: signal.signal(one, count) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
