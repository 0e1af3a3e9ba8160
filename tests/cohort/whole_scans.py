"""Scans that a cohort measures, each as several files: parts of real chests where those are at hand, else phantoms.

Small, so that hundreds of them take minutes: a part of a chest on a coarse grid, or a phantom shrunk to half.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
from tests.conftest import REAL_DATA

from tumorspread.data.acquisition import AcquisitionConfig
from tumorspread.data.hosts import find_list, read_hosts
from tumorspread.data.implant import ImplantConfig
from tumorspread.data.implant_set import ImplantSetConfig, make_case
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Volume

DISTINCT = 60
COARSE = AcquisitionConfig(slice_mm=(5.0, 7.0), pixel_mm=2.5)
# A thorax of 17 x 24 x 34 voxels at half its size fits into one window of the network: a second of one core.
PHANTOM, SHRUNK = PhantomConfig(spacing_mm=(12.0, 10.0, 10.0), vessels=3), 0.5


def write_whole_scans(folder: Path, number: int) -> dict[str, Path]:
    """Write them: name -> scan; `DISTINCT` different ones among them."""
    folder.mkdir(parents=True)
    made = []
    for scan in islice(
        filter(_has_lungs, _parts_of_chests() if (REAL_DATA / "scans").is_dir() else _phantoms()), DISTINCT
    ):
        made.append(folder / f"made{len(made):02}.nii.gz")
        write_nifti(scan, made[-1])
    scans = {f"case{n:03}": folder / f"case{n:03}.nii.gz" for n in range(number)}
    for n, path in enumerate(scans.values()):
        shutil.copyfile(made[n % DISTINCT], path)
    return scans


def _parts_of_chests() -> Iterator[Volume]:
    """Parts of real chests with a tumour or two, each from a scanner of its own."""
    config = ImplantSetConfig(
        read_hosts(find_list("shipped")), REAL_DATA, None, 31, COARSE, ImplantConfig(lesions=(1, 2)), cropped_p=1.0
    )
    return (make_case(number, config, None).scan for number in count())


def _phantoms() -> Iterator[Volume]:
    for seed in count():
        scan = make_phantom(seed, PHANTOM).scan
        yield Volume(scan.voxels, np.diag([SHRUNK, SHRUNK, SHRUNK, 1.0]) @ scan.affine)


def _has_lungs(scan: Volume) -> bool:
    """Without, a scan is rightly refused: of a very coarse phantom and a very small part none are found."""
    return segment_lungs(scan).volumes.total_ml is not None
