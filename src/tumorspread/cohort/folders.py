"""A cohort from a tree of folders: NIfTI files by their names, DICOM by what stands in its headers."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np

from tumorspread.cohort.cases import Case, Found, Skipped, digest_of, safe_id
from tumorspread.cohort.headers import date_of, patient_of, read_identity
from tumorspread.errors import DatasetError, TumorspreadError
from tumorspread.scan.dicom import find_stack
from tumorspread.scan.dicom_frames import ENHANCED_CT_IMAGES, Header
from tumorspread.scan.drawings import CLASSES
from tumorspread.scan.quiet import quiet

NIFTI = (".nii", ".nii.gz")
# Folders that a cohort or an analysis has written are results, not scans.
RESULTS = ("findings.json", "row.json", "plan.jsonl")
# What nibabel lets out on headers that are none.
NIFTI_FAULTS = (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError)
FEWEST_SLICES = 5


@dataclass
class _Series:
    """What is known of a series after all its headers were seen."""

    study: str
    is_ct: bool
    kind: str
    is_enhanced: bool = False
    patients: set[str] = field(default_factory=set)
    dates: set[str] = field(default_factory=set)
    files: int = 0
    size: int = 0
    newest: int = 0
    folders: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        return Path(os.path.commonpath(self.folders))


def find_in_folders(root: Path, *, all_series: bool = False) -> Iterator[Found]:
    """The cases under a folder, NIfTI first as they come, then DICOM by study.

    A NIfTI beside another of which its name is a longer form (`p7.nii.gz`, `p7_gtv.nii.gz`) and which has the same grid
    is taken for a mask and left out, and so is what is on the same grid and holds bytes. Of a DICOM study with several
    CT series the one is taken that `tumorspread.read` would choose; where that is in doubt, each of them.

    Args:
        root: the folder.
        all_series: take each CT series of a study.

    Raises:
        DatasetError: the folder cannot be looked into.
    """
    series: dict[tuple[str, str], _Series] = {}
    for folder, names in _walk(root):
        nifti = [name for name in names if name.endswith(NIFTI)]
        yield from _nifti_cases(root, folder, nifti)
        for name in names:
            if not name.endswith(NIFTI):
                yield from _look_at(folder / name, series)
    yield from _dicom_cases(root, series, all_series)


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    def refuse(error: OSError) -> None:
        raise DatasetError(f"{error.filename}: cannot be looked into ({error.strerror})") from error

    for folder, folders, names in os.walk(root, onerror=refuse):
        if any(name in RESULTS for name in names):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(folder), sorted(name for name in names if not name.startswith("."))


def _nifti_cases(root: Path, folder: Path, names: Sequence[str]) -> Iterator[Found]:
    stems = {_stem(name): name for name in names}
    for name in names:
        path = folder / name
        owner = _owner(_stem(name), stems)
        if owner is not None and _is_mask_of(path, folder / stems[owner]):
            yield Skipped(str(path), f"on the grid of {stems[owner]}: a mask? a CSV can name it as one")
            continue
        size, stamp = size_and_stamp(str(path), "")
        place = path.relative_to(root).as_posix()
        yield Case(safe_id(place.removesuffix(name) + _stem(name)), str(path.absolute()), stamp=stamp, size_bytes=size)


def _stem(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".nii")


def _owner(stem: str, stems: dict[str, str]) -> str | None:
    """The longest other name of which this one is a longer form."""
    ends = [at for at, letter in enumerate(stem) if letter in "_-." and stem[:at] in stems]
    return stem[: max(ends)] if ends else None


def _is_mask_of(path: Path, scan: Path) -> bool:
    """Whether its header has the scan's grid, and its values are whole bytes or its name is a longer one."""
    try:
        mine, its = nibabel.load(path), nibabel.load(scan)
        return mine.shape[:3] == its.shape[:3] and bool(np.allclose(mine.affine, its.affine, atol=1e-3))
    except NIFTI_FAULTS:
        return False


def _look_at(path: Path, series: dict[tuple[str, str], _Series]) -> Iterator[Found]:
    """Add a DICOM file to its series; a file that is none is nobody's business."""
    if path.name.lower().startswith("dicomdir"):
        return
    try:
        with quiet():
            header = read_identity(path)
    except TumorspreadError as error:
        yield Skipped(str(path), str(error))
        return
    if header is None:
        # Most archives hold lists and licences beside their slices.
        if path.suffix.lower() == ".dcm":
            yield Skipped(str(path), "not DICOM, whatever its name says; the series may lack a slice")
        return
    if header.text("SOPClassUID") in CLASSES:
        yield Skipped(str(path), "contours or a segmentation; a CSV can name it as a mask")
        return
    _add(path, header, series)


def _add(path: Path, header: Header, series: dict[tuple[str, str], _Series]) -> None:
    uid = header.text("SeriesInstanceUID")
    kind = "a scout" if header.is_localizer else f"no CT of slices ({header.text('Modality') or 'unknown'})"
    key = (uid, "" if header.is_ct_slice else kind)
    if key not in series:
        is_enhanced = header.text("SOPClassUID") in ENHANCED_CT_IMAGES
        series[key] = _Series(header.text("StudyInstanceUID"), header.is_ct_slice, kind, is_enhanced)
    own, status = series[key], path.stat()
    own.patients.add(patient_of(header))
    own.dates.add(date_of(header))
    own.files += 1
    own.size += status.st_size
    own.newest = max(own.newest, status.st_mtime_ns)
    own.folders.add(str(path.parent))


def _dicom_cases(root: Path, series: dict[tuple[str, str], _Series], all_series: bool) -> Iterator[Found]:
    studies: dict[str, dict[str, _Series]] = defaultdict(dict)
    for (uid, _), one in series.items():
        if not one.is_ct:
            yield Skipped(str(one.folder), f"{one.files} files: {one.kind}")
        elif one.files < FEWEST_SLICES and not one.is_enhanced:
            yield Skipped(str(one.folder), f"{one.files} CT slices: no chest; expected {FEWEST_SLICES} at least")
        else:
            studies[one.study or uid][uid] = one
    for own in studies.values():
        chosen = None if all_series or len(own) == 1 else _choose(own)
        for uid, one in own.items():
            if chosen is not None and uid != chosen:
                yield Skipped(str(one.folder), "another CT series of this study is read: the thinnest complete one")
                continue
            yield _dicom_case(root, uid, one, is_alone=len(own) == 1 or chosen is not None)


def _choose(own: dict[str, _Series]) -> str | None:
    """The series that `read` would take of the study; None where it is in doubt."""
    folder = Path(os.path.commonpath([one.folder for one in own.values()]))
    try:
        with quiet():
            header = read_identity(folder / find_stack(folder).frames[0].file)
    except TumorspreadError:
        return None
    uid = "" if header is None else header.text("SeriesInstanceUID")
    return uid if uid in own else None


def _dicom_case(root: Path, uid: str, one: _Series, *, is_alone: bool) -> Case:
    place = one.folder.relative_to(root).as_posix()
    name = root.name if place == "." else place
    if not is_alone:
        name = f"{name}_{uid[-12:]}"
    stamp = digest_of(f"{one.files} {one.size} {one.newest}")[:12]
    return Case(
        safe_id(name),
        str(one.folder.absolute()),
        series=uid,
        patient=_only(one.patients),
        date=_only(one.dates),
        stamp=stamp,
        size_bytes=one.size,
    )


def _only(values: set[str]) -> str | None:
    """What all slices agree on that say anything: of two patients in one series neither is the right one."""
    known = values - {""}
    return known.pop() if len(known) == 1 else None


def size_and_stamp(scan: str, mask: str) -> tuple[int, str]:
    """Bytes of a scan's file, and what changes when it or its mask do; 0 and nothing where they cannot be asked."""
    size, parts = 0, []
    for address in (scan, mask):
        try:
            status = Path(address).stat() if address else None
        except OSError:
            continue
        if status is not None:
            size = size or status.st_size
            parts.append(f"{status.st_size} {status.st_mtime_ns}")
    return size, digest_of(" ".join(parts))[:12] if parts else ""
