from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from tumorspread.errors import RecipeError
from tumorspread.model.preprocess import PreprocessConfig, normalise, prepare_mask, prepare_scan
from tumorspread.scan.volume import Volume

SHAPE = (12, 18, 15)
ORIENTATIONS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def grid(axes=(2, 1, 0), signs=(1, 1, 1), spacing=(2.0, 0.8, 1.1), turn=None) -> np.ndarray:
    """An affine whose array axis i runs along world axis axes[i]."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for i, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, i] = sign * spacing[i]
    affine[:3, 3] = (11, -23, 37)
    if turn is not None:
        affine[:3, :3] = turn @ affine[:3, :3]
    return affine


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def smooth_blob(volume: Volume) -> np.ndarray:
    """A ball in the world, 1 inside and falling to 0 over a few mm outside: the same thing on every grid."""
    points = volume.to_world(np.moveaxis(np.indices(volume.shape), 0, -1))
    centre = volume.to_world((np.array(volume.shape) - 1) / 2 + [0.6, -1.2, 0.9])
    return np.clip(1.5 - np.linalg.norm(points - centre, axis=-1) / 6, 0, 1)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_without_resampling_a_mask_comes_back_voxel_for_voxel_in_any_orientation(axes, signs):
    shape = tuple(np.array(SHAPE)[list(axes)])
    scan = Volume(np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16), grid(axes, signs))
    config = PreprocessConfig(spacing_mm=(0, 0, 0))
    prepared, way = prepare_scan(scan, config)
    back = way.mask_back(prepared, 0.0)
    assert np.array_equal(back.voxels, normalise(scan.voxels, config.window) > 0)
    assert back.same_grid(scan)


@pytest.mark.parametrize("turn", [None, rotation(20)])
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::5])
def test_a_blob_found_on_the_networks_grid_comes_back_where_it_was_in_the_world(axes, signs, turn):
    scan = Volume(np.zeros(tuple(np.array((24, 40, 40))[np.argsort(axes)][::-1])), grid(axes, signs, turn=turn))
    truth = smooth_blob(scan)
    config = PreprocessConfig(spacing_mm=(1.0, 1.0, 1.0), window=(0, 1))
    prepared, way = prepare_scan(scan.with_voxels(truth), config)
    back = way.mask_back((prepared + 1) / 2, 0.5)
    mask = truth > 0.5
    dice = 2 * (back.voxels & mask).sum() / (back.voxels.sum() + mask.sum())
    assert dice > 0.97
    centres = [np.array(ndimage.center_of_mass(m)) for m in (back.voxels, mask)]
    assert np.linalg.norm(scan.to_world(centres[0]) - scan.to_world(centres[1])) < 0.3


def test_the_prepared_array_is_canonical_whatever_the_axes():
    head = Volume(np.zeros((20, 30, 30)), grid(spacing=(2.0, 1.0, 1.0)))
    points = head.to_world(np.moveaxis(np.indices(head.shape), 0, -1))
    scan = head.with_voxels(points[..., 2])
    turned = Volume(scan.voxels[::-1].transpose(2, 0, 1), head.affine @ np.array(
        [[0, -1, 0, 19], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float))  # fmt: skip
    config = PreprocessConfig(spacing_mm=(2, 1, 1), window=(0, 100))
    assert np.allclose(prepare_scan(scan, config)[0], prepare_scan(turned, config)[0], atol=1e-5)


def test_slices_come_to_a_fixed_size_and_back():
    scan = Volume(np.random.default_rng(1).random((5, 30, 44)), grid())
    prepared, way = prepare_scan(scan, PreprocessConfig(size_yx=(64, 64), window=(0, 1), intensity="gray"))
    assert prepared.shape == (5, 64, 64)
    assert way.mask_back(prepared, 0.0).shape == scan.shape


def test_the_window_ends_at_minus_one_and_one():
    values = normalise(np.array([-3024, -1000, -300, 400, 3000]), (-1000, 400))
    assert values.tolist() == [-1, -1, 0, 1, 1]


def test_a_mask_voxel_is_tumour_when_half_of_it_is():
    mask = Volume(np.zeros((4, 8, 8), np.uint8), grid(spacing=(1, 1, 1)))
    voxels = mask.voxels.copy()
    voxels[0:2, 0:2, 0] = 1  # half of the coarse voxel (0, 0, 0)
    voxels[2:4, 4, 4] = 1  # a quarter of the coarse voxel (1, 2, 2)
    coarse = prepare_mask(mask.with_voxels(voxels), PreprocessConfig(spacing_mm=(2, 2, 2)))
    assert coarse.shape == (2, 4, 4)
    assert np.argwhere(coarse).tolist() == [[0, 0, 0]]


def test_volume_is_kept_within_a_few_per_cent_through_the_network_grid():
    """A ball of 24 mm over the grid of 1.5 mm and back; a narrow peak would lose more."""
    scan = Volume(np.zeros((60, 90, 90)), grid(spacing=(1.0, 0.7, 0.7)))
    points = scan.to_world(np.moveaxis(np.indices(scan.shape), 0, -1))
    radius = np.linalg.norm(points - scan.to_world((30.2, 44.6, 45.1)), axis=-1)
    ball = np.clip(12.5 - radius, 0, 1)
    prepared, way = prepare_scan(scan.with_voxels(ball), PreprocessConfig(spacing_mm=(1.5, 1.5, 1.5), window=(0, 1)))
    volume_ml = way.mask_back((prepared + 1) / 2, 0.5).voxels.sum() * scan.voxel_ml
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.02)


@pytest.mark.parametrize(
    "settings", [{"spacing_mm": (-1, 1, 1)}, {"spacing_mm": (99, 1, 1)}, {"window": (5, 5)}, {"size_yx": (4, 4)}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(RecipeError, match="preprocess"):
        PreprocessConfig(**settings)
