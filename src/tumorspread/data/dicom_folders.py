"""Folders of patients as archives hand them out: which CT series there are, and what was drawn on each.

The Cancer Imaging Archive gives a folder a patient, in it folders of studies and series; file names say nothing. A SEG
or RTSTRUCT names the series it was made on; older ones name their frame of reference alone.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tumorspread.errors import DatasetError, ReadError
from tumorspread.scan.bundle import file_kind, open_bundle
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, Header, read_dataset
from tumorspread.scan.drawings import CLASSES, Drawing, read_drawing
from tumorspread.scan.quiet import quiet

TAGS = ["SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"]


@dataclass(frozen=True)
class DrawnFile:
    """A file of type SEG or RTSTRUCT: what it holds, or why it cannot be read."""

    path: Path
    drawing: Drawing | None
    fault: str = ""


@dataclass(frozen=True)
class CtSeries:
    """A CT series: its UID, the folder that holds all of it, its frame of reference."""

    uid: str
    folder: Path
    frame_of_reference: str


@dataclass(frozen=True)
class PatientFolder:
    """What lies in the folder of one patient.

    Attributes:
        name: of the folder.
        patient_ids: PatientIDs of its CT slices; kept to tell patients apart, never written.
        series: its CT series by UID.
        drawn: its SEG and RTSTRUCT files, sorted by path.
        others: number of DICOM files of other kinds.
    """

    name: str
    patient_ids: frozenset[str]
    series: Mapping[str, CtSeries]
    drawn: tuple[DrawnFile, ...]
    others: int

    def series_of(self, drawing: Drawing) -> CtSeries | None:
        """The CT series here that it was drawn on: the one it names, or the only one in its frame of reference."""
        named = [self.series[uid] for uid in drawing.series if uid in self.series]
        if not named:
            frames = set(drawing.frames_of_reference) - {""}
            named = [one for one in self.series.values() if one.frame_of_reference in frames]
        return named[0] if len(named) == 1 else None


@dataclass
class _Slices:
    folders: set[str] = field(default_factory=set)
    frame_of_reference: str = ""


def _holds_dicom(source: Path) -> bool:
    """Whether any file in the folder, or in the folders in it, is DICOM."""
    return any(_is_dicom(Path(folder) / name) for folder, _, names in os.walk(source) for name in names)


def find_patients(source: Path) -> tuple[Path, ...]:
    """The folders of patients in `source`, sorted; `source` itself where it holds DICOM files of its own.

    Raises:
        DatasetError: files lie both beside the folders and in them, so that nobody knows whose they are.
    """
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    with_dicom = tuple(path for path in folders if _holds_dicom(path))
    own = any(path.is_file() and _is_dicom(path) for path in source.iterdir())
    if own and with_dicom and len(with_dicom) > 1:
        raise DatasetError(
            f"{source}: DICOM files beside {len(with_dicom)} folders with more; expected a folder for each patient"
        )
    return (source,) if own else with_dicom


def read_patient(folder: Path) -> PatientFolder:
    """Look at every file in the folder of a patient; pixels are not read.

    Raises:
        ReadError: too many files, or none.
    """
    slices: dict[str, _Slices] = defaultdict(_Slices)
    drawn, patient_ids, others = [], set(), 0
    for path, header in _headers(folder):
        if header is None or header.text("SOPClassUID") in CLASSES:
            drawn.append(_drawn(path))
        elif header.is_ct_slice:
            own = slices[header.text("SeriesInstanceUID")]
            own.folders.add(str(path.parent))
            own.frame_of_reference = header.text("FrameOfReferenceUID")
            patient_ids.add(_patient_id(header))
        else:
            others += 1
    series = {
        uid: CtSeries(uid, Path(os.path.commonpath(own.folders)), own.frame_of_reference) for uid, own in slices.items()
    }
    return PatientFolder(folder.resolve().name, frozenset(patient_ids - {""}), series, tuple(drawn), others)


def _headers(folder: Path) -> Iterator[tuple[Path, Header | None]]:
    """Path and header of each DICOM file; None for one that is damaged."""
    with open_bundle(folder) as bundle, quiet():
        for file in bundle.files:
            if not _is_dicom(folder / file):
                continue
            try:
                yield folder / file, Header(file, read_dataset(bundle, file, TAGS, pixels=False))
            except ReadError:
                yield folder / file, None


def _patient_id(header: Header) -> str:
    try:
        return str(header.dataset.get("PatientID") or "").strip()
    except PYDICOM_FAULTS:
        return ""


def _drawn(path: Path) -> DrawnFile:
    try:
        return DrawnFile(path, read_drawing(path))
    except ReadError as error:
        return DrawnFile(path, None, str(error))


def _is_dicom(path: Path) -> bool:
    try:
        return not path.name.lower().startswith(("dicomdir", "._")) and file_kind(path) == "dicom"
    except ReadError:
        return False
