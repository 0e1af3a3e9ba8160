"""The audit trail: one line of JSON an event, appended, never rewritten.

A row names the series by its UID, under which the PACS finds it, and nothing else about the patient. The file lies
beside the images themselves, so a hashed UID would hide nothing from whoever can read it.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from tumorspread.scan.bundle import plain


class Audit:
    """Rows of a file; it is opened for each, so that it may be rotated at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def write(self, event: str, *, series: str = "", caller: str = "", reason: str | None = None) -> None:
        """Append a row: time (UTC), calling AET, SeriesInstanceUID, event, reason.

        Raises:
            OSError: the row cannot be kept, as on a full disk.
        """
        row = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "aet": plain(caller),
            "series": plain(series),
            "event": event,
            "reason": None if reason is None else " ".join(reason.split()),
        }
        line = json.dumps(row).encode() + b"\n"
        with self._lock:
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _append(handle, line)
            finally:
                os.close(handle)


def read_rows(path: Path) -> list[dict[str, str | None]]:
    """The rows of an audit file; the torn end of one that a crash cut off is left out."""
    rows = []
    for line in path.read_bytes().split(b"\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def _append(handle: int, line: bytes) -> None:
    size = os.fstat(handle).st_size
    if size:
        # A crash or a full disk may have cut the last row; the next one must not be glued to it.
        os.lseek(handle, size - 1, os.SEEK_SET)
        line = line if os.read(handle, 1) == b"\n" else b"\n" + line
    written = os.write(handle, line)
    if written != len(line):
        os.ftruncate(handle, size)
        raise OSError(28, "No space left on device")
    os.fsync(handle)
