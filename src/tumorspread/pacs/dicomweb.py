"""A study fetched from a DICOMweb server, results stored in one (DICOM PS3.18: QIDO-RS, WADO-RS, STOW-RS)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import requests
from dicomweb_client import DICOMwebClient

from tumorspread.errors import NetworkError, ReadError
from tumorspread.pacs.series import is_uid
from tumorspread.report.folder import open_folder
from tumorspread.scan.bundle import plain, plain_list
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS
from tumorspread.scan.dicom_values import fault
from tumorspread.scan.quiet import quiet

# To connect, and for each silence of an answer; a server may well pack an archive before the first byte.
TIMEOUT_S = (10.0, 120.0)
# What a server's status means for the one who reads it.
_MEANINGS = {
    400: "it does not understand the request",
    401: "it wants to know who asks; see --header-file and --header-env",
    403: "it does not allow this to whoever the header names",
    404: "no such study or series there, or no DICOMweb under this address",
    406: "it cannot give the files as they are stored",
    409: "it took none of the files",
    413: "too large for it",
    415: "it does not take this kind of file",
}


@dataclass(frozen=True)
class Server:
    """A DICOMweb service.

    Attributes:
        url: its base, under which `/studies` lies.
        header: name and value of a header that says who we are; None sends none.
        authority: PEM file of the certificates that sign the server's; None takes those that come with requests.
    """

    url: str
    header: tuple[str, str] | None = None
    authority: Path | None = None


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


def fetch(server: Server, study: str, folder: Path, *, series: str | None = None) -> list[Path]:
    """Fetch a study, or one series of it, as the server has it stored.

    Args:
        server: where from.
        study: StudyInstanceUID.
        folder: to be made; it appears when all of it has come, `SeriesInstanceUID/SOPInstanceUID.dcm` in it.
        series: SeriesInstanceUID; None takes all.

    Returns:
        The files.

    Raises:
        NetworkError: the server cannot be reached or refuses; the study is not there, or came by half.
        ReadError: not a UID.
        OutputError: the folder is there already, or cannot be written.
    """
    for uid in (study, *([] if series is None else [series])):
        if not is_uid(uid):
            raise ReadError(f"{plain(uid)!r} is no DICOM UID; expected digits and dots")
    with open_folder(folder) as growing, _client(server) as client:
        wanted = _instances(client, study, series)
        if not wanted:
            raise NetworkError(f"{server.url}: {_MEANINGS[404]}")
        for one in sorted({name for name, _ in wanted}):
            instances = {instance for name, instance in wanted if name == one}
            _fetch_series(client, study, one, instances, growing / one)
        names = [path.relative_to(growing) for path in sorted(growing.rglob("*.dcm"))]
    return [folder / name for name in names]


def store(server: Server, files: Sequence[Path]) -> int:
    """Store files, a request each.

    To store a file again changes nothing in a server, so after an error all may be given once more.

    Args:
        server: where to.
        files: DICOM files.

    Returns:
        How many.

    Raises:
        NetworkError: the server cannot be reached or refuses; the message says how many it has taken.
        ReadError: a file is not DICOM; nothing is sent then.
    """
    for file in files:
        _read(file)
    with _client(server) as client:
        for number, file in enumerate(files):
            try:
                with _one_line(server.url):
                    answer = client.store_instances([_read(file)])
                    _check_stored(server.url, file, answer)
            except NetworkError as error:
                raise NetworkError(f"{error} ({number} of {len(files)} files are stored)") from error
    return len(files)


@contextmanager
def _client(server: Server) -> Iterator[DICOMwebClient]:
    parts = urlsplit(server.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NetworkError(f"{plain(server.url)}: expected an address such as https://pacs.example/dicom-web")
    if parts.username is not None or parts.password is not None:
        raise NetworkError("an address with a password in it ends in logs; see --header-file and --header-env")
    if server.authority is not None and not server.authority.is_file():
        raise NetworkError(f"{server.authority}: no such file; expected the PEM file of an authority")
    with requests.Session() as session, _one_line(server.url):
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
def _one_line(url: str) -> Iterator[None]:
    """Whatever goes wrong between a server and us, as one line."""
    try:
        with quiet():
            yield
    except requests.exceptions.HTTPError as error:
        code = error.response.status_code
        raise NetworkError(f"{url}: status {code}; {_MEANINGS.get(code, 'see its log')}") from error
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


def _instances(client: DICOMwebClient, study: str, series: str | None) -> set[tuple[str, str]]:
    """SeriesInstanceUID and SOPInstanceUID of what there is to fetch."""
    found = client.search_for_instances(
        study, series, fields=["SeriesInstanceUID", "SOPInstanceUID"], get_remaining=True
    )
    pairs = {(_value(one, "0020000E") or str(series), _value(one, "00080018")) for one in found}
    if any(not is_uid(uid) for pair in pairs for uid in pair):
        raise NetworkError(f"{client.base_url}: its list of instances holds one without a UID")
    return pairs


def _value(one: Any, tag: str) -> str:
    values = one.get(tag, {}).get("Value") if isinstance(one, dict) else None
    return str(values[0]) if values else ""


def _fetch_series(client: DICOMwebClient, study: str, series: str, wanted: set[str], folder: Path) -> None:
    folder.mkdir()
    came: set[str] = set()
    # `*`: as it is stored; without, the server unpacks what is compressed, and lossy pixels lose their mark.
    parts = client.iter_series(study, series, media_types=(("application/dicom", "*"),))
    try:
        for dataset in parts:
            instance = str(dataset.SOPInstanceUID)
            if instance in wanted and instance not in came:
                dataset.save_as(folder / f"{instance}.dcm", enforce_file_format=True)
                came.add(instance)
    except requests.exceptions.RequestException:
        raise
    except PYDICOM_FAULTS as error:
        raise NetworkError(f"{client.base_url}: sent a damaged file ({type(error).__name__}); try again") from error
    if came != wanted:
        raise NetworkError(
            f"{client.base_url}: {len(came)} of {len(wanted)} files of a series came, without "
            f"{plain_list(sorted(wanted - came))}; try again"
        )


def _read(file: Path) -> Any:
    try:
        return pydicom.dcmread(file)
    except PYDICOM_FAULTS as error:
        raise ReadError(f"{plain(str(file))}: not a DICOM file that can be sent ({fault(error)})") from error


def _check_stored(url: str, file: Path, answer: Any) -> None:
    """PS3.18 table 10.5.1-2: a 200 or 202 may still hold a refusal."""
    failed = answer.get("FailedSOPSequence")
    if failed:
        code = int(failed[0].get("FailureReason") or 0)
        raise NetworkError(f"{url}: refused {plain(file.name)} (reason 0x{code:04X})")
    if not answer.get("ReferencedSOPSequence"):
        raise NetworkError(f"{url}: does not say that it has stored {plain(file.name)}")
