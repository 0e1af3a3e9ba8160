"""What an archive holds: studies and their CT series, found page by page (QIDO-RS, DICOM PS3.18 section 10.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dicomweb_client import DICOMwebClient
from pydicom.datadict import dictionary_has_tag, tag_for_keyword

from tumorspread.dicomweb.server import one_line, value, values
from tumorspread.errors import DatasetError, NetworkError, ReadError
from tumorspread.scan.bundle import plain
from tumorspread.scan.dicom_values import is_uid

# What the last part of a service's address is called most often, in small letters; no file or folder is.
_SERVICES = ("dicom-web", "dicomweb")
# Asked for at once; a server may give fewer.
PAGE = 200
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_STUDY, _SERIES, _CLASS = "0020000D", "0020000E", "00080016"
_MODALITIES, _MODALITY, _PATIENT, _DATE, _IMAGES = "00080061", "00080060", "00100020", "00080020", "00201209"


@dataclass(frozen=True)
class Query:
    """Which studies of a server are meant.

    Attributes:
        base: address of the service, under which `/studies` lies.
        matches: values that attributes must have, by keyword or tag.
        limit: of studies; None takes all.
        offset: how many of them are passed over.
    """

    base: str
    matches: dict[str, list[str]] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class Study:
    """A study, as the server lists it.

    Attributes:
        uid: StudyInstanceUID.
        modalities: in it; empty where the server does not say.
        patient: PatientID; empty where there is none.
        date: StudyDate as it stands there; empty where there is none.
    """

    uid: str
    modalities: tuple[str, ...] = ()
    patient: str = ""
    date: str = ""


@dataclass(frozen=True)
class ListedSeries:
    """A series, as the server lists it.

    Attributes:
        uid: SeriesInstanceUID.
        images: how many instances; None where the server does not say.
    """

    uid: str
    images: int | None = None


def is_query(address: str) -> bool:
    """Whether it is the address of a DICOMweb service or of its studies, by the last part of its path.

    >>> is_query("http://host/dicom-web"), is_query("https://host/rs/studies?PatientID=7"), is_query("http://host/ct.csv")
    (True, True, False)
    """
    scheme, _, rest = address.partition("?")[0].partition("#")[0].partition("://")
    _, _, path = rest.rstrip("/").partition("/")
    last = path.rpartition("/")[2]
    return scheme.lower() in ("http", "https") and (last == "studies" or last.lower() in _SERVICES)


def parse_query(address: str) -> Query:
    """The query that an address is: that of a service means all its studies with CT.

    Raises:
        DatasetError: what stands behind the `?` is no query. A server passes over what it does not know (PS3.18
            section 8.3.4.2), and would give all that it has.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise DatasetError(f"{plain(address.partition('?')[0])}: not an address") from error
    path = parts.path.rstrip("/")
    is_of_studies = path.endswith("/studies")
    base = f"{parts.scheme}://{parts.netloc}{path.removesuffix('/studies')}"
    matches: dict[str, list[str]] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if not (name in ("limit", "offset", "fuzzymatching") or all(map(_is_attribute, name.split(".")))):
            raise DatasetError(f"{plain(name)}: no attribute that a query can name, such as StudyDate or 00080020")
        matches.setdefault(name, []).append(text)
    if not matches and not is_of_studies:
        matches["ModalitiesInStudy"] = ["CT"]
    return Query(base, matches, _number(matches, "limit"), _number(matches, "offset") or 0)


def _is_attribute(name: str) -> bool:
    is_tag = _TAG.fullmatch(name) is not None and dictionary_has_tag(int(name, 16))
    return is_tag or tag_for_keyword(name) is not None


def _number(matches: dict[str, list[str]], name: str) -> int | None:
    texts = matches.pop(name, None)
    if texts is None:
        return None
    if len(texts) > 1 or not (texts[0].isascii() and texts[0].isdecimal()):
        raise DatasetError(f"{name}={plain(','.join(texts))}: expected one whole number")
    return int(texts[0])


def find_studies(client: DICOMwebClient, query: Query) -> Iterator[Study]:
    """The studies of a query, as they come.

    Raises:
        NetworkError: the server cannot be reached or refuses, or answers something else.
        ReadError: there is no DICOMweb under its address.
    """

    def ask(limit: int, offset: int) -> Any:
        return client.search_for_studies(limit=limit, offset=offset, search_filters=query.matches)

    for one in _listed(client, ask, _STUDY, query.limit, query.offset):
        modalities = tuple(plain(text) for text in values(one, _MODALITIES))
        yield Study(value(one, _STUDY), modalities, value(one, _PATIENT), value(one, _DATE))


def find_ct_series(client: DICOMwebClient, study: str) -> list[ListedSeries]:
    """The CT series of a study; none where it holds none, or is there no more.

    Raises:
        NetworkError: see `find_studies`.
    """

    def ask(limit: int, offset: int) -> Any:
        return client.search_for_series(
            study,
            limit=limit,
            offset=offset,
            fields=["NumberOfSeriesRelatedInstances"],
            search_filters={"Modality": "CT"},
        )

    try:
        found = [one for one in _listed(client, ask, _SERIES) if value(one, _MODALITY) == "CT"]
    except ReadError:
        # Taken away since its study was listed, or a server that says so where it should give an empty list.
        return []
    return [ListedSeries(value(one, _SERIES), _count(value(one, _IMAGES))) for one in found]


def find_class(client: DICOMwebClient, study: str, series: str) -> str:
    """SOPClassUID of the first instance of a series; empty where the server does not say.

    Raises:
        NetworkError: see `find_studies`.
    """
    try:
        with one_line(client.base_url):
            found = client.search_for_instances(study, series, limit=1, fields=["SOPClassUID"])
    except ReadError:
        return ""
    return value(found[0], _CLASS) if isinstance(found, list) and found else ""


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def _listed(
    client: DICOMwebClient, ask: Callable[[int, int], Any], key: str, limit: int | None = None, offset: int = 0
) -> Iterator[Any]:
    """Each item of a list once, until a page is empty: shorter than asked for it may be in the middle, too."""
    seen: set[int] = set()
    while limit is None or len(seen) < limit:
        with one_line(client.base_url):
            page = ask(PAGE if limit is None else min(PAGE, limit - len(seen)), offset)
        if not page:
            return
        if not isinstance(page, list) or any(not is_uid(value(one, key)) for one in page):
            raise NetworkError(f"{client.base_url}: not an answer of DICOMweb: its list holds one without a UID")
        fresh = {hash(value(one, key)): one for one in page if hash(value(one, key)) not in seen}
        if not fresh:
            raise NetworkError(
                f"{client.base_url}: asked for more it gives the same list again, so nobody knows whether it is whole; "
                "expected a server that honours offset"
            )
        for mark, one in fresh.items():
            if limit is None or len(seen) < limit:
                seen.add(mark)
                yield one
        offset += len(page)
