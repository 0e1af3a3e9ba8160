"""Another acquisition of the same scan: places and volumes stay, grain and slices change."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.data.acquisition import AcquisitionConfig, acquire
from tumorspread.scan.volume import Volume

PLAIN = AcquisitionConfig(slice_mm=(0.0,), size=(1.0, 1.0), kernel_p=0.0, dose_p=0.0)


@pytest.fixture
def chest():
    """Lung with a ball of 20 mm at the origin of the world, on slices of 1 mm."""
    grid = Volume.upright(np.zeros((60, 90, 90), np.int16), (1.0, 0.7, 0.7), centred=True)
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    ball = np.linalg.norm(points, axis=-1) <= 10
    labels = np.where(points[..., 0] > 0, 1, 2).astype(np.uint8)
    labels[ball] = 3
    return grid.with_voxels(np.where(ball, 40, -850).astype(np.int16)), grid.with_voxels(labels)


@pytest.mark.parametrize("slice_mm", [1.0, 2.5, 5.0])
def test_slices_are_means_and_everything_stays_where_it_was(chest, slice_mm):
    scan, labels = chest
    config = AcquisitionConfig(slice_mm=(slice_mm,), size=(1.0, 1.0), kernel_p=0.0, dose_p=0.0)
    taken, marked = acquire(scan, labels, np.random.default_rng(0), config)
    assert taken.spacing_mm == pytest.approx((slice_mm, 1.2, 1.2), rel=0.02)
    assert taken.same_grid(marked)
    ball = marked.voxels == 3
    assert ball.sum() * taken.voxel_ml == pytest.approx(4 / 3 * np.pi, rel=0.05)
    assert np.abs(taken.to_world(np.argwhere(ball)).mean(axis=0)).max() < 0.5
    assert taken.voxels.mean() == pytest.approx(scan.voxels.mean(), abs=1)
    assert set(np.unique(marked.voxels)) == {1, 2, 3}


def test_slices_are_never_finer_than_the_host_s(chest):
    scan, labels = chest
    config = AcquisitionConfig(slice_mm=(0.5,), size=(1.0, 1.0))
    taken, _ = acquire(scan, labels, np.random.default_rng(0), config)
    assert taken.spacing_mm[0] == 1.0


def test_a_lower_dose_adds_noise_of_the_drawn_deviation_in_range(chest):
    scan, labels = chest
    config = AcquisitionConfig(slice_mm=(0.0,), size=(1.0, 1.0), kernel_p=0.0, dose_p=1.0, noise_hu=(30.0, 30.0))
    taken, marked = acquire(scan, labels, np.random.default_rng(0), config)
    plain, _ = acquire(scan, labels, np.random.default_rng(0), PLAIN)
    added = taken.voxels.astype(float) - plain.voxels
    assert added[marked.voxels == 3].std() == pytest.approx(30, rel=0.1)
    assert abs(added[marked.voxels == 3].mean()) < 3


def test_another_kernel_keeps_means_and_changes_edges_alone(chest):
    scan, labels = chest
    config = AcquisitionConfig(slice_mm=(0.0,), size=(1.0, 1.0), kernel_p=1.0, dose_p=0.0)
    plain, _ = acquire(scan, labels, np.random.default_rng(3), PLAIN)
    taken, _ = acquire(scan, labels, np.random.default_rng(3), config)
    changed = np.abs(taken.voxels.astype(int) - plain.voxels)
    assert changed.max() > 5
    assert changed[:5].max() == 0
    assert taken.voxels.mean() == pytest.approx(plain.voxels.mean(), abs=1)


def test_a_patient_of_another_size_has_another_volume(chest):
    scan, labels = chest
    config = AcquisitionConfig(slice_mm=(0.0,), size=(1.1, 1.1), kernel_p=0.0, dose_p=0.0)
    taken, marked = acquire(scan, labels, np.random.default_rng(0), config)
    assert (marked.voxels == 3).sum() * taken.voxel_ml == pytest.approx(1.1**3 * 4 / 3 * np.pi, rel=0.05)


def test_the_same_state_gives_the_same_scan_and_values_stay_in_range(chest):
    scan, labels = chest
    one, _ = acquire(scan, labels, np.random.default_rng(7))
    other, _ = acquire(scan, labels, np.random.default_rng(7))
    assert np.array_equal(one.voxels, other.voxels)
    assert one.voxels.dtype == np.int16
    assert one.voxels.min() >= -1024
