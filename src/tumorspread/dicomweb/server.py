"""A DICOMweb server and how it is talked to: who we say we are, and what goes wrong in one line."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client import DICOMwebClient

from tumorspread.errors import NetworkError, ReadError
from tumorspread.scan.bundle import plain
from tumorspread.scan.quiet import quiet

# To connect, and for each silence of an answer; a server may well pack an archive before the first byte.
TIMEOUT_S = (10.0, 120.0)
NOT_THERE = "no such study or series there, or no DICOMweb under this address"
# What a server's status means for the one who reads it.
_MEANINGS = {
    400: "it does not understand the request",
    401: "it wants to know who asks; see --header-file and --header-env",
    403: "it does not allow this to whoever the header names",
    404: NOT_THERE,
    406: "it cannot give the files as they are stored",
    409: "it took none of the files",
    410: "the study or series is there no more",
    413: "too large for it",
    415: "it does not take this kind of file",
}
_GONE = (404, 410)

# A server that gives a page of more says so in a header, which the client would put on the terminal.
logging.getLogger("dicomweb_client").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Server:
    """A DICOMweb service.

    Attributes:
        url: its base, under which `/studies` lies.
        header: name and value of a header that says who we are; None sends none.
        authority: PEM file of the certificates that sign the server's; None takes those that come with requests.
    """

    url: str
    header: tuple[str, str] | None = field(default=None, repr=False)
    authority: Path | None = None


@dataclass(frozen=True)
class Credentials:
    """Where it stands who we are. The secret itself is read when it is needed, and goes nowhere from here.

    Attributes:
        header_file: file with a header line.
        header_env: name of an environment variable that holds such a line; one of both at most.
        authority: see `Server`.
    """

    header_file: Path | None = None
    header_env: str | None = None
    authority: Path | None = None

    def server(self, url: str) -> Server:
        """The server at an address, with the header as it stands there now.

        Raises:
            NetworkError: both are named, there is no such file or variable, or what it holds is no header line.
        """
        if self.header_file is not None and self.header_env is not None:
            raise NetworkError("--header-file and --header-env both name the header; give one of them")
        text = None
        if self.header_file is not None:
            try:
                text = self.header_file.read_text(encoding="ascii")
            except (OSError, ValueError) as error:
                raise NetworkError(f"{self.header_file}: cannot be read as one line of text") from error
        if self.header_env is not None:
            text = os.environ.get(self.header_env)
            if text is None:
                raise NetworkError(f"--header-env {self.header_env}: there is no such environment variable")
        return Server(url, None if text is None else parse_header(text), self.authority)


def parse_header(text: str) -> tuple[str, str]:
    """Name and value from a line such as `Authorization: Bearer 1234`.

    Raises:
        NetworkError: another form; the text is not repeated, since it is a secret.
    """
    name, colon, value = text.strip().partition(":")
    is_header = colon and name.strip() and value.strip() and text.strip().isprintable() and text.isascii()
    if not is_header or " " in name.strip():
        raise NetworkError("the header: expected one line such as 'Authorization: Bearer TOKEN'")
    return name.strip(), value.strip()


@contextmanager
def open_client(server: Server) -> Iterator[DICOMwebClient]:
    """What talks to a server; its requests belong into `one_line`.

    Raises:
        NetworkError: no address of a server, one with a password in it, or no such authority.
    """
    parts = urlsplit(server.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NetworkError(f"{plain(server.url)}: expected an address such as https://pacs.example/dicom-web")
    if parts.username is not None or parts.password is not None:
        raise NetworkError("an address with a password in it ends in logs; see --header-file and --header-env")
    if server.authority is not None and not server.authority.is_file():
        raise NetworkError(f"{server.authority}: no such file; expected the PEM file of an authority")
    with requests.Session() as session:
        # A callable, since a header of the session would lose to a forgotten ~/.netrc.
        session.auth = lambda request: _with_header(request, server.header)
        session.verify = True if server.authority is None else str(server.authority)
        client = DICOMwebClient(server.url.rstrip("/"), session=session, timeout=TIMEOUT_S, permissive_uid=True)
        # It would try a dead server for half a minute before it says so.
        client.set_http_retry_params(retry=False)
        yield client


def _with_header(request: Any, header: tuple[str, str] | None) -> Any:
    if header is not None:
        request.headers[header[0]] = header[1]
    return request


@contextmanager
def one_line(url: str) -> Iterator[None]:
    """Whatever goes wrong between a server and us, as one line.

    Raises:
        ReadError: what was asked for is not there.
        NetworkError: all else.
    """
    try:
        with quiet():
            yield
    except requests.exceptions.HTTPError as error:
        code = error.response.status_code
        kind = ReadError if code in _GONE else NetworkError
        raise kind(f"{url}: status {code}; {_MEANINGS.get(code, 'see its log')}") from error
    except requests.exceptions.SSLError as error:
        raise NetworkError(f"{url}: its certificate is not trusted; name its authority with --ca") from error
    except requests.exceptions.Timeout as error:
        raise NetworkError(f"{url}: no answer for {TIMEOUT_S[1]:g} s; is it running?") from error
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise NetworkError(f"{url}: the answer broke off; try again") from error
    except requests.exceptions.ConnectionError as error:
        raise NetworkError(f"{url}: cannot be reached; is it running, and is the address right?") from error
    except (requests.exceptions.RequestException, json.JSONDecodeError, zlib.error) as error:
        raise NetworkError(f"{url}: not an answer of DICOMweb ({type(error).__name__})") from error


def values(one: Any, tag: str) -> list[str]:
    """The values of an attribute in DICOM JSON (PS3.18 annex F), by its tag in hex; none where it is not there."""
    attribute = one.get(tag) if isinstance(one, dict) else None
    found = attribute.get("Value") if isinstance(attribute, dict) else None
    return [str(text) for text in found if text is not None] if isinstance(found, list) else []


def value(one: Any, tag: str) -> str:
    """The first of `values`; empty where there is none."""
    return next(iter(values(one, tag)), "")
