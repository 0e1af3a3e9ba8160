"""What a training on lungs alone reads."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tumorspread.data.phantom import PhantomConfig
from tumorspread.data.phantom_set import write_phantoms
from tumorspread.data.prepared import IGNORED, TUMOUR, open_case
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.measurement.room import REACH_MM, distance_to_lungs
from tumorspread.model.preprocess import plan_way, prepare_mask
from tumorspread.model.recipe import Recipe
from tumorspread.model.training_data import prepare_data
from tumorspread.scan.nifti import read_nifti, write_nifti

NAME = "phantom_000"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    config = PhantomConfig(spacing_mm=(6.0, 5.0, 5.0), vessels=5)
    return write_phantoms(tmp_path_factory.mktemp("lungs") / "data", 2, config=config)


def prepared(data, *, lungs_only):
    changes = (
        "preprocess.spacing_mm=[6, 6, 6]",
        "patch.size=[16, 16, 16]",
        f"patch.lungs_only={str(lungs_only).lower()}",
    )
    recipe = Recipe.read(None, changes)
    return open_case(NAME, prepare_data(data, [NAME], recipe, data / "cache")), recipe


def test_what_lies_out_of_reach_of_the_lungs_is_ignored_unless_it_is_tumour(data):
    case, recipe = prepared(data, lungs_only=True)
    scan, mask = (read_nifti(data / part / f"{NAME}.nii.gz") for part in ("imagesTr", "labelsTr"))
    way = plan_way(scan, recipe.preprocess)
    sides = way.sample(way.turn.apply_array(segment_lungs(scan).labels))
    far = distance_to_lungs(sides, way.target_spacing_mm) > REACH_MM
    truth = prepare_mask(mask, recipe.preprocess) > 0
    assert 0.1 < far.mean() < 0.9
    assert np.array_equal(case.mask == IGNORED, far & ~truth)
    assert np.array_equal(case.mask == TUMOUR, truth)


def test_patches_are_centred_where_there_is_something_to_learn(data):
    case, _ = prepared(data, lungs_only=True)
    assert len(case.places) > 500
    assert (case.mask[tuple(case.places.T)] != IGNORED).all()
    assert len(np.unique(case.places, axis=0)) == len(case.places)


def test_without_the_setting_all_of_the_scan_is_learned_from(data):
    case, _ = prepared(data, lungs_only=False)
    assert not (case.mask == IGNORED).any()


def test_what_a_case_ignores_is_not_learned_from_unless_it_is_tumour(data, tmp_path):
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    scan, mask = (read_nifti(data / part / f"{NAME}.nii.gz") for part in ("imagesTr", "labelsTr"))
    low = np.zeros(scan.shape, np.uint8)
    low[: scan.shape[0] // 2] = 1
    (tmp_path / "data" / "ignoreTr").mkdir()
    write_nifti(scan.with_voxels(low), tmp_path / "data" / "ignoreTr" / f"{NAME}.nii.gz")
    case, recipe = prepared(tmp_path / "data", lungs_only=False)
    unknown, truth = (prepare_mask(scan.with_voxels(v), recipe.preprocess) > 0 for v in (low, mask.voxels))
    assert (unknown & ~truth).any()
    assert np.array_equal(case.mask == IGNORED, unknown & ~truth)
    assert np.array_equal(case.mask == TUMOUR, truth)
