"""Scans that were sent, analysed one after the other in a process of their own that a cancel ends at once."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil

from tumorspread.durable import move_folder
from tumorspread.errors import OutputError, ReadError, TumorspreadError
from tumorspread.viewer.analysis import Told, analyse_upload

State = Literal["waiting", "running", "done", "failed", "cancelled"]
# From the folder with the upload and the name of the scan, and what is told of the progress.
Analyse = Callable[[Path, str, Callable[[Told], None]], None]
PREFIX = ".tumorspread-job-"
# A page that sends more at once is not a person.
MOST_WAITING = 20
MOST_REMEMBERED = 200
# No chest CT that we know takes an hour, on one core either.
LONGEST_S = 3600.0


class UnknownJobError(ReadError):
    """There is no job of that id."""


class BusyError(TumorspreadError):
    """No more jobs are taken for now."""


@dataclass(frozen=True)
class Job:
    """One scan on its way.

    Attributes:
        id: as it stands in addresses.
        name: of the case it becomes.
        state: where it stands.
        stage: of the analysis.
        done: steps of that stage.
        total: steps in all; 0 while they are unknown.
        error: why it failed.
        case: the case it became.
    """

    id: str
    name: str
    state: State = "waiting"
    stage: str = ""
    done: int = 0
    total: int = 0
    error: str | None = None
    case: str | None = None


class Jobs:
    """The jobs of one viewer.

    Args:
        root: folder in which result folders appear; made with the first upload.
        finished: told of each result folder that has appeared, gives the id of its case.
        analyse: picklable; what the process does.
    """

    def __init__(self, root: Path, finished: Callable[[Path], str], analyse: Analyse = analyse_upload) -> None:
        self._root = root
        self._finished = finished
        self._analyse = analyse
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._waiting: list[str] = []
        self._wake = threading.Event()
        self._process: tuple[str, BaseProcess] | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def new_folder(self) -> tuple[str, Path]:
        """An id and an empty folder for what is being sent.

        Raises:
            BusyError: too many scans wait.
            OutputError: the folder cannot be made.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise BusyError(f"{MOST_WAITING} scans wait already; send it later")
        job = secrets.token_hex(8)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._clear()
            self._folder(job).mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(f"cannot write {self._root}: {error.strerror or error}") from error
        return job, self._folder(job)

    def drop_folder(self, job: str) -> None:
        """Take away what was sent."""
        shutil.rmtree(self._folder(job), ignore_errors=True)

    def start(self, job: str, name: str) -> Job:
        """Analyse what was sent, when its turn comes."""
        with self._lock:
            while len(self._jobs) >= MOST_REMEMBERED:
                self._jobs.pop(next(iter(self._jobs)))
            self._jobs[job] = Job(job, name)
            self._waiting.append(job)
        self._wake.set()
        return self._jobs[job]

    def get(self, job: str) -> Job:
        """How a job stands.

        Raises:
            UnknownJobError: there is none of that id.
        """
        with self._lock:
            found = self._jobs.get(job)
        if found is None:
            raise UnknownJobError("there is no job of that id")
        return found

    def cancel(self, job: str) -> Job:
        """End a job and take away what it left; nothing for one that has ended."""
        self.get(job)
        with self._lock:
            if self._jobs[job].state in ("waiting", "running"):
                self._jobs[job] = replace(self._jobs[job], state="cancelled")
                process = self._process[1] if self._process is not None and self._process[0] == job else None
                if process is not None:
                    process.kill()
                elif job in self._waiting:
                    self._waiting.remove(job)
                    self.drop_folder(job)
            return self._jobs[job]

    def close(self) -> None:
        """End what runs and take everything away that is not finished."""
        with self._lock:
            self._is_closed = True
            ids = [job.id for job in self._jobs.values() if job.state in ("waiting", "running")]
        for job in ids:
            self.cancel(job)
        self._wake.set()
        self._thread.join(timeout=5)
        for job in ids:
            self.drop_folder(job)

    def _folder(self, job: str) -> Path:
        return self._root / f"{PREFIX}{os.getpid()}-{job}"

    def _clear(self) -> None:
        """What viewers that were killed have left."""
        for path in self._root.glob(f"{PREFIX}*"):
            owner = path.name.removeprefix(PREFIX).split("-")[0]
            if owner.isdigit() and not psutil.pid_exists(int(owner)) and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)

    def _change(self, job: str, **values: object) -> None:
        with self._lock:
            if self._jobs[job].state in ("waiting", "running"):
                self._jobs[job] = replace(self._jobs[job], **values)  # type: ignore[arg-type]

    def _work(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            self._wake.clear()
            while (job := self._next()) is not None:
                self._run(job)
                self.drop_folder(job)

    def _next(self) -> str | None:
        with self._lock:
            return self._waiting.pop(0) if self._waiting and not self._is_closed else None

    def _run(self, job: str) -> None:
        # A fork of a process with threads may hang on a lock that another thread held.
        context = multiprocessing.get_context("spawn")
        line, other = context.Pipe(duplex=False)
        process = context.Process(
            target=_serve, args=(self._analyse, self._folder(job), self._jobs[job].name, other), daemon=True
        )
        with self._lock:
            if self._jobs[job].state != "waiting":
                return
            self._jobs[job] = replace(self._jobs[job], state="running", stage="start")
            process.start()
            self._process = (job, process)
        other.close()
        try:
            self._listen(job, line)
        finally:
            process.kill()
            process.join()
            line.close()
            with self._lock:
                self._process = None

    def _listen(self, job: str, line: Connection) -> None:
        """Follow the process until it has ended."""
        try:
            while line.poll(LONGEST_S):
                told = line.recv()
                if isinstance(told, str):
                    self._change(job, state="failed", error=told)
                    return
                if told is None:
                    self._keep(job)
                    return
                self._change(job, stage=told.stage, done=told.done, total=told.total)
            self._change(job, state="failed", error="the analysis took more than an hour")
        except (EOFError, OSError):
            # Of one that was cancelled this changes nothing.
            self._change(job, state="failed", error="the analysis process ended; out of memory?")

    def _keep(self, job: str) -> None:
        """Give the results their name; what is cancelled meanwhile is not kept."""
        with self._lock:
            if self._jobs[job].state != "running":
                return
            target = _free_folder(self._root, self._jobs[job].name)
            try:
                move_folder(self._folder(job) / "result", target)
                self._jobs[job] = replace(self._jobs[job], state="done", case=self._finished(target))
            except (OSError, TumorspreadError) as error:
                self._jobs[job] = replace(self._jobs[job], state="failed", error=str(error))


def _free_folder(root: Path, name: str) -> Path:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name).strip(".-") or "scan"
    paths = (root / (plain if n == 1 else f"{plain}-{n}") for n in range(1, 10_000))
    return next(path for path in paths if not path.exists() and not path.is_symlink())


class _Fault:
    """What went wrong inside, in a line.

    Of a fault of ours without its text, in which libraries put the values that they stumble over.
    """

    text: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if isinstance(error, TumorspreadError):
            self.text = " ".join(str(error).split())
        elif isinstance(error, MemoryError):
            self.text = "there is not enough memory for this scan"
        elif kind is not None:
            self.text = f"a fault of the analysis: {kind.__name__}"
        return True


def _serve(analyse: Analyse, folder: Path, name: str, line: Connection) -> None:
    """Analyse one scan; tells its steps, and last None or what went wrong."""
    # It reaches the whole group; the viewer decides what becomes of this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with _Fault() as fault:
        analyse(folder, name, line.send)
    with suppress(OSError):
        line.send(fault.text)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
