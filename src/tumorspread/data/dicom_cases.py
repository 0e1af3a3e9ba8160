"""Folders of CT with SEG or RTSTRUCT (NSCLC-Radiomics, LIDC-IDRI, ...) made into the layout that training reads.

Every SEG and RTSTRUCT ends in a row of taken.csv: the case it went into, or why it was left. What is left is never
guessed at: a case whose tumour is only half known would teach that the other half is none.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorspread.data.cases import DatasetInfo, Progress, new_folder, write_case, write_dataset_json, write_text
from tumorspread.data.dicom_folders import CtSeries, PatientFolder, find_patients, read_patient
from tumorspread.errors import DatasetError, TumorspreadError
from tumorspread.scan.bundle import plain_list
from tumorspread.scan.drawings import Drawing, Region
from tumorspread.scan.read import read, read_mask
from tumorspread.scan.volume import Volume

TAKEN_FILE = "taken.csv"
# What outlined tumours are called, by their names or by the meaning of their codes; ROIs of organs are not.
TUMOUR_NAMES = (
    "gtv*", "igtv*", "*tumor*", "*tumour*", "*nodule*", "*lesion*", "*neoplasm*", "*carcinoma*", "*cancer*",
    "mass", "mass[ -_]*", "lung mass*",
)  # fmt: skip
# Outlines are of one lesion when they share this part of the smaller one: readers differ, neighbours only touch.
SAME_LESION_SHARE = 1 / 3

Voxels = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """What became of one file, or of a CT series that nothing was drawn on.

    Attributes:
        patient: name of the folder.
        object: path of the SEG or RTSTRUCT in the source; empty for a CT series.
        series: SeriesInstanceUID of the CT; empty where it is not here.
        case: that it went into; empty where it was left.
        regions: that were taken of it.
        volume_ml: of these together; empty where it was left.
        remark: why it was left, or what must be known of what was taken.
    """

    patient: str
    object: str
    series: str
    case: str = ""
    regions: str = ""
    volume_ml: str = ""
    remark: str = ""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A file with its row so far, and what it holds."""

    row: Row
    path: Path
    drawing: Drawing


@dataclass(frozen=True, eq=False)
class _Reading:
    """The tumour as one file has it: its row, and the flat indices of its voxels in the scan, sorted."""

    row: Row
    voxels: Voxels


@dataclass(frozen=True, eq=False)
class _Target:
    """Where cases are written, which regions are wanted, and the names that were given."""

    folder: Path
    wanted: tuple[str, ...]
    names: set[str]

    def new_name(self, patient: str) -> str:
        """A name for a case of this patient, fit for a file and not yet given."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", patient).strip("._") or "case"
        name = next(name for i in count(1) if (name := stem if i == 1 else f"{stem}_{i}") not in self.names)
        self.names.add(name)
        return name

    def write(self, case: str, scan: Volume, mask: Volume) -> None:
        write_case(self.folder, case, scan, mask, DatasetInfo(""))


def convert_dicom(source: Path, out: Path, *, regions: Sequence[str] = (), progress: Progress | None = None) -> Path:
    """Convert folders of DICOM, one a patient: each CT series with a tumour drawn on it becomes a case.

    Of a file, the regions whose name (or coded meaning) is wanted are taken together. Where several files on one CT
    outline the same lesion, as the readers of LIDC-IDRI do, a voxel is tumour when at least half of them say so. Where
    a CT has both, SEG is taken and RTSTRUCT left.

    Args:
        source: folder of the patients' folders, whatever lies how deep in them; or the folder of one patient.
        out: folder to make, with taken.csv beside the usual files. Cases are named after the patients' folders.
        regions: patterns of names to take, such as `GTV-1` or `gtv*`, in any case; by default `TUMOUR_NAMES`.
        progress: called with (patients done, patients in all).

    Returns:
        `out`, without splits.json.

    Raises:
        DatasetError: no patients, none of which anything can be taken, or `out` exists and is not empty.
        OutputError: `out` cannot be written.
    """
    patients = find_patients(source)
    if not patients:
        raise DatasetError(
            f"{source}: no DICOM files in it; expected a folder for each patient, with CT and SEG or RTSTRUCT"
        )
    rows: list[Row] = []
    cases: dict[str, str] = {}
    known: dict[str, str] = {}
    with new_folder(out) as folder:
        target = _Target(folder, tuple(pattern.casefold() for pattern in regions or TUMOUR_NAMES), set())
        for done, path in enumerate(patients, 1):
            try:
                patient = read_patient(path)
            except TumorspreadError as error:
                rows.append(Row(path.name, "", "", remark=str(error)))
            else:
                own = sorted(_convert_patient(patient, path, target), key=lambda row: (row.series, row.object))
                person = next((known[uid] for uid in sorted(patient.patient_ids) if uid in known), patient.name)
                known.update(dict.fromkeys(patient.patient_ids, person))
                cases.update({row.case: person for row in own if row.case})
                rows += own
            if progress is not None:
                progress(done, len(patients))
        _finish(source, folder, rows, cases)
    return out


def read_taken(folder: Path) -> tuple[Row, ...]:
    """The rows of taken.csv in a data set; none where it has no such file."""
    path = folder / TAKEN_FILE
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as stream:
        return tuple(Row(**row) for row in csv.DictReader(stream))


def _finish(source: Path, folder: Path, rows: Sequence[Row], cases: Mapping[str, str]) -> None:
    """Write the list of cases and the table."""
    if not cases:
        reasons = [f"{row.patient}: {row.remark}" for row in rows]
        raise DatasetError(f"{source}: nothing can be taken of it; {' | '.join(reasons[:3])}")
    info = DatasetInfo(
        source.resolve().name,
        training=tuple(cases),
        patients=cases,
        description="Converted from DICOM; taken.csv says from which files",
    )
    write_dataset_json(folder, info)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[field.name for field in fields(Row)], *map(astuple, rows)])
    write_text(folder / TAKEN_FILE, text.getvalue())


def _convert_patient(patient: PatientFolder, root: Path, target: _Target) -> Iterator[Row]:
    """Write the cases of a patient; yields a row for each file and each CT series without one."""
    by_series: dict[str, list[_Drawn]] = defaultdict(list)
    for file in patient.drawn:
        row = Row(patient.name, file.path.relative_to(root).as_posix(), "")
        series = None if file.drawing is None else patient.series_of(file.drawing)
        if file.drawing is None:
            yield replace(row, remark=file.fault)
        elif series is None:
            yield replace(row, remark=f"was drawn on none, or on several, of the {len(patient.series)} CT series here")
        else:
            by_series[series.uid].append(_Drawn(replace(row, series=series.uid), file.path, file.drawing))
    is_damaged = any(file.drawing is None for file in patient.drawn)
    for uid in sorted(by_series):
        if is_damaged:
            text = "a damaged file in the patient's folder may be drawn on the same CT, so not all tumour is known"
            yield from (replace(one.row, remark=text) for one in by_series[uid])
            continue
        yield from _convert_series(patient.series[uid], by_series[uid], target.new_name(patient.name), target)
    for uid in sorted(set(patient.series) - set(by_series)):
        yield Row(patient.name, "", uid, remark="no SEG or RTSTRUCT was drawn on it")


def _convert_series(series: CtSeries, drawn: Sequence[_Drawn], case: str, target: _Target) -> Iterator[Row]:
    """Write the case of one CT series, if anything can be taken; yields the rows of its files."""
    try:
        scan = read(series.folder, series=series.uid)
    except TumorspreadError as error:
        yield from (replace(one.row, remark=f"the CT: {error}") for one in drawn)
        return
    readings: list[_Reading] = []
    for kind in ("SEG", "RTSTRUCT"):
        own = [one for one in drawn if one.drawing.kind == kind]
        if readings:
            yield from (replace(one.row, remark="a SEG of the same CT was taken instead") for one in own)
        else:
            readings, left = _read_all(own, scan, target.wanted)
            yield from left
    if readings:
        mask = np.zeros(scan.shape, np.uint8)
        for group in _lesions([reading.voxels for reading in readings]):
            mask.reshape(-1)[_agreed([readings[i].voxels for i in group])] = 1
            yield from (_taken(readings[i], case, len(group)) for i in group)
        target.write(case, scan, scan.with_voxels(mask))


def _read_all(drawn: Sequence[_Drawn], scan: Volume, wanted: Sequence[str]) -> tuple[list[_Reading], list[Row]]:
    """What the files outline as tumour, and the rows of those that were left: all, where one cannot be read."""
    readings: list[_Reading] = []
    left: list[Row] = []
    is_whole = True
    for one in drawn:
        chosen = [region for region in one.drawing.regions if _is_wanted(region, wanted)]
        if not chosen:
            names = plain_list(region.label for region in one.drawing.regions) or "none"
            left.append(replace(one.row, remark=f"no region is named as tumours are; found {names}; choose with --roi"))
            continue
        try:
            reading = _read_regions(one, chosen, scan)
        except TumorspreadError as error:
            left.append(replace(one.row, remark=str(error)))
            is_whole = False
            continue
        if reading.voxels.size:
            readings.append(reading)
        else:
            left.append(replace(one.row, remark="its regions hold no voxel"))
    if not is_whole:
        text = "another file drawn on the same CT cannot be read, so not all of its tumour is known"
        left += [replace(reading.row, regions="", volume_ml="", remark=text) for reading in readings]
    return (readings if is_whole else []), left


def _read_regions(one: _Drawn, chosen: Sequence[Region], scan: Volume) -> _Reading:
    """The chosen regions of a file together."""
    voxels: Voxels = np.empty(0, np.int64)
    remarks: dict[str, None] = {}
    for region in chosen:
        mask = _read_region(one, region, scan)
        voxels = np.union1d(voxels, np.flatnonzero(mask.voxels))
        remarks.update({remark.text: None for remark in mask.remarks[len(scan.remarks) :]})
    names = plain_list(region.label for region in chosen)
    row = replace(one.row, regions=names, volume_ml=f"{voxels.size * scan.voxel_ml:.3f}", remark="; ".join(remarks))
    return _Reading(row, voxels)


def _read_region(one: _Drawn, region: Region, scan: Volume) -> Volume:
    if one.drawing.kind == "SEG":
        return read_mask(one.path, scan, label=int(region.key))
    return read_mask(one.path, scan, roi=region.key)


def _is_wanted(region: Region, patterns: Sequence[str]) -> bool:
    texts = (region.label.strip().casefold(), region.meaning.strip().casefold())
    return any(fnmatchcase(text, pattern) for text in texts for pattern in patterns if text)


def _lesions(readings: Sequence[Voxels]) -> list[list[int]]:
    """The readings of one lesion or set of lesions together, by their numbers: those that share much of the smaller."""
    groups: list[list[int]] = []
    for number, voxels in enumerate(readings):
        same = [group for group in groups if any(_is_same(voxels, readings[other]) for other in group)]
        merged = [other for group in same for other in group] + [number]
        groups = [group for group in groups if group not in same] + [merged]
    return groups


def _is_same(one: Voxels, other: Voxels) -> bool:
    shared = np.intersect1d(one, other, assume_unique=True).size
    return shared >= SAME_LESION_SHARE * min(one.size, other.size)


def _agreed(readings: Sequence[Voxels]) -> Voxels:
    """The voxels that at least half of the readings hold."""
    voxels, counts = np.unique(np.concatenate(readings), return_counts=True)
    return np.asarray(voxels[2 * counts >= len(readings)])


def _taken(reading: _Reading, case: str, readers: int) -> Row:
    said = [reading.row.remark] if reading.row.remark else []
    if readers > 1:
        said.append(f"one of {readers} readings of the same; voxels of at least half of them were taken")
    return replace(reading.row, case=case, remark="; ".join(said))
