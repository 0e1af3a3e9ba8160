"""The scans that synthetic tumours are put into, and what of them may be used.

A list of hosts is a TOML file. Its paths are relative to a folder that is named beside it, so that one list serves
every machine. What stands unannotated in a host must not be learned as healthy: `ignore` names boxes around it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from tumorspread.data.boxes import mark_core, read_boxes
from tumorspread.data.cases import join_names
from tumorspread.errors import DatasetError
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.scan.read import read, read_mask
from tumorspread.scan.volume import Reorientation, Volume

# Beyond the lungs nothing is learned; chest wall and upper abdomen within this are what tumours are told from.
MARGIN_MM = 25.0
LISTS = Path(__file__).parent / "lists"
# Beside the labels of the two lungs.
TUMOUR = 3
# Added to the label of what stands in a box to ignore.
IN_BOX = 4

Box = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class HostSpec:
    """One host.

    Attributes:
        name: of the host, unique in its list.
        scan: path of the CT, relative to the data folder.
        patient: hosts of one patient are left out together; by default the name.
        mask: path of the mask of its real tumours; None where it has none.
        files: pattern of the names of those files in a DICOM folder that are the scan, where others lie among them.
        boxes: path of a table of boxes around its real tumour, one a slice, and the name of the volume there; what is
            surely tumour in them counts as such (`mark_core`), and `ignore` must hold the rest of it.
        slices: first and one past the last slice, counted from the feet, of the part that is used; None for all.
        ignore: boxes around what may be a tumour and has no outline, in voxels: first and one past the last from the
            feet up, from the chest to the back, and from the patient's right to the left. Nothing is learned there.
        weight: how often it is drawn, relative to the others.
    """

    name: str
    scan: str
    patient: str | None = None
    mask: str | None = None
    files: str | None = None
    boxes: tuple[str, str] | None = None
    slices: tuple[int, int] | None = None
    ignore: tuple[Box, ...] = ()
    weight: float = 1.0

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def who(self) -> str:
        """The patient."""
        return self.patient or self.name


@dataclass(frozen=True, eq=False)
class HostScan:
    """A host as it is used: around the lungs, axes to head, back and left.

    Attributes:
        scan: HU.
        labels: uint8 on the same grid: 1 left lung, 2 right lung, 3 a real tumour; 4 more in a box to ignore.
    """

    scan: Volume
    labels: Volume


def find_list(name: str) -> Path:
    """The file of a list: one that comes with the package, by its name, or a path."""
    return LISTS / f"{name}.toml" if (LISTS / f"{name}.toml").is_file() else Path(name)


def read_hosts(path: Path, *, leave_out: tuple[str, ...] = ()) -> tuple[HostSpec, ...]:
    """The hosts of a list.

    Args:
        path: TOML with a table `[[hosts]]` for each; see `HostSpec`.
        leave_out: patients that are not used.

    Raises:
        DatasetError: not such a list, a name twice, an unknown patient to leave out, or no host left.
    """
    try:
        found = TypeAdapter(dict[str, list[HostSpec]]).validate_python(tomllib.loads(path.read_text()))["hosts"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError, KeyError) as error:
        raise DatasetError(f"{path}: not a list of hosts in TOML ({str(error).splitlines()[0]})") from error
    names = [host.name for host in found]
    if len(set(names)) < len(names):
        raise DatasetError(f"{path}: a host is named twice; expected unique names")
    unknown = set(leave_out) - {host.who for host in found}
    if unknown:
        raise DatasetError(f"{path}: no host of {join_names(sorted(unknown))} to leave out")
    kept = tuple(host for host in found if host.who not in leave_out)
    if not kept:
        raise DatasetError(f"{path}: no host is left")
    return kept


@lru_cache(maxsize=16)
def open_host(spec: HostSpec, data: Path) -> HostScan:
    """Read a host and find its lungs; they stay in memory.

    Raises:
        ReadError, GeometryError, MaskError: scan or mask cannot be read right.
        DatasetError: no lungs are found, no file is named so, or `slices` or a box is not within the scan; see
            `read_boxes`. Or the host has `boxes` and nothing to ignore.
    """
    scan = read(data / spec.scan) if spec.files is None else _read_files(data / spec.scan, spec.files)
    mask = read_mask(data / spec.mask, scan) if spec.mask else None
    lungs = segment_lungs(scan)
    if lungs.volumes.total_ml is None:
        raise DatasetError(f"{spec.name}: no lungs were found; it cannot be a host")
    labels = np.asarray(lungs.labels, np.uint8).copy()
    if mask is not None:
        labels[mask.voxels > 0] = TUMOUR
    if spec.boxes is not None:
        labels[_mark_boxed(scan, spec, data, *spec.boxes)] = TUMOUR
    turn = Reorientation.to_canonical(scan)
    upright, sides = turn.apply(scan), turn.apply(scan.with_voxels(labels))
    first, last = spec.slices or (0, upright.shape[0])
    if not 0 <= first < last <= upright.shape[0]:
        raise DatasetError(f"{spec.name}: slices {first} to {last} are not within its {upright.shape[0]}")
    sides = sides.with_voxels(_mark_ignored(sides.voxels, spec))
    start, stop = _around_lungs(sides, first, last)
    return HostScan(_owned(upright.crop(start, stop)), _owned(sides.crop(start, stop)))


def _read_files(folder: Path, pattern: str) -> Volume:
    """The scan that some files of a folder are."""
    found = sorted(path.resolve() for path in folder.glob(pattern) if path.is_file())
    if not found:
        raise DatasetError(f"{folder}: no file is named {pattern}")
    with TemporaryDirectory() as alone:
        for path in found:
            (Path(alone) / path.name).symlink_to(path)
        return read(Path(alone))


def _mark_boxed(scan: Volume, spec: HostSpec, data: Path, table: str, volume: str) -> NDArray[np.bool_]:
    if not spec.ignore:
        raise DatasetError(
            f"{spec.name}: has boxes and no `ignore`; what is tumour beside the core would be learned as lung"
        )
    boxes = read_boxes(data / table)
    if volume not in boxes:
        raise DatasetError(f"{spec.name}: {table} holds no boxes of {volume}")
    try:
        return mark_core(scan, boxes[volume])
    except DatasetError as error:
        raise DatasetError(f"{spec.name}: {error}") from error


def _mark_ignored(labels: NDArray[np.uint8], spec: HostSpec) -> NDArray[np.uint8]:
    ignored = np.zeros(labels.shape, bool)
    for box in spec.ignore:
        pairs = list(zip(box[::2], box[1::2], strict=True))
        if not all(0 <= first < last <= edge for (first, last), edge in zip(pairs, labels.shape, strict=True)):
            raise DatasetError(f"{spec.name}: box {box} is not within its {labels.shape} voxels")
        ignored[tuple(slice(first, last) for first, last in pairs)] = True
    return np.where(ignored & (labels != TUMOUR), labels + IN_BOX, labels).astype(np.uint8)


def _around_lungs(labels: Volume, first: int, last: int) -> tuple[list[int], list[int]]:
    kept = labels.voxels[first:last]
    start, stop = [], []
    for axis, spacing in enumerate(labels.spacing_mm):
        filled = np.flatnonzero((kept % IN_BOX).any(tuple({0, 1, 2} - {axis})))
        if not len(filled):
            raise DatasetError(f"slices {first} to {last} of the host hold no lung")
        margin = int(np.ceil(MARGIN_MM / spacing))
        start.append(max(0, int(filled[0]) - margin))
        stop.append(min(kept.shape[axis], int(filled[-1]) + 1 + margin))
    start[0], stop[0] = start[0] + first, stop[0] + first
    return start, stop


def _owned(volume: Volume) -> Volume:
    """A copy, so that the whole scan need not stay in memory."""
    return volume.with_voxels(np.ascontiguousarray(volume.voxels))
