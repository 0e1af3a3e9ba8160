"""The files that a DICOMDIR lists: the table of contents of a CD, a stick or an export.

The end of a series that was not copied leaves a stack without any gap, which nothing but the DICOMDIR can tell. Records
and their offsets: DICOM PS3.3 annex F; names of files on a medium: PS3.10, 8.2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import Bundle, file_kind, open_bundle, plain, plain_list
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, read_dataset
from tumorspread.scan.dicom_values import fault, shown
from tumorspread.scan.quiet import quiet

MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
_RECORDS = "DirectoryRecordSequence"
_CHILD, _NEXT = "OffsetOfReferencedLowerLevelDirectoryEntity", "OffsetOfTheNextDirectoryRecord"


@dataclass(frozen=True)
class Lost:
    """Files of CT series that a DICOMDIR lists and that are not there.

    Attributes:
        by_series: their names by SeriesInstanceUID; "" where their record belongs to no series.
        is_all_meant: the DICOMDIR itself was given to read, not a folder that holds one.
    """

    by_series: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_all_meant: bool = False

    def of(self, series: str, *, is_chosen: bool = False) -> list[str]:
        """The names that a reader of that series misses; all, where all is meant and none was chosen."""
        is_all = self.is_all_meant and not is_chosen
        return [name for uid, names in self.by_series.items() if is_all or uid in (series, "") for name in names]


@contextmanager
def open_dicom(path: Path) -> Iterator[tuple[Bundle, Lost]]:
    """The files at `path`, as `open_bundle` gives them; those of a DICOMDIR where `path` is one.

    Yields:
        The files, and which are listed by the DICOMDIR there (or at the top of a folder or zip) but lost.

    Raises:
        ReadError: as `open_bundle`; or a DICOMDIR that is damaged, lists no files, or of whose files none is there. A
            damaged one that merely lies in a folder plays no part.
    """
    if not is_directory(path):
        with open_bundle(path) as bundle:
            yield bundle, _lost_beside(bundle)
        return
    with open_bundle(path.parent) as bundle:
        present, lost = _sort_out(bundle, path.name)
        if not present:
            missing = [name for names in lost.values() for name in names]
            found = f"none of its CT files is there: {plain_list(missing)}" if missing else "lists no files"
            raise ReadError(f"{plain(path.name)}: {found}; copy the whole medium, or give the folder of the scan")
        yield replace(bundle, name=plain(path.name), files=tuple(sorted(present))), Lost(lost, True)


def is_directory(path: Path) -> bool:
    """Whether the file is a DICOMDIR, by its SOP class.

    Raises:
        ReadError: it cannot be read.
    """
    if not path.is_file() or file_kind(path) != "dicom":
        return False
    with path.open("rb") as stream:
        return MEDIA_STORAGE_DIRECTORY in stream.read(1024)


def _lost_beside(bundle: Bundle) -> Lost:
    """What the uppermost DICOMDIR among the files lists in vain."""
    named = [file for file in bundle.files if PurePosixPath(file).name.lower() == "dicomdir"]
    if not named:
        return Lost()
    try:
        return Lost(_sort_out(bundle, min(named, key=lambda file: file.count("/")))[1])
    except ReadError:
        return Lost()


def _sort_out(bundle: Bundle, directory: str) -> tuple[list[str], dict[str, list[str]]]:
    """Of the files that a DICOMDIR lists: those that are there, and by series the CT's that are not."""
    folder = PurePosixPath(directory).parent
    known = {_key(file): file for file in bundle.files}
    present, lost = [], defaultdict(list)
    for series, file in _listed(bundle, directory):
        name = (folder / file).as_posix()
        found = name if name in bundle.files else known.get(_key(name))
        if found is not None:
            present.append(found)
        elif series is not None:
            lost[series].append(shown(file))
    return present, lost


def _key(file: str) -> str:
    """What is left of a name on its way from an ISO 9660 disc: no case, no version `;1`, no dot at the end."""
    return file.casefold().removesuffix(";1").removesuffix(".")


def _listed(bundle: Bundle, directory: str) -> list[tuple[str | None, str]]:
    """The files that a DICOMDIR lists, each with its series: "" where it has none, None where it is not of CT."""
    with quiet():
        dataset = read_dataset(bundle, directory, [_RECORDS], pixels=False)
        try:
            records = {int(record.seq_item_tell): record for record in dataset.get(_RECORDS) or ()}
            series_of = _series_by_place(records)
            return [
                (series_of.get(place, ""), "/".join(part.strip() for part in _parts(record)))
                for place, record in records.items()
                if _parts(record)
            ]
        except PYDICOM_FAULTS as error:
            raise ReadError(
                f"{plain(directory)}: a damaged DICOMDIR ({fault(error)}); give the folder of the scan instead"
            ) from error


def _parts(record: Any) -> list[str]:
    value = record.get("ReferencedFileID") or []
    return [value] if isinstance(value, str) else [str(part) for part in value]


def _series_by_place(records: Mapping[int, Any]) -> dict[int, str | None]:
    """The series of every record that one of the series leads to, by the record's place in the file."""
    found: dict[int, str | None] = {}
    for record in records.values():
        if record.get("DirectoryRecordType") == "SERIES":
            is_ct = record.get("Modality", "CT") == "CT"
            place = record.get(_CHILD, 0)
            while place in records and place not in found:
                found[place] = str(record.get("SeriesInstanceUID") or "") if is_ct else None
                place = records[place].get(_NEXT, 0)
    return found
