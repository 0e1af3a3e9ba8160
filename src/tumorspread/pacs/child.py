"""The analysis in a process of its own.

A series that makes a codec fall over, or takes all memory, then ends that process and not the listener; and the
listener can be stopped at once, whatever is being computed. The process stays for the next series: the weights are
loaded once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from tumorspread.errors import TumorspreadError

# From the folder of slices and an empty folder for the results to the files made there.
Analyse = Callable[[Path, Path], Sequence[Path]]

# No chest CT that we know takes an hour, on one core either.
LONGEST_S = 3600.0


class CrashError(TumorspreadError):
    """The analysis came to no end; it may do so when tried again."""


class StoppedError(TumorspreadError):
    """The analysis was stopped from outside."""


class ChildAnalysis:
    """A callable that runs another one in a process.

    Args:
        analyse: picklable; from the folder of slices and the folder for results to the files made.
        longest_s: after which the process is ended.
    """

    def __init__(self, analyse: Analyse, *, longest_s: float = LONGEST_S) -> None:
        self._analyse = analyse
        self._longest_s = longest_s
        self._is_stopped = False
        self._lock = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._line: Connection | None = None

    def __call__(self, series: Path, out: Path) -> Sequence[Path]:
        """Analyse one series.

        Raises:
            TumorspreadError: as the analysis raised it.
            CrashError: the process died or took too long, or the analysis has a fault.
            StoppedError: `stop` was called.
        """
        line = self._start()
        try:
            line.send((series, out))
            if not line.poll(self._longest_s):
                self._end()
                raise CrashError(f"the analysis took more than {self._longest_s:g} s")
            answer = line.recv()
        except (EOFError, OSError) as error:
            code = self._end()
            if self._is_stopped:
                raise StoppedError("the listener was stopped") from error
            raise CrashError(f"the analysis process ended with {_ending(code)}") from error
        if isinstance(answer, TumorspreadError):
            raise answer
        return [out / name for name in answer]

    def stop(self) -> None:
        """End the process; the call that waits for it raises `StoppedError`."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> Connection:
        with self._lock:
            if self._is_stopped:
                raise StoppedError("the listener was stopped")
            if self._line is None:
                # A fork of a process with threads may hang on a lock that another thread held.
                context = multiprocessing.get_context("spawn")
                self._line, other = context.Pipe()
                self._process = context.Process(target=_serve, args=(self._analyse, other), daemon=True)
                self._process.start()
                other.close()
            return self._line

    def _end(self) -> int | None:
        with self._lock:
            process, self._process = self._process, None
            line, self._line = self._line, None
        if process is None or line is None:
            return None
        process.kill()
        process.join()
        line.close()
        return process.exitcode


class _Told:
    """Turns a fault of the analysis into a `CrashError` with its class and place.

    Its message is left out: libraries put the values that they stumble over into it, and so the patient's name.
    """

    error: TumorspreadError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, TumorspreadError):
            self.error = error
        elif kind is not None:
            last = traceback.extract_tb(trace)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            self.error = CrashError(f"a fault of the analysis: {kind.__name__} in {last.name} ({place})")
        return True


def _serve(analyse: Analyse, line: Connection) -> None:
    """Answer with the names of the results or an error, until the listener is gone."""
    # They reach the whole group; the listener decides what becomes of this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(EOFError):
        _answer_all(analyse, line)


def _answer_all(analyse: Analyse, line: Connection) -> None:
    while True:
        series, out = line.recv()
        names: list[str] = []
        with _Told() as told:
            names = [path.name for path in analyse(series, out)]
        line.send(told.error or names)


def _die_with_parent() -> None:
    """A listener that was killed leaves no analysis behind that writes into its queue."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}{' (out of memory?)' if code == -signal.SIGKILL else ''}"
    return f"exit code {code}"
