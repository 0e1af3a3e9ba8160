"""A data set and a recipe so small that a training takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tumorspread.data.cases import DatasetInfo, write_dataset_json
from tumorspread.data.splits import Split, write_splits
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Volume

TINY = (
    "unet.widths=[4,8]", "patch.size=[16,16,16]", "patch.batch=2", "patch.steps_per_epoch=3", "patch.workers=0",
    "preprocess.spacing_mm=[0,0,0]", "run.epochs=4", "unet.dropout=0.2",
)  # fmt: skip


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of 24^3 with a bright ball in air, split 3 / 2 / 1."""
    folder = tmp_path_factory.mktemp("tiny") / "data"
    names = [f"case_{i}" for i in range(6)]
    for i, name in enumerate(names):
        random = np.random.default_rng(i)
        centre = random.uniform(8, 16, 3)
        ball = np.linalg.norm(np.moveaxis(np.indices((24, 24, 24)), 0, -1) - centre, axis=-1) < 5
        voxels = np.where(ball, 40, -850) + random.normal(0, 30, ball.shape)
        affine = np.diag([2.0, 2, 2, 1])[[2, 1, 0, 3]]
        write_nifti(Volume(voxels.astype(np.int16), affine), folder / "imagesTr" / f"{name}.nii.gz")
        write_nifti(Volume(ball.astype(np.uint8), affine), folder / "labelsTr" / f"{name}.nii.gz")
    write_dataset_json(folder, DatasetInfo("Tiny", training=tuple(names)))
    write_splits(folder / "splits.json", [Split(tuple(names[:3]), tuple(names[3:5]), (names[5],))],
                 kind="holdout", seed=0)  # fmt: skip
    return folder
