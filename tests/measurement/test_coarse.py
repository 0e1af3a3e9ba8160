"""The coarse grid goes by where voxels are in the patient, not by how the file holds them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.measurement.coarse import body_midline_mm, coarsen, refine
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.scan.volume import Reorientation, Volume

ORIENTATIONS = [
    Reorientation(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)
]


@pytest.fixture(scope="module")
def scan():
    """A chest of 1.2 x 3 x 3 mm, of which two slices make a coarse one and one is left over."""
    scan = make_phantom(5, PhantomConfig(spacing_mm=(1.2, 3.0, 3.0))).scan
    odd = scan.shape[0] - 1 + scan.shape[0] % 2
    return scan.crop((0, 0, 0), (odd, *scan.shape[1:]))


@pytest.mark.parametrize("turn", ORIENTATIONS[1::5], ids=str)
def test_the_lungs_are_the_same_however_the_scan_is_stored(scan, turn):
    first, again = segment_lungs(scan), segment_lungs(turn.apply(scan))
    assert scan.shape[0] % 2 == 1
    assert np.array_equal(turn.apply_array(first.labels), again.labels)
    assert first.volumes.left_ml == pytest.approx(again.volumes.left_ml)


def test_a_slab_comes_back_from_the_coarse_grid_where_it_was():
    voxels = np.full((31, 40, 50), -1000.0, np.float32)
    scan = Volume.upright(voxels, (1.25, 1.0, 1.0))
    voxels[10:20, 8:32, 10:40] = 0.0
    for turn in ORIENTATIONS:
        stored = turn.apply(scan)
        labels = refine((coarsen(stored).hu > -500).astype(np.uint8), stored)
        assert np.array_equal(labels, turn.apply_array(labels_of(scan)))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16, np.float32, np.float64])
def test_every_type_of_voxel_gives_the_same_coarse_grid_and_padding_is_air(dtype):
    random = np.random.default_rng(0)
    values = random.integers(0 if dtype == np.uint16 else -3024, 3000, (12, 30, 40))
    first = coarsen(Volume.upright(values.astype(np.float32), (1.25, 1.0, 1.0))).hu
    assert np.array_equal(coarsen(Volume.upright(values.astype(dtype), (1.25, 1.0, 1.0))).hu, first)
    pairs = np.maximum(values, -1024).reshape(6, 2, 30, 40).mean(1)  # two slices of 1.25 mm are one of 2.5
    assert first.mean() == pytest.approx(pairs.mean(), rel=1e-3)


def labels_of(scan):
    return refine((coarsen(scan).hu > -500).astype(np.uint8), scan)


@pytest.mark.parametrize("shift_mm", [0.0, -80.0])
@pytest.mark.parametrize("turn", ORIENTATIONS[::7], ids=str)
def test_the_midline_is_that_of_the_spine_in_the_world(shift_mm, turn):
    voxels = np.full((10, 120, 150), -1000, np.int16)
    voxels[:, 20:100, 15:125] = 0
    voxels[:, 80:95, 60:80] = 600  # its columns 60 to 79 of 2 mm: middle at 69.5 * 2 mm
    affine = Volume.upright(voxels, (3.0, 2.0, 2.0)).affine.copy()
    affine[0, 3] = shift_mm
    assert body_midline_mm(turn.apply(Volume(voxels, affine))) == pytest.approx(139 + shift_mm, abs=2.5)


def test_where_no_body_is_there_is_no_midline():
    assert body_midline_mm(Volume.upright(np.full((5, 6, 7), -1000, np.int16), (2.0, 2.0, 2.0))) is None
