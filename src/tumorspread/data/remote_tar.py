"""A large archive on a web server: fetched whole or in part, or read in place.

The Decathlon's lung archive has 8 GB, one case of it 0.1. A fetch goes on where it stopped, in the same call
or the next, as long as the file on the server is the same; no file gets its name before it is complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests

from tumorspread.data.cases import Progress, write_text
from tumorspread.data.server import BrokenOffError, Patience, RemoteFile, keep_trying, open_part
from tumorspread.errors import DownloadError

# What a break-off can lose of the bytes that had come: keep it small.
CHUNK_BYTES = 1 << 16


def download(
    remote: RemoteFile,
    target: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    md5: str | None = None,
    patience: Patience = Patience(),
    progress: Progress | None = None,
) -> None:
    """Fetch a file, or the part of it from `start` to `stop`, into `target`.

    The bytes gather in `target` + ".part"; a later call goes on from there. The final name appears only when
    the length, and the md5 where one is given, are right.

    Args:
        remote: from `server.look_up`.
        target: file to make; its folder must exist.
        start: first byte.
        stop: byte after the last; None for the end of the file.
        md5: of the fetched bytes, in hex.
        patience: when to give up.
        progress: called with (bytes there, bytes in all).

    Raises:
        DownloadError: the server breaks off more often than `patience` allows, refuses, has no ranges where
            they are needed, or sends bytes of another md5; or the bytes cannot be stored.
    """
    if (start or stop is not None) and not remote.has_ranges:
        raise DownloadError(f"{remote.url}: the server gives no parts of a file; fetch the whole archive")
    stop = remote.size if stop is None else stop
    total = None if stop is None else stop - start
    part = target.with_name(target.name + ".part")
    try:
        _forget_other(part, {**asdict(remote), "start": start, "stop": stop})
        keep_trying(lambda: _extend(part, remote, start, total, progress, patience), remote.url, patience)
        if md5 is not None and (found := file_md5(part)) != md5.lower():
            part.unlink()
            raise DownloadError(f"{remote.url}: md5 {found}, expected {md5}; removed, run the command again")
        os.replace(part, target)
        _record(part).unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"cannot store {target}: {error.strerror or error}") from error


class RangeReader(io.RawIOBase):
    """A remote file to read and seek in; wrap it into a `io.BufferedReader`, each read is a request."""

    def __init__(self, remote: RemoteFile, patience: Patience = Patience()) -> None:
        if not remote.has_ranges or remote.size is None:
            raise DownloadError(f"{remote.url}: the server gives no parts of a file; fetch the whole archive")
        self._remote, self._patience = remote, patience
        self._session = requests.Session()
        self._size, self._place = remote.size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, counted as `io` does; returns its place from the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def close(self) -> None:
        """End the connection."""
        self._session.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from here on; returns the number of bytes, 0 at the end of the file."""
        stop = min(self._place + len(buffer), self._size)
        if stop <= self._place:
            return 0
        remote, start, patience = self._remote, self._place, self._patience

        def ask() -> bytes:
            with open_part(remote, start, stop, patience, self._session) as (first, answer):
                if first != start:
                    _start_over(remote, start, stop - start)
                piece: bytes = answer.content
            if len(piece) != stop - start:
                raise BrokenOffError(f"{len(piece)} of {stop - start} bytes came")
            return piece

        buffer[: stop - start] = keep_trying(ask, remote.url, patience)
        self._place = stop
        return stop - start


def file_md5(path: Path) -> str:
    """md5 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _extend(
    part: Path, remote: RemoteFile, start: int, total: int | None, report: Progress | None, patience: Patience
) -> None:
    """Bring `part` to its full length with one request, or as far as the server goes."""
    held = part.stat().st_size
    if held == total:
        return
    if total is None or held > total or not remote.has_ranges:
        held = 0
    stop = None if total is None else start + total
    with open_part(remote, start + held, stop, patience) as (first, answer), part.open("ab") as file:
        if first != start + held:
            held = _start_over(remote, start, total)
        file.truncate(held)
        for chunk in answer.iter_content(CHUNK_BYTES):
            file.write(chunk)
            held += len(chunk)
            if report is not None:
                report(held, total)
    if total is not None and held != total:
        raise BrokenOffError(f"{held} of {total} bytes came")


def _record(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget_other(part: Path, wanted: dict[str, Any]) -> None:
    """Drop a half-fetched file that is not the beginning of what is wanted now."""
    text = json.dumps(wanted)
    record = _record(part)
    if not record.is_file() or record.read_text(encoding="utf-8") != text:
        part.unlink(missing_ok=True)
        write_text(record, text)
    part.touch()


def _start_over(remote: RemoteFile, start: int, total: int | None) -> int:
    """0, the bytes held when the server sends the whole file; refused where a part of it was wanted."""
    if start or total != remote.size:
        raise DownloadError(f"{remote.url}: the server gives no parts of a file; fetch the whole archive")
    return 0
