"""Which series a DICOM file is of, and whose: one short read a file, which ends before most of its header.

Of a study of 300 slices the headers are most of what finding it costs. What is damaged further on shows when a worker
reads the scan.
"""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import date
from pathlib import Path

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import Bundle, kind_of, short
from tumorspread.scan.dicom_frames import HEAD_BYTES, PYDICOM_FAULTS, Header, read_dataset
from tumorspread.scan.dicom_stored import check_inflated

TAGS = (
    "SOPClassUID", "ImageType", "StudyDate", "AcquisitionDate", "Modality", "PatientID", "StudyInstanceUID",
    "SeriesInstanceUID",
)  # fmt: skip
_TAG_LIST: list[BaseTag | int] = [Tag(keyword) for keyword in TAGS]
# Elements are sorted by their tags (PS3.5 7.1), so that nothing wanted comes after it.
_LAST = Tag("SeriesInstanceUID")
MOST_LETTERS = 64  # of a value of type LO, PS3.5 6.2


def read_identity(path: Path) -> Header | None:
    """The attributes `TAGS` of a file; None where its first bytes are not DICOM's.

    Raises:
        ReadError: it cannot be read, or is damaged.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({short(error)})") from error
    if kind_of(head) != "dicom":
        return None
    header = _from_head(path.name, head)
    if header is not None and header.text("SeriesInstanceUID"):
        return header
    bundle = Bundle(path.name, (path.name,), lambda _: path.open("rb"))
    return Header(path.name, read_dataset(bundle, path.name, TAGS, pixels=False))


def _from_head(name: str, head: bytes) -> Header | None:
    """What a file's beginning says; None where that is not enough."""
    stream, stop = io.BytesIO(head), _Stop()
    try:
        check_inflated(stream)
        dataset = read_partial(stream, stop, force=True, specific_tags=_TAG_LIST)
    except PYDICOM_FAULTS:
        return None
    dataset.buffer = None
    return Header(name, dataset) if stop.is_reached else None


class _Stop:
    """Ends the reading behind the last element that is wanted."""

    is_reached = False

    def __call__(self, tag: BaseTag, representation: str | None, length: int) -> bool:
        self.is_reached = tag > _LAST
        return self.is_reached


def patient_of(header: Header) -> str:
    """PatientID; empty where there is none, or one that no archive gives."""
    return name_of(_text(header, "PatientID"))


def name_of(text: str) -> str:
    """A PatientID as it may stand in a table; empty where no archive gives such a one."""
    return text if text.isprintable() and len(text) <= MOST_LETTERS else ""


def date_of(header: Header) -> str:
    """Date of the study, or else of the acquisition, as YYYY-MM-DD; empty where there is none."""
    for keyword in ("StudyDate", "AcquisitionDate"):
        day = day_of(_text(header, keyword))
        if day:
            return day
    return ""


def day_of(text: str) -> str:
    """A value of type DA (PS3.5 6.2) as YYYY-MM-DD; empty where it is none."""
    with suppress(ValueError):
        if len(text) == 8 and text.isdecimal():
            return date.fromisoformat(text).isoformat()
    return ""


def _text(header: Header, keyword: str) -> str:
    try:
        raw = getattr(header.dataset.get_item(Tag(keyword)), "value", None)
        # Plain letters need no character set, and pydicom takes ten times as long over each value.
        if isinstance(raw, bytes) and raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii").strip(" \0")
        return str(header.dataset.get(keyword) or "").strip(" \0")
    except PYDICOM_FAULTS:
        return ""
