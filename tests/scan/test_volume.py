"""Geometry: what an index, an axis and a world point mean, and that every step has its inverse."""

from __future__ import annotations

import os
import pickle
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tumorspread.errors import GeometryError
from tumorspread.scan.volume import Remark, Reorientation, Volume, sparse_zeros

ALL_48 = [(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]
SPACING = (2.5, 0.8, 0.7)


def canonical(shape=(4, 5, 6), spacing=SPACING, rotation=None) -> Volume:
    """Numbered voxels with z to the head, y to the back, x to the left, then rotated."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * np.array(spacing)
    if rotation is not None:
        affine[:3, :3] = rotation @ affine[:3, :3]
    affine[:3, 3] = (11, -22, 33)
    return Volume(np.arange(np.prod(shape)).reshape(shape), affine, (Remark("a", "b"),))


def world_of_values(volume: Volume) -> np.ndarray:
    """World point of every voxel, sorted by the voxel's value."""
    index = np.indices(volume.shape).reshape(3, -1).T
    return volume.to_world(index)[np.argsort(volume.voxels.ravel())]


def test_spacing_volume_and_directions_follow_from_the_affine():
    volume = canonical()
    assert volume.spacing_mm == pytest.approx(SPACING)
    assert volume.voxel_ml == pytest.approx(2.5 * 0.8 * 0.7 / 1000)
    assert np.allclose(volume.directions, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    assert np.allclose(volume.to_world((1, 2, 3)), (11 + 3 * 0.7, -22 + 2 * 0.8, 33 + 2.5))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_to_index_is_the_inverse_of_to_world_on_oblique_grids(seed):
    rng = np.random.default_rng(seed)
    volume = canonical(spacing=rng.uniform(0.3, 8, 3), rotation=Rotation.random(rng=seed).as_matrix())
    index = rng.uniform(-50, 50, (7, 2, 3))
    assert np.allclose(volume.to_index(volume.to_world(index)), index, atol=1e-9)


@pytest.mark.parametrize(("axes", "flips"), ALL_48)
def test_any_of_the_48_reorientations_moves_no_voxel_and_is_undone_exactly(axes, flips):
    volume, turn = canonical(), Reorientation(axes, flips)
    turned = turn.apply(volume)
    assert np.allclose(world_of_values(turned), world_of_values(volume))
    assert np.array_equal(turn.invert_array(turned.voxels), volume.voxels)
    assert turned.remarks == volume.remarks
    assert turned.voxels.base is not None


@pytest.mark.parametrize(("axes", "flips"), ALL_48)
def test_to_canonical_brings_every_orientation_back_to_head_back_left(axes, flips):
    tilt = Rotation.from_euler("xyz", [12, -8, 20], degrees=True).as_matrix()
    volume = canonical(rotation=tilt)
    turned = Reorientation(axes, flips).apply(volume)
    upright = Reorientation.to_canonical(turned).apply(turned)
    assert np.array_equal(upright.voxels, volume.voxels)
    assert np.allclose(upright.affine, volume.affine)


def test_a_crop_keeps_its_voxels_in_place_and_shares_their_memory():
    volume = canonical()
    part = volume.crop((1, 2, 0), (3, 5, 4))
    assert np.array_equal(part.voxels, volume.voxels[1:3, 2:5, 0:4])
    assert np.allclose(part.to_world((0, 0, 0)), volume.to_world((1, 2, 0)))
    assert np.shares_memory(part.voxels, volume.voxels)


@pytest.mark.parametrize(("start", "stop"), [((0, 0, 0), (5, 5, 6)), ((-1, 0, 0), (2, 2, 2)), ((2, 2, 2), (2, 3, 3))])
def test_a_crop_that_is_empty_or_leaves_the_grid_is_refused(start, stop):
    with pytest.raises(GeometryError, match="not inside the grid"):
        canonical().crop(start, stop)


def test_same_grid_allows_rounding_and_no_more():
    volume = canonical()
    for shift, same in ((0.03, True), (0.04, False)):
        affine = volume.affine.copy()
        affine[0, 3] += shift
        assert volume.same_grid(Volume(volume.voxels, affine)) is same
    assert not volume.same_grid(canonical(shape=(4, 5, 7)))
    assert not volume.same_grid(canonical(spacing=(2.5, 0.8, 0.72)))


def test_with_voxels_keeps_the_grid_and_refuses_another_shape():
    volume = canonical()
    mask = volume.with_voxels(volume.voxels > 7)
    assert mask.same_grid(volume)
    assert mask.voxels.dtype == bool
    with pytest.raises(GeometryError, match="does not fit the grid"):
        volume.with_voxels(np.zeros((5, 4, 6)))


def broken(**change) -> np.ndarray:
    affine = np.diag([1.0, 1, 1, 1])
    for place, value in change.values():
        affine[place] = value
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((3, 3), np.eye(4), "3 dimensions, found 2"),
        ((3, 0, 3), np.eye(4), "empty"),
        ((3, 3, 3), np.eye(3), "4x4"),
        ((3, 3, 3), broken(a=((0, 3), np.nan)), "finite"),
        ((3, 3, 3), broken(a=((1, 1), 0.0)), "zero along an axis"),
        ((3, 3, 3), broken(a=((0, 1), 0.2)), "right angles"),
    ],
)
def test_a_grid_without_spacing_or_right_angles_is_refused(shape, affine, message):
    with pytest.raises(GeometryError, match=message):
        Volume(np.zeros(shape), affine)


def test_the_affine_of_a_volume_cannot_be_changed_behind_its_back():
    source = np.eye(4)
    volume = Volume(np.zeros((2, 2, 2)), source)
    source[0, 0] = 9
    assert volume.spacing_mm == (1, 1, 1)
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 9


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted by /proc")
def test_zeros_take_memory_only_where_they_are_written():
    def resident_mb():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    before = resident_mb()
    zeros = sparse_zeros((400, 512, 512), np.uint16)
    assert zeros.max() == 0
    zeros[:, 256, 256] = 7
    assert resident_mb() - before < 20  # of 200
    assert (zeros.sum(), zeros.dtype, zeros.shape) == (2800, np.uint16, (400, 512, 512))
    zeros[0] = 1
    assert np.array_equal(pickle.loads(pickle.dumps(zeros[:2])), zeros[:2])
