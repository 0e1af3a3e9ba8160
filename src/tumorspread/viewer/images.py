"""The volumes of a case as files to be sent, on the grid of the scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import ReadError
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Volume
from tumorspread.viewer.case import Case
from tumorspread.viewer.safe_file import own_file
from tumorspread.viewer.shelf import Shelf

IMAGES = ("scan", "lesions", "lungs", "probability", "first-lesions")
# Those that are sent as they lie in the result folder. The first lesions are what edits are compared with.
KEPT = {"probability": "probability.nii.gz", "first-lesions": "lesions.nii.gz"}


def image_file(shelf: Shelf, case: str, name: str) -> tuple[Path, int]:
    """One volume of a case, as `name` says, and the revision it shows.

    Raises:
        ReadError: this case has none of that name.
    """
    opened = shelf.open(case)
    if name in KEPT:
        path = own_file(opened.folder, KEPT[name])
        if path is None:
            hint = "; analyse the scan with --probability" if name == "probability" else ""
            raise ReadError(f"{opened.folder.name}: {KEPT[name]} is missing{hint}")
        return path, 0 if name == "first-lesions" else opened.history.revision
    folder = shelf.served_folder(case)
    with opened.lock:
        revision = opened.history.revision
        path = folder / (f"lesions-{revision}.nii.gz" if name == "lesions" else f"{name}.nii.gz")
        if not path.exists():
            write_nifti(_volume(opened, name), path)
            for old in folder.glob("lesions-*.nii.gz"):
                if name == "lesions" and old != path:
                    old.unlink()
    return path, revision


def _volume(case: Case, name: str) -> Volume:
    if name == "lesions":
        labels = case.lesions.labels
        return case.scan.with_voxels(labels.astype(np.uint8) if case.lesions.last_id < 256 else labels)
    if name == "lungs":
        if case.sides is None:
            raise ReadError("no lungs were found in this scan")
        return case.scan.with_voxels(case.sides)
    return case.scan.with_voxels(shown_hu(case.scan.voxels))


def shown_hu(voxels: NDArray[Any]) -> NDArray[np.int16]:
    """Whole HU, as a screen shows them; what is measured is not rounded."""
    if voxels.dtype == np.int16:
        return voxels
    limits = np.iinfo(np.int16)
    out = np.empty(voxels.shape, np.int16)
    for plane, target in zip(voxels, out, strict=True):
        target[...] = np.clip(np.nan_to_num(np.rint(plane), nan=-1024), limits.min, limits.max)
    return out
