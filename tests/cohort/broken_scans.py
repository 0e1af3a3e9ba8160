"""Fifteen scans, each broken in a way of its own, with a word that the reason must hold.

A module of its own, since it needs the builders of DICOM that the tests of `scan` have.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, generate_uid
from tests.scan.conftest import make_slices, make_structure_set, save_slices

GRID = (12, 12, 10)


def write_broken(folder: Path) -> dict[str, tuple[Path, str]]:
    """Write them: name -> (scan, word of its reason)."""
    folder.mkdir(parents=True)
    return {**_bad_files(folder), **_bad_images(folder), **_bad_series(folder)}


def _bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    whole = folder / "whole.nii.gz"
    _save(_hu(), whole)
    truncated, empty, text, link = (folder / f"{name}.nii.gz" for name in ("truncated", "empty", "text", "dangling"))
    truncated.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    empty.touch()
    text.write_text("the scan is on the other disk\n" * 40)
    link.symlink_to(folder / "gone.nii.gz")
    return {
        "truncated": (truncated, "truncated"),
        "empty": (empty, "empty"),
        "text": (text, "not a scan"),
        "dangling": (link, "no such file"),
    }


def _bad_images(folder: Path) -> dict[str, tuple[Path, str]]:
    images = {
        "flat": (_hu()[:, :, 0], "2 dimensions"),
        "moving": (np.stack([_hu(), _hu()], axis=-1), "4 dimensions"),
        "complex": (_hu().astype(np.complex64), "complex"),
        "grey": (np.random.default_rng(3).integers(0, 256, GRID).astype(np.uint8), "not in HU"),
        "slice": (_hu()[:, :, :1], "at least 30 mm"),
    }
    found = {}
    for name, (values, word) in images.items():
        _save(values, folder / f"{name}.nii.gz")
        found[name] = (folder / f"{name}.nii.gz", word)
    nan, huge = folder / "nan.nii.gz", folder / "huge.nii"
    raw = bytearray(gzip.decompress((folder / "whole.nii.gz").read_bytes()))
    # Spacing stands at 76 of a NIFTI-1 header as pixdim[0..7], and again in the rows of the affine at 280.
    raw[80:84] = struct.pack("<f", float("nan"))
    raw[280:284] = struct.pack("<f", float("nan"))
    nan.write_bytes(gzip.compress(bytes(raw)))
    raw = bytearray(gzip.decompress((folder / "whole.nii.gz").read_bytes()))
    raw[42:48] = struct.pack("<3h", 1000, 1000, 1000)
    huge.write_bytes(bytes(raw))
    return {**found, "nan": (nan, "spacing"), "huge": (huge, "bytes too soon")}


def _bad_series(folder: Path) -> dict[str, tuple[Path, str]]:
    missing = make_slices(10)
    del missing[4]
    mixed = [*make_slices(8), *make_slices(8)]
    for number, dataset in enumerate(mixed):
        dataset.StudyInstanceUID = mixed[0].StudyInstanceUID
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number + 1
    film = make_slices(8)
    for dataset in film:
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML
        dataset.PixelData = encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
    contours = folder / "contours"
    contours.mkdir()
    make_structure_set([("GTV", [])]).save_as(contours / "rs.dcm", enforce_file_format=True)
    return {
        "missing": (save_slices(missing, folder / "missing"), "are missing between"),
        "mixed": (save_slices(mixed, folder / "mixed"), "2 CT series"),
        "contours": (contours, "no CT"),
        "film": (save_slices(film, folder / "film"), "cannot be decoded"),
    }


def _hu() -> np.ndarray:
    """Nothing that is a chest, but HU."""
    return np.random.default_rng(3).integers(-1000, 400, GRID).astype(np.int16)


def _save(values: np.ndarray, path: Path) -> None:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine, dtype=values.dtype), path)
