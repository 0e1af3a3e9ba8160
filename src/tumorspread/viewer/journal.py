"""What was done to a case, by whom and when; kept beside its first result, which stays as it is.

`edits/log.jsonl` has a line an entry and is only ever appended to. An edit counts once its line is there whole: what it
needs, `edits/NNNN.npz` (the voxels) and `edits/NNNN.findings.json`, is on the disk before that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tumorspread.durable import make_folder, sync_folder, write_file
from tumorspread.errors import OutputError, ReadError
from tumorspread.measurement.findings import Findings
from tumorspread.viewer.delta import Delta
from tumorspread.viewer.safe_file import own_file, own_folder

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FOLDER, LOG, LOCK = "edits", "log.jsonl", ".lock"
# Another viewer holds the lock while it writes two small files.
LOCK_S = 5.0


@dataclass(frozen=True)
class Entry:
    """One line of the log.

    Attributes:
        revision: of the case after it; `reviewed` leaves it as it was.
        at: when, UTC.
        author: who.
        kind: of the edit, or `undo`, `redo`, `reviewed`.
        edit: what was asked, without voxels.
        changed: ids of the lesions that it changed, made or took away.
        volume_ml_before: burden before it.
        volume_ml_after: burden after it.
        of: for `undo` and `redo` the revision that made the edit.
        sha256: of the file of voxels; None where there is none.
    """

    revision: int
    at: str
    author: str
    kind: str
    edit: dict[str, Any] = field(default_factory=dict)
    changed: tuple[int, ...] = ()
    volume_ml_before: float | None = None
    volume_ml_after: float | None = None
    of: int | None = None
    sha256: str | None = None


class Journal:
    """The journal of one case.

    Args:
        case: the result folder, an absolute path without links.
    """

    def __init__(self, case: Path) -> None:
        self._case = case

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._case / FOLDER

    def entries(self) -> tuple[Entry, ...]:
        """What was done, in its order; a line that was cut by a crash does not count.

        Raises:
            ReadError: a line within is damaged, or revisions are missing.
        """
        path = own_file(self._case, FOLDER, LOG)
        if path is None:
            return ()
        lines = path.read_bytes().split(b"\n")[:-1]
        entries = tuple(self._entry(number, line) for number, line in enumerate(lines, 1))
        counted = [entry.revision for entry in entries if entry.kind != "reviewed"]
        if counted != list(range(1, len(counted) + 1)):
            raise ReadError(f"{self._case.name}/{FOLDER}/{LOG}: revisions are missing or out of order; damaged?")
        return entries

    def _entry(self, number: int, line: bytes) -> Entry:
        from pydantic import ValidationError

        try:
            return _adapter().validate_json(line)
        except ValidationError as error:
            raise ReadError(f"{self._case.name}/{FOLDER}/{LOG}: line {number} is damaged") from error

    def delta(self, entry: Entry) -> Delta:
        """The voxels of an entry.

        Raises:
            ReadError: missing, damaged, or not those that were logged.
        """
        if entry.sha256 is None:
            return Delta.nothing()
        path = own_file(self._case, FOLDER, f"{entry.revision:04}.npz")
        content = b"" if path is None else path.read_bytes()
        if sha256(content).hexdigest() != entry.sha256:
            raise ReadError(f"{self._case.name}/{FOLDER}/{entry.revision:04}.npz: missing, or not what was logged")
        return Delta.from_bytes(content)

    def findings(self, revision: int) -> Findings | None:
        """The findings after a revision; None where they cannot be read, and must be measured again."""
        path = own_file(self._case, FOLDER, f"{revision:04}.findings.json")
        try:
            return None if path is None else Findings.from_json(path.read_text(encoding="utf-8"))
        except (ReadError, UnicodeDecodeError):
            return None

    def append(self, entry: Entry, delta: Delta | None = None, findings: Findings | None = None) -> Entry:
        """Keep an entry for good.

        Args:
            entry: its voxels' hash is filled in.
            delta: the voxels that it changed.
            findings: after it.

        Returns:
            The entry as kept.

        Raises:
            OutputError: the folder cannot be written to; nothing is changed then.
        """
        try:
            with self._opened():
                if delta is not None and len(delta.places):
                    content = delta.to_bytes()
                    entry = replace(entry, sha256=sha256(content).hexdigest())
                    self._write(f"{entry.revision:04}.npz", content)
                if findings is not None:
                    self._write(f"{entry.revision:04}.findings.json", findings.to_json().encode())
                self._append(json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from error
        return entry

    def _write(self, name: str, content: bytes) -> None:
        write_file(self.folder / name, content, self.folder)

    def _append(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(self.folder / LOG, flags, 0o600)
        try:
            end = _whole_lines(handle)
            try:
                os.ftruncate(handle, end)
                os.lseek(handle, end, os.SEEK_SET)
                while line:
                    line = line[os.write(handle, line) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, end)
                raise
        finally:
            os.close(handle)
        sync_folder(self.folder)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """The folder, and what a crash left half-written taken away."""
        own_folder(self._case, FOLDER)
        make_folder(self.folder)
        yield

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other viewers of the same folder out.

        Raises:
            OutputError: the folder cannot be written to, or another viewer does not let go.
        """
        try:
            own_folder(self._case, FOLDER)
            make_folder(self.folder)
            own_file(self._case, FOLDER, LOCK)
            with FileLock(self.folder / LOCK, timeout=LOCK_S):
                yield
        except Timeout as error:
            raise OutputError(f"{self.folder} is held by another viewer; try again") from error
        except OSError as error:
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from error


def _whole_lines(handle: int) -> int:
    """How many bytes of a file stand in whole lines."""
    size = os.fstat(handle).st_size
    end = size
    while end:
        start = max(0, end - 4096)
        os.lseek(handle, start, os.SEEK_SET)
        at = os.read(handle, end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def now() -> str:
    """The moment, UTC, as entries have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@cache
def _adapter() -> TypeAdapter[Entry]:
    from pydantic import TypeAdapter

    return TypeAdapter(Entry)
