"""Pictures, patches and DICOM made into the layout that training reads (`cases`).

Pictures and patches have no third dimension and mostly no HU: "independent" slices say that none has a neighbour,
"gray" says that values are 0..1 without a scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tumorspread.data.cases import DatasetInfo, Progress, new_folder, write_case, write_dataset_json
from tumorspread.data.dicom_cases import convert_dicom
from tumorspread.data.dicom_folders import find_patients
from tumorspread.data.png_pairs import convert_pairs
from tumorspread.data.splits import SPLITS_FILE, Split, write_splits
from tumorspread.errors import DatasetError
from tumorspread.scan.volume import Triple, Volume

__all__ = ["convert", "convert_dicom", "convert_pairs", "convert_patches"]

PATCH_FILES = {part: f"{part}_patches.h5" for part in ("train", "val", "test")}
PATCHES_A_PATIENT = 10
PATCH_SPACING_MM = (2.0, 2.0, 2.0)
# Patients held out to choose the weights where the source has no file of its own for that.
HELD_OUT = 3


def convert(
    source: Path,
    out: Path,
    *,
    spacing_mm: Triple | None = None,
    window_hu: tuple[float, float] | None = None,
    seed: int | None = None,
    regions: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Convert a folder of HDF5 patches (`convert_patches`), PNG pairs (`convert_pairs`) or DICOM (`convert_dicom`).

    Raises:
        DatasetError: the folder holds none or several of these, or an option that its kind does not have is set.
    """
    if not source.is_dir():
        raise DatasetError(f"{source}: no such folder; expected PNG pairs, HDF5 patches or patients' DICOM in it")
    patches = any((source / name).is_file() for name in PATCH_FILES.values())
    pictures = (source / "images").is_dir() or any(source.glob("[!.]*.png"))
    if not patches and not pictures and find_patients(source):
        if spacing_mm is not None or window_hu is not None or seed is not None:
            raise DatasetError(
                f"{source}: DICOM has its own spacing and HU, and is not split here; leave these options out"
            )
        return convert_dicom(source, out, regions=regions, progress=progress)
    if patches == pictures:
        found = "PNG files and *_patches.h5" if patches else "neither PNG pairs nor *_patches.h5 nor DICOM"
        raise DatasetError(
            f"{source}: holds {found}; expected images/ and masks/, or NAME.png and NAME_mask.png, or patches, or a "
            "folder of DICOM for each patient"
        )
    if regions:
        raise DatasetError(f"{source}: --roi is for DICOM; leave it out")
    if patches:
        if spacing_mm is not None or window_hu is not None:
            raise DatasetError(f"{source}: patches have their own spacing and no HU; leave these options out")
        return convert_patches(source, out, seed=seed, progress=progress)
    if seed is not None:
        raise DatasetError(f"{source}: PNG pairs are not split here; use `tumorspread data split`")
    return convert_pairs(source, out, spacing_mm=spacing_mm or (1.0, 1.0, 1.0), window_hu=window_hu, progress=progress)


def convert_patches(source: Path, out: Path, *, seed: int | None = None, progress: Progress | None = None) -> Path:
    """Convert the 2-D patches of Task06_Lung that were published as HDF5, ten in a row of one patient.

    A case is one patient, ten independent slices of 2 mm pixels. The published division is kept and written
    to splits.json: `train` and `val` as published where both are there; where only one of them is, its last
    three patients choose the weights (or three drawn with `seed`); `test` judges.

    Cases are named after their file and their place in it (msd_val_01), not after the Decathlon's case. The
    list of cases published with the patches is in another order: compared in shape with the Decathlon's own
    masks, 1 of 25 patients fits its place in the list best, though 21 of 25 fit best to some case of their
    own file (the ninth of `test` stands at lung_064, Dice 0.89, and is like lung_041, Dice 0.97).

    Args:
        source: folder with train_patches.h5, val_patches.h5 or both, and test_patches.h5 or not.
        out: folder to make.
        seed: of the draw of the three patients.
        progress: called with (cases done, cases in all).

    Returns:
        `out`.

    Raises:
        DatasetError: a file is missing, damaged or of another form, or `out` exists and is not empty.
        OutputError: `out` cannot be written.
    """
    parts = {part: _read_patients(source / name, part) for part, name in PATCH_FILES.items()}
    split = _split_patches(parts, source, seed)
    patients = {name: volumes for part in parts.values() for name, volumes in part.items()}
    info = DatasetInfo(
        "MSD lung patches",
        intensity="gray",
        slices="independent",
        training=tuple(sorted(patients)),
        description="2-D patches of Task06_Lung, 2 mm pixels, 0..1 over 1100 HU, ten a patient",
        reference="Medical Segmentation Decathlon, doi:10.1038/s41467-022-30695-9",
        licence="CC-BY-SA 4.0",
    )
    with new_folder(out) as folder:
        for done, name in enumerate(sorted(patients), 1):
            write_case(folder, name, *patients[name], info)
            if progress is not None:
                progress(done, len(patients))
        write_splits(folder / SPLITS_FILE, [split], kind="holdout", seed=seed or 0)
        write_dataset_json(folder, info)
    return out


def _read_patients(path: Path, part: str) -> dict[str, tuple[Volume, Volume]]:
    """Image and mask of each patient in a file of patches, by case name; none for a missing file."""
    if not path.is_file():
        return {}
    try:
        with h5py.File(path) as file:
            images, labels = np.asarray(file["images"]), np.asarray(file["labels"])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DatasetError(f"{path}: no HDF5 file with images and labels ({error})") from error
    images, labels = _check_patches(path, images, labels)
    patients = {}
    for number, start in enumerate(range(0, len(images), PATCHES_A_PATIENT), 1):
        stop = start + PATCHES_A_PATIENT
        image = Volume.upright(images[start:stop], PATCH_SPACING_MM)
        patients[f"msd_{part}_{number:02d}"] = image, image.with_voxels(labels[start:stop])
    return patients


def _check_patches(
    path: Path, images: NDArray[Any], labels: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The patches as (n, y, x), float32 in 0..1, and their masks as uint8."""
    if images.shape != labels.shape or images.ndim != 4 or images.shape[1] != 1 or 0 in images.shape:
        raise DatasetError(
            f"{path}: images {images.shape} and labels {labels.shape}; expected both (n, 1, rows, columns)"
        )
    if len(images) % PATCHES_A_PATIENT:
        raise DatasetError(f"{path}: {len(images)} patches; expected {PATCHES_A_PATIENT} of each patient")
    if not (images.min() >= 0 and images.max() <= 1):
        raise DatasetError(f"{path}: image values {images.min():g} to {images.max():g}; expected 0 to 1")
    if not np.isin(labels, (0, 1)).all():
        raise DatasetError(f"{path}: labels hold values other than 0 and 1")
    return images[:, 0].astype(np.float32), labels[:, 0].astype(np.uint8)


def _split_patches(parts: Mapping[str, Mapping[str, Any]], source: Path, seed: int | None) -> Split:
    train, val, test = (sorted(parts[part]) for part in ("train", "val", "test"))
    if not (train and val):
        pool = train or val
        if len(pool) <= HELD_OUT:
            raise DatasetError(
                f"{source}: {len(pool)} patients to train on; expected {PATCH_FILES['train']} or "
                f"{PATCH_FILES['val']} with more than {HELD_OUT}"
            )
        order = range(len(pool)) if seed is None else np.random.default_rng(seed).permutation(len(pool))
        val = sorted(pool[i] for i in order[-HELD_OUT:])
        train = [name for name in pool if name not in val]
    return Split(tuple(train), tuple(val), tuple(test))
