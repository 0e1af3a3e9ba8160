"""Pictures against those that were looked at and kept.

A picture passes when, at half its size, its grey levels differ from the kept one by less than 2.5 in the mean and less
than 1 % of its pixels by more than 48: the letters of another version of FreeType do that, an outline moved by a voxel
does not. After a change that is meant, look at the new ones:
TUMORSPREAD_GOLDEN=write pytest tests/report/test_golden.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorspread.measurement.hits import compare_lesions
from tumorspread.report.figures import lesion_figure, overview_figure
from tumorspread.report.reference import comparison_pictures
from tumorspread.report.scene import Scene

GOLDEN = Path(__file__).parent / "golden"
MEAN, FAR, SHARE = 2.5, 48, 0.01


@pytest.fixture(scope="module")
def pictures(thorax) -> dict[str, np.ndarray]:
    scene = Scene.of(thorax.scan, thorax.lesions, thorax.lungs)
    drawn = np.zeros_like(thorax.lesions.voxels)
    drawn[14:17, 17:21, 35:41], drawn[18:20, 20:22, 12:14] = 1, 1
    comparison = compare_lesions(thorax.lesions, thorax.lesions.with_voxels(drawn))
    found = {f"overview_{p.name}": p for p in overview_figure(scene, thorax.findings)}
    found |= {f"lesion_{p.name}": p for p in lesion_figure(scene, thorax.findings.lesions[0])}
    names = ("hits_coronal", "hits_sagittal", "agreement_axial", "agreement_coronal", "agreement_sagittal")
    found |= dict(zip(names, comparison_pictures(scene, comparison), strict=True))
    return {name: halved(picture.plate.pixels) for name, picture in found.items()}


def halved(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).reduce(2))


def differs(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return True
    apart = np.abs(one.astype(int) - other)
    return bool(apart.mean() > MEAN or (apart.max(axis=2) > FAR).mean() > SHARE)


NAMES = (
    "overview_coronal", "overview_sagittal", "lesion_axial", "lesion_soft", "lesion_coronal", "lesion_sagittal",
    "lesion_whole", "hits_coronal", "hits_sagittal", "agreement_axial", "agreement_coronal", "agreement_sagittal",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_the_one_that_was_looked_at(pictures, name):
    path = GOLDEN / f"{name}.png"
    if os.environ.get("TUMORSPREAD_GOLDEN") == "write":
        Image.fromarray(pictures[name]).save(path, optimize=True)
    assert not differs(pictures[name], np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_picture_and_one_moved_by_a_voxel_are_told_from_it(pictures, name):
    kept = np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB"))
    assert differs(pictures[name][:, ::-1], kept)
    assert differs(np.roll(pictures[name], 6, axis=1), kept)
