"""PNG images with PNG masks, made into the layout that training reads (`cases`).

A picture has no mm and no HU, and pictures of one folder need not be neighbours: the spacing and the window
are the caller's to say, and the slices are independent.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tumorspread.data.cases import (
    DatasetInfo,
    Progress,
    join_names,
    new_folder,
    write_case,
    write_dataset_json,
)
from tumorspread.errors import DatasetError
from tumorspread.scan.slices import IMAGE_SUFFIXES, read_gray_image, read_slices
from tumorspread.scan.volume import Triple, Volume

PATIENTS_FILE = "patients.csv"
# A mask's 1 as a share of full scale: 255 or 65535, or 1 of 255 or of 65535.
MASK_LEVELS = {float(np.float32(1) / np.float32(full)) for full in (1, 255, 65535)}


def convert_pairs(
    source: Path,
    out: Path,
    *,
    spacing_mm: Triple = (1.0, 1.0, 1.0),
    window_hu: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Convert PNG images with PNG masks; each image becomes a case of one slice.

    Args:
        source: folder with images/ and masks/ of equal names, or with NAME.png and NAME_mask.png. Masks hold
            0 and 255 (or 65535), or 0 and 1. A patients.csv with the columns image and patient says which
            images are of one patient; without it each is taken for a patient of its own.
        out: folder to make.
        spacing_mm: slice distance and pixel size (z, y, x).
        window_hu: the HU that black and white stand for; None keeps 0..1.
        progress: called with (cases done, cases in all).

    Returns:
        `out`, without splits.json.

    Raises:
        DatasetError: unpaired or misplaced pictures, a mask that is none or of another size than its image, a
            patients.csv that does not fit, or `out` exists and is not empty.
        ReadError: a picture is damaged, or the window is empty.
        GeometryError: the spacing is not above 0.
        OutputError: `out` cannot be written.
    """
    pairs = _find_pairs(source)
    info = DatasetInfo(
        source.resolve().name,
        intensity="gray" if window_hu is None else "hu",
        slices="independent",
        training=tuple(pairs),
        patients=_read_patients_csv(source / PATIENTS_FILE, pairs),
        description="Converted from PNG pairs",
    )
    with new_folder(out) as folder:
        for done, (name, pair) in enumerate(pairs.items(), 1):
            image = read_slices(pair.image, spacing_mm=spacing_mm, window_hu=window_hu)
            write_case(folder, name, image, _read_mask(pair, image), info)
            if progress is not None:
                progress(done, len(pairs))
        write_dataset_json(folder, info)
    return out


@dataclass(frozen=True)
class _Pair:
    image: Path
    mask: Path


def _find_pairs(source: Path) -> dict[str, _Pair]:
    """Image and mask of each case, sorted by name."""
    if (source / "images").is_dir() or (source / "masks").is_dir():
        images, masks = _pictures(source / "images"), _pictures(source / "masks")
    else:
        pictures = _pictures(source)
        masks = {n.removesuffix("_mask"): path for n, path in pictures.items() if n.endswith("_mask")}
        images = {name: path for name, path in pictures.items() if not name.endswith("_mask")}
    if unpaired := sorted(images.keys() ^ masks.keys()):
        raise DatasetError(f"{source}: {join_names(unpaired)} without image or mask; add or remove them")
    if not images:
        raise DatasetError(f"{source}: no PNG pairs; expected images/ and masks/, or NAME.png and NAME_mask.png")
    return {name: _Pair(images[name], masks[name]) for name in sorted(images)}


def _pictures(folder: Path) -> dict[str, Path]:
    """The PNG files of a folder by name; whatever else looks like a picture is refused, not passed over."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected PNG files in it")
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            raise DatasetError(f"{path}: a folder; expected PNG files alone, and patients in {PATIENTS_FILE}")
        suffix = path.suffix.lower()
        if (suffix in IMAGE_SUFFIXES and suffix != ".png") or path.stem in pictures:
            raise DatasetError(f"{path}: expected one PNG a name; save it as PNG or rename it")
        if suffix == ".png":
            pictures[path.stem] = path
    return pictures


def _read_mask(pair: _Pair, image: Volume) -> Volume:
    gray = read_gray_image(pair.mask)
    if gray.shape != image.shape[1:]:
        raise DatasetError(f"{pair.mask}: {gray.shape} rows and columns, its image has {image.shape[1:]}")
    levels = [float(value) for value in np.unique(gray) if value > 0]
    if len(levels) > 1 or not set(levels) <= MASK_LEVELS:
        found = join_names([f"{level:.4g}" for level in levels])
        raise DatasetError(f"{pair.mask}: values {found} of full scale; expected 0 and 255, or 0 and 1")
    return image.with_voxels((gray > 0).astype(np.uint8)[np.newaxis])


def _read_patients_csv(path: Path, pairs: Mapping[str, _Pair]) -> dict[str, str]:
    """Patient of each case; empty without the file."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(_case_name(row["image"]), row["patient"]) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a table with the columns image and patient ({error!r})") from error
    patients = dict(rows)
    if wrong := sorted(patients.keys() ^ pairs.keys()) or _repeated([name for name, _ in rows]):
        raise DatasetError(f"{path}: {join_names(wrong)} missing, unknown or twice; expected each image once")
    if nameless := sorted(name for name, patient in rows if not patient):
        raise DatasetError(f"{path}: no patient for {join_names(nameless)}; fill the column patient")
    return patients


def _case_name(image: str) -> str:
    """A picture's name, given with or without its suffix."""
    return image[: -len(".png")] if image.lower().endswith(".png") else image


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
