from __future__ import annotations

from itertools import pairwise

import cc3d
import numpy as np
import pytest

from tumorspread.data.cases import find_cases, read_dataset_info
from tumorspread.data.check import check_dataset
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.data.phantom_set import read_truth, write_phantoms
from tumorspread.errors import DatasetError
from tumorspread.scan.checks import check_ct

COARSE = PhantomConfig(spacing_mm=(5.0, 4.0, 4.0), vessels=10)


def test_the_same_seed_gives_the_same_phantom_and_another_seed_another():
    first, again, other = make_phantom(3, COARSE), make_phantom(3, COARSE), make_phantom(4, COARSE)
    assert np.array_equal(first.scan.voxels, again.scan.voxels)
    assert first.lesions == again.lesions
    assert first.lesions != other.lesions


@pytest.mark.parametrize("seed", [0, 1])
def test_the_mask_is_the_ellipsoids_that_the_truth_describes(seed):
    phantom = make_phantom(seed, PhantomConfig(vessels=5))
    labels, count = cc3d.connected_components(phantom.mask.voxels, return_N=True)
    assert count == len(phantom.lesions)
    for lesion in phantom.lesions:
        index = tuple(np.round(phantom.mask.to_index(lesion.centre_mm)).astype(int))
        piece = labels == labels[index]
        assert labels[index] > 0
        assert piece.sum() * phantom.mask.voxel_ml == pytest.approx(lesion.volume_ml, rel=0.06)
        centre = phantom.mask.to_world(np.argwhere(piece).mean(axis=0))
        assert np.linalg.norm(centre - lesion.centre_mm) < 1
        assert lesion.side == ("left" if centre[0] > 0 else "right")
    assert all(a.volume_ml >= b.volume_ml for a, b in pairwise(phantom.lesions))


def test_tumour_is_tissue_lung_is_air_and_the_scan_passes_the_gate():
    phantom = make_phantom(1, COARSE)
    hu = phantom.scan.voxels
    assert check_ct(phantom.scan) is not None
    inner = [phantom.mask.to_index(lesion.centre_mm) for lesion in phantom.lesions]
    assert all(-20 < hu[tuple(np.round(i).astype(int))] < 120 for i in inner)
    assert 0.1 < np.mean((hu > -950) & (hu < -700)) < 0.5
    assert hu.dtype == np.int16


def test_a_data_set_of_phantoms_has_no_fault_and_keeps_its_truth(tmp_path):
    folder = write_phantoms(tmp_path / "p", 2, seed=5, config=COARSE)
    assert [f for f in check_dataset(folder) if f.level == "fault"] == []
    assert [case.name for case in find_cases(folder)] == ["phantom_000", "phantom_001"]
    assert read_dataset_info(folder).intensity == "hu"
    assert read_truth(folder)["phantom_001"] == make_phantom(6, COARSE).lesions


def test_a_used_folder_no_phantoms_and_a_damaged_truth_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match="not empty"):
        write_phantoms(tmp_path, 1)
    with pytest.raises(DatasetError, match="1 or more"):
        write_phantoms(tmp_path / "new", 0)
    (tmp_path / "truth.json").write_text('{"a": [{"centre_mm": 1}]}')
    with pytest.raises(DatasetError, match=r"truth\.json"):
        read_truth(tmp_path)
