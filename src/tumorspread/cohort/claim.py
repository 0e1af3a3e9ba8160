"""Whose case it is: two runs on one folder do not do a case twice.

A claim is a file that only one can create. While its worker lives, a thread touches it; a claim whose process is gone,
or that nobody touched for `LEASE_S`, may be taken over. A run on a shared folder compares the file system's own
times, since the clocks of two machines differ.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil
from filelock import FileLock

from tumorspread.errors import OutputError

# Long enough for a file server that was busy for a minute, short enough to wait for after a machine has died.
LEASE_S = 180.0
BEAT_S = 20.0
# The system counts births from its boot, whose time a correction of the clock moves.
SAME_BIRTH_S = 5.0


@dataclass(frozen=True)
class Owner:
    """Who holds a claim.

    Attributes:
        token: of the try, unlike that of any other.
        host: machine.
        pid: process on it.
        born: when that process started, seconds; a number of a dead process may belong to another now.
        is_late: whether its time was over.
    """

    token: str
    host: str
    pid: int
    born: float
    is_late: bool = False


class Claims:
    """The claims of a cohort.

    Args:
        folder: `claims` in the cohort's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, case: str, token: str) -> bool:
        """Claim a case; False where somebody else has it, or had it under this very token.

        Raises:
            OutputError: the folder cannot be written to.
        """
        path = self.folder / case
        try:
            if _create(path, token):
                return True
            # Only one may judge and take over at a time, or one would take what another has just taken.
            with FileLock(self.folder / ".lock"):
                if self.holds(case, token) or not self._is_stale(path):
                    return False
                path.unlink(missing_ok=True)
                return _create(path, token)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    def holds(self, case: str, token: str) -> bool:
        """Whether the claim is still that of this try."""
        owner = self.owner(case)
        return owner is not None and owner.token == token

    def is_free(self, case: str) -> bool:
        """Whether nobody who lives has the case."""
        path = self.folder / case
        return not path.exists() or self._is_stale(path)

    def owner(self, case: str) -> Owner | None:
        """Who claims the case."""
        return _owner(self.folder / case)

    def mark_late(self, case: str) -> None:
        """Note that the time of this case is over, for whoever asks what became of its worker."""
        owner = self.owner(case)
        if owner is not None:
            text = json.dumps(asdict(owner) | {"is_late": True})
            (self.folder / case).write_text(text, encoding="utf-8")

    def release(self, case: str, token: str) -> None:
        """Give up a claim, where it is ours."""
        _beat.held.discard(self.folder / case)
        if self.holds(case, token):
            (self.folder / case).unlink(missing_ok=True)

    def forget(self, case: str) -> None:
        """Take away the claim of a worker that is known to be dead."""
        (self.folder / case).unlink(missing_ok=True)

    def _is_stale(self, path: Path) -> bool:
        owner = _owner(path)
        if owner is not None and owner.host == socket.gethostname():
            born = _born(owner.pid)
            return born is None or abs(born - owner.born) > SAME_BIRTH_S
        try:
            age = _now_on(self.folder) - path.stat().st_mtime
        except FileNotFoundError:
            return True
        return age > LEASE_S


class _Beat:
    """Touches what this process holds."""

    def __init__(self) -> None:
        self.held: set[Path] = set()
        self._lock = threading.Lock()
        self._is_going = False

    def keep(self, path: Path) -> None:
        with self._lock:
            self.held.add(path)
            if not self._is_going:
                self._is_going = True
                threading.Thread(target=self._go, daemon=True).start()

    def _go(self) -> None:
        while True:
            time.sleep(BEAT_S)
            for path in list(self.held):
                with suppress(OSError):
                    os.utime(path)


_beat = _Beat()


def _create(path: Path, token: str) -> bool:
    try:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(number, "w", encoding="utf-8") as file:
        json.dump(asdict(Owner(token, socket.gethostname(), os.getpid(), _own_birth(os.getpid()))), file)
    _beat.keep(path)
    return True


def _owner(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@cache
def _own_birth(pid: int) -> float:
    return _born(pid) or 0.0


def _born(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _now_on(folder: Path) -> float:
    """The time by the clock of the file system."""
    probe = folder / f".now.{socket.gethostname()}.{os.getpid()}"
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink(missing_ok=True)
    return now
