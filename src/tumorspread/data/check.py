"""What can be wrong with a data set: every fault listed, nothing dropped in silence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tumorspread.data.cases import (
    SUFFIX,
    Case,
    DatasetInfo,
    Progress,
    case_names,
    join_names,
    place_case,
    read_dataset_info,
)
from tumorspread.errors import DatasetError, TumorspreadError
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.volume import Volume

Level = Literal["fault", "note"]

# macOS archives carry a second file a file, with the resource fork: "._lung_001.nii.gz" is no image.
FORK_PREFIX = "._"
# Any chest CT in HU has air below this and soft tissue above that; 0..4095, 0..255 and 0..1 images have not.
AIR_HU = -500.0
TISSUE_HU = -200.0


@dataclass(frozen=True)
class Fault:
    """Something wrong ("fault") or worth knowing ("note") about a case; no `case`: about the whole folder."""

    case: str
    code: str
    text: str
    level: Level = "fault"


def check_dataset(folder: Path, progress: Progress | None = None) -> tuple[Fault, ...]:
    """Read every file of a data set and list all that is wrong, in the order of the case names.

    Args:
        folder: the one with dataset.json.
        progress: called with (cases read, cases in all).

    Returns:
        Faults and notes; empty for a clean data set.

    Raises:
        DatasetError: no such folder.
    """
    faults, info = _read_info(folder)
    images, masks = case_names(folder / "imagesTr"), case_names(folder / "labelsTr")
    scans = case_names(folder / "imagesTs")
    if not faults:
        faults += _check_lists(info, images | masks, scans)
    faults += _check_folders(folder)
    for name in sorted(case_names(folder / "ignoreTr") - (images | masks)):
        faults.append(Fault(name, "stray_ignored", "is in ignoreTr, but there is no such case"))
    jobs = [(_check_pair, name) for name in sorted(images | masks)]
    jobs += [(_check_scan, name) for name in sorted(scans)]
    for done, (check, name) in enumerate(jobs, 1):
        faults += check(folder, name, info)
        if progress is not None:
            progress(done, len(jobs))
    return tuple(faults)


def _read_info(folder: Path) -> tuple[list[Fault], DatasetInfo]:
    """dataset.json, or the fault that it has and what an ordinary one would say."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected a data set with dataset.json and imagesTr/")
    try:
        return [], read_dataset_info(folder)
    except DatasetError as error:
        return [Fault("", "dataset_json", str(error))], DatasetInfo(folder.name)


def _check_lists(info: DatasetInfo, present: set[str], scans: set[str]) -> list[Fault]:
    """What dataset.json promises against what lies in the folders."""
    faults = []
    if info.count is not None and info.count != len(info.training):
        text = f"dataset.json claims {info.count} training cases and lists {len(info.training)}"
        faults.append(Fault("", "count", text))
    for listed, here, where in (
        (info.training, present, "imagesTr and labelsTr"),
        (info.test, scans, "imagesTs"),
    ):
        for name in sorted(set(listed) - here):
            faults.append(Fault(name, "absent", f"dataset.json lists it, but it is not in {where}"))
        for name in sorted(here - set(listed)):
            faults.append(Fault(name, "unlisted", f"is in {where}, but dataset.json does not list it"))
        for name in sorted({name for name in listed if listed.count(name) > 1}):
            faults.append(Fault(name, "listed_twice", "dataset.json lists it more than once"))
    for name in sorted(set(info.patients) - present):
        faults.append(Fault(name, "unknown_patient", "dataset.json names its patient, but it is not here"))
    return faults


def _check_folders(folder: Path) -> list[Fault]:
    faults = []
    for part in ("imagesTr", "labelsTr", "ignoreTr", "imagesTs"):
        if not (folder / part).is_dir():
            if part not in ("ignoreTr", "imagesTs"):
                faults.append(Fault("", "no_folder", f"no folder {part}"))
            continue
        files = sorted(path.name for path in (folder / part).iterdir())
        forks = [name for name in files if name.startswith(FORK_PREFIX)]
        others = [n for n in files if n not in forks and (n.startswith(".") or not n.endswith(SUFFIX))]
        if forks:
            faults.append(Fault("", "forks", f"{part}: {len(forks)} macOS resource forks ignored", "note"))
        if others:
            text = f"{part}: {len(others)} other files ignored ({join_names(others)}); only *{SUFFIX} counts"
            faults.append(Fault("", "ignored", text, "note"))
    return faults


def _check_pair(folder: Path, name: str, info: DatasetInfo) -> list[Fault]:
    """A training case: its scan, its mask, and whether they belong together."""
    case = place_case(folder, name, info)
    if not case.mask.is_file():
        return [Fault(name, "no_mask", f"has an image but no labelsTr/{name}{SUFFIX}")]
    if not case.image.is_file():
        return [Fault(name, "no_image", f"has a mask but no imagesTr/{name}{SUFFIX}")]
    image, image_faults = _read(case.image, name)
    mask, mask_faults = _read(case.mask, name)
    faults = image_faults + mask_faults
    if image is None or mask is None:
        return faults
    if not image.same_grid(mask):
        text = f"image {_grid(image)} and mask {_grid(mask)} do not lie on the same grid"
        faults.append(Fault(name, "other_grid", text))
    return faults + _check_image(name, image, info) + _check_mask(name, mask) + _check_ignored(case, mask)


def _check_ignored(case: Case, mask: Volume) -> list[Fault]:
    if case.ignored is None:
        return []
    ignored, faults = _read(case.ignored, case.name)
    if ignored is not None and not mask.same_grid(ignored):
        text = f"mask {_grid(mask)} and ignoreTr {_grid(ignored)} do not lie on the same grid"
        return [Fault(case.name, "other_grid", text)]
    if ignored is not None and not np.isin(ignored.voxels, (0, 1)).all():
        return [Fault(case.name, "labels", "ignoreTr holds other values than 0 and 1")]
    if ignored is not None and (ignored.voxels.astype(bool) & (mask.voxels > 0)).any():
        return [Fault(case.name, "ignored_tumour", "ignoreTr covers a part of the tumour; it would not be learned")]
    return faults


def _check_scan(folder: Path, name: str, info: DatasetInfo) -> list[Fault]:
    """A scan without a mask."""
    image, faults = _read(folder / "imagesTs" / f"{name}{SUFFIX}", name)
    return faults if image is None else _check_image(name, image, info)


def _read(path: Path, name: str) -> tuple[Volume | None, list[Fault]]:
    try:
        return read_nifti(path), []
    except TumorspreadError as error:
        return None, [Fault(name, "unreadable", f"{path.parent.name}: {error}")]


def _check_image(name: str, image: Volume, info: DatasetInfo) -> list[Fault]:
    voxels = image.voxels
    if not np.isfinite(voxels).all():
        return [Fault(name, "not_finite", "the image holds voxels that are no number")]
    low, high = float(voxels.min()), float(voxels.max())
    if info.intensity == "gray":
        inside = low >= 0 and high <= 1
        text = f"values {low:g} to {high:g}; expected 0 to 1"
        return [] if inside else [Fault(name, "not_gray", text)]
    # A single slice or patch may lie within one organ.
    if info.slices == "independent" or (low < AIR_HU and high > TISSUE_HU):
        return []
    text = f"values {low:g} to {high:g}; a chest CT in HU reaches below {AIR_HU:g} and above {TISSUE_HU:g}"
    return [Fault(name, "not_hu", text)]


def _check_mask(name: str, mask: Volume) -> list[Fault]:
    values = np.unique(mask.voxels)
    foreign = [f"{value:g}" for value in values if value not in (0, 1)]
    if foreign:
        return [Fault(name, "labels", f"mask values {join_names(foreign)}; expected only 0 and 1")]
    if not values.any():
        return [Fault(name, "empty_mask", "no tumour in the mask: a healthy case or a lost outline?", "note")]
    return []


def _grid(volume: Volume) -> str:
    spacing = " x ".join(f"{edge:.3g}" for edge in volume.spacing_mm)
    return f"{' x '.join(map(str, volume.shape))} at {spacing} mm"
