"""A file on a web server, and answers that are checked for what they claim.

Servers break off, ignore ranges and replace files between two calls. So a broken answer is asked for again,
and every answer is checked for its range and for the server's mark of the file (ETag or date). RFC 9110,
sections 13 and 14.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import requests

from tumorspread.errors import DownloadError

T = TypeVar("T")

# Worth another try; every other refusal is final.
TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server."""

    attempts: int = 8  # requests for one piece in one call, each going on where the last broke off
    pause_s: float = 1.0  # before the second attempt; doubled before each one after
    timeout_s: float = 30.0  # without a byte


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, as it was when it was looked up.

    Attributes:
        url: its address.
        size: in bytes; None where the server does not say.
        mark: strong ETag or date of change; None where the server gives neither.
        has_ranges: whether the server hands out parts of it.
    """

    url: str
    size: int | None
    mark: str | None
    has_ranges: bool


class BrokenOffError(Exception):
    """An answer that another attempt may complete."""


def look_up(url: str, patience: Patience = Patience()) -> RemoteFile:
    """Ask for the first byte of a file, to learn its size and whether the server knows ranges.

    Raises:
        DownloadError: no such server or file, or no answer after all attempts.
    """

    def ask() -> RemoteFile:
        with _answer(url, {"Range": "bytes=0-0"}, patience) as answer:
            mark = _mark(answer)
            if answer.status_code == requests.codes.partial_content:
                return RemoteFile(url, _content_range(answer)[2], mark, has_ranges=True)
            length = answer.headers.get("Content-Length")
            return RemoteFile(url, int(length) if length else None, mark, has_ranges=False)

    return keep_trying(ask, url, patience)


def keep_trying(action: Callable[[], T], url: str, patience: Patience) -> T:
    """The action's result, tried again after each `BrokenOffError`.

    Raises:
        DownloadError: every attempt was broken off.
    """
    reason: Exception = BrokenOffError("no attempt allowed")
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.pause_s * 2 ** (attempt - 1))
        try:
            return action()
        except BrokenOffError as error:
            reason = error
    raise DownloadError(
        f"{url}: gave up after {patience.attempts} attempts ({reason}); "
        "run the command again, it goes on where it stopped"
    ) from reason


@contextmanager
def _answer(
    url: str, headers: dict[str, str], patience: Patience, session: requests.Session | None = None
) -> Iterator[requests.Response]:
    """A server's 200 or 206, its body not yet read; faults of the connection become `BrokenOffError`."""
    get = requests.get if session is None else session.get
    # A compressed transfer would make lengths and ranges those of the compressed bytes.
    headers = {"Accept-Encoding": "identity", **headers}
    try:
        with get(url, headers=headers, stream=True, timeout=patience.timeout_s) as answer:
            if answer.status_code in TRANSIENT_STATUS:
                raise BrokenOffError(f"HTTP {answer.status_code} {answer.reason}")
            if answer.status_code not in (requests.codes.ok, requests.codes.partial_content):
                raise DownloadError(f"{url}: HTTP {answer.status_code} {answer.reason}; check the address")
            yield answer
    except requests.RequestException as error:
        if isinstance(error, ValueError):  # requests' mark of an address that is none
            raise DownloadError(f"{url}: not an address that can be fetched; expected http(s)://...") from error
        raise BrokenOffError(type(error).__name__) from error


@contextmanager
def open_part(
    remote: RemoteFile,
    start: int,
    stop: int | None,
    patience: Patience,
    session: requests.Session | None = None,
) -> Iterator[tuple[int, requests.Response]]:
    """The answer for the bytes from `start` to `stop` of a file, body not yet read, and its first byte.

    The first byte is `start`, or 0 from a server that ignores ranges and sends the whole file.

    Raises:
        DownloadError: refused, of another range, or of a file that changed since `look_up`.
        BrokenOffError: the connection failed, here or while the body is read.
    """
    headers = {}
    if start or stop != remote.size:
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if remote.mark is not None:
            headers["If-Range"] = remote.mark
    with _answer(remote.url, headers, patience, session) as answer:
        if _mark(answer) != remote.mark:
            raise DownloadError(f"{remote.url}: changed on the server while it was fetched; run the command again")
        if answer.status_code == requests.codes.ok:
            yield 0, answer
            return
        first, end, size = _content_range(answer)
        if first != start or end != (size if stop is None else stop) or size != remote.size:
            raise DownloadError(f"{remote.url}: sent bytes {first}-{end} of {size}, asked for {start}-{stop}")
        yield first, answer


def _mark(answer: requests.Response) -> str | None:
    etag = answer.headers.get("ETag")
    # A weak ETag ("W/...") may stay the same over other bytes, so it cannot guard a continued download.
    if etag is not None and not etag.startswith("W/"):
        return str(etag)
    date = answer.headers.get("Last-Modified")
    return None if date is None else str(date)


def _content_range(answer: requests.Response) -> tuple[int, int, int]:
    """First byte, byte after the last and size of the whole file, of a 206."""
    text = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text.strip())
    if match is None:
        raise DownloadError(f"{answer.url}: Content-Range {text!r}; expected bytes FIRST-LAST/SIZE")
    first, last, size = map(int, match.groups())
    return first, last + 1, size
