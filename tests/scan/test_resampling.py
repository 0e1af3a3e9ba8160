"""Resampling: the same world before and after, and back to the very grid it came from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tumorspread.scan.resampling import Resampling
from tumorspread.scan.volume import Volume


def grid(shape, spacing, voxels=None, seed=3) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=seed).as_matrix() * np.array(spacing)
    affine[:3, 3] = (5, -70, 12)
    return Volume(np.zeros(shape, np.float32) if voxels is None else voxels, affine)


def faces(volume: Volume) -> np.ndarray:
    """World points of the grid's eight outermost corners (half a voxel outside the centres)."""
    ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in volume.shape])).reshape(3, -1).T
    return volume.to_world(ends)


shapes = st.tuples(*[st.integers(1, 24)] * 3)


@settings(max_examples=80, deadline=None)
@given(source=shapes, target=shapes)
def test_both_grids_share_their_outer_faces_and_the_way_back_has_the_source_shape(source, target):
    volume = grid(source, (2.0, 0.8, 0.7))
    step = Resampling(source, target)
    there = step.apply(volume)
    assert there.shape == target
    assert np.allclose(faces(there), faces(volume), atol=1e-9)
    assert np.stack(list(step.invert_planes(there.voxels))).shape == source


@settings(max_examples=60, deadline=None)
@given(source=shapes, target=shapes)
def test_a_constant_stays_constant_there_and_back(source, target):
    step = Resampling(source, target)
    there = step.apply(grid(source, (1, 1, 1), np.full(source, -873, np.int16)))
    assert np.allclose(there.voxels, -873, atol=1e-3)
    assert np.allclose(np.stack(list(step.invert_planes(there.voxels))), -873, atol=1e-3)


@pytest.mark.parametrize("target", [(7, 9, 11), (20, 25, 30), (7, 25, 11), (20, 9, 30), (14, 18, 22)])
def test_a_linear_ramp_in_the_world_keeps_its_value_at_every_inner_world_point(target):
    source, gradient = (14, 18, 22), np.array([3.0, -2.0, 5.0])
    plain = grid(source, (2.5, 0.8, 0.7))
    points = plain.to_world(np.moveaxis(np.indices(source), 0, -1))
    there = Resampling(source, target).apply(plain.with_voxels((points @ gradient).astype(np.float32)))
    expected = there.to_world(np.moveaxis(np.indices(target), 0, -1)) @ gradient
    inner = tuple(slice(2, -2) for _ in range(3))
    assert np.abs(there.voxels - expected)[inner].max() < 2e-2


def test_shrinking_by_a_whole_factor_is_the_mean_of_the_blocks():
    voxels = np.random.default_rng(0).normal(size=(8, 12, 15)).astype(np.float32)
    there = Resampling((8, 12, 15), (4, 4, 3)).apply(grid((8, 12, 15), (1, 1, 1), voxels))
    assert np.allclose(there.voxels, voxels.reshape(4, 2, 4, 3, 3, 5).mean((1, 3, 5)), atol=1e-5)


def test_the_same_shape_changes_no_value():
    voxels = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    there = Resampling((5, 6, 7), (5, 6, 7)).apply(grid((5, 6, 7), (1, 2, 3), voxels))
    assert there.voxels.dtype == np.float32
    assert np.array_equal(there.voxels, voxels)


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 300)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8)] * 3),
    wanted=st.tuples(*[st.floats(0.3, 8)] * 3),
)
def test_to_spacing_meets_the_spacing_to_half_a_voxel_over_the_extent(shape, spacing, wanted):
    volume = grid(shape, spacing, np.broadcast_to(np.float32(0), shape))
    target = Resampling.to_spacing(volume, wanted).target
    for n, old, new, m in zip(shape, spacing, wanted, target, strict=True):
        assert m >= 1
        assert m == 1 or abs(m * new - n * old) <= 0.5 * new + 1e-6


def test_to_plane_changes_the_slices_and_not_their_number():
    volume = grid((9, 40, 30), (3, 0.7, 0.7))
    there = Resampling.to_plane(volume, (20, 15)).apply(volume)
    assert there.shape == (9, 20, 15)
    assert there.spacing_mm == pytest.approx((3, 1.4, 1.4))


def test_a_ball_keeps_its_volume_there_and_back():
    shape = (20, 50, 60)
    volume = grid(shape, (2.0, 0.8, 0.7))
    centre = volume.to_world((9.5, 24.5, 29.5))
    radius = np.linalg.norm(volume.to_world(np.moveaxis(np.indices(shape), 0, -1)) - centre, axis=-1)
    ball = volume.with_voxels((radius <= 12).astype(np.float32))
    step = Resampling.to_spacing(ball, (1.5, 1.5, 1.5))
    back = np.stack(list(step.invert_planes(step.apply(ball).voxels))) > 0.5
    truth = 4 / 3 * np.pi * 12**3
    assert back.sum() * volume.voxel_ml * 1000 == pytest.approx(truth, rel=0.03)
    overlap = 2 * (back & (radius <= 12)).sum() / (back.sum() + (radius <= 12).sum())
    assert overlap > 0.96
