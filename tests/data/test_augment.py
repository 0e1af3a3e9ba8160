from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tumorspread.data.augment import Augmentation, AugmentConfig
from tumorspread.errors import RecipeError

OFF = AugmentConfig(affine_p=0, flip_p=0, noise_p=0, blur_p=0, contrast_p=0, intensity_p=0, thick_p=0)
SIZE = (16, 20, 24)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    image = torch.rand(1, 20, 24, 30) * 1.2 - 0.6
    mask = torch.zeros_like(image)
    mask[:, 6:13, 8:15, 10:19] = 1
    return image, mask


def crop(array):
    return array[:, 2:18, 2:22, 3:27]


def test_with_all_off_it_is_the_middle_of_its_source(pair):
    for config in (OFF, replace(OFF, enabled=False)):
        image, mask = Augmentation(config, SIZE)(*pair, seed=0)
        assert torch.allclose(image, crop(pair[0]), atol=1e-5)
        assert torch.equal(mask, crop(pair[1]))


@pytest.mark.parametrize("name", ["noise_p", "blur_p", "contrast_p", "intensity_p", "thick_p"])
def test_each_intensity_change_alone_moves_the_grey_values_and_not_the_mask(pair, name):
    image, mask = Augmentation(replace(OFF, **{name: 1.0}), SIZE)(*pair, seed=1)
    assert not torch.allclose(image, crop(pair[0]), atol=1e-3)
    assert torch.equal(mask, crop(pair[1]))
    assert image.shape == (1, *SIZE)
    assert image.min() >= -1
    assert image.max() <= 1


@pytest.mark.parametrize("name", ["affine_p", "flip_p"])
def test_each_spatial_change_moves_the_mask_too_and_keeps_it_binary(pair, name):
    image, mask = Augmentation(replace(OFF, **{name: 1.0}), SIZE)(*pair, seed=1)
    assert not torch.equal(mask, crop(pair[1]))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert image.shape == mask.shape == (1, *SIZE)


def test_flips_of_probability_one_are_the_array_turned_about(pair):
    image, mask = Augmentation(replace(OFF, flip_p=1.0), SIZE)(*pair, seed=0)
    assert torch.allclose(image, crop(pair[0]).flip(1, 2, 3), atol=1e-5)
    assert torch.equal(mask, crop(pair[1]).flip(1, 2, 3))
    _, sideways = Augmentation(replace(OFF, flip_p=1.0, flip_axes=(2,)), SIZE)(*pair, seed=0)
    assert torch.equal(sideways, crop(pair[1]).flip(3))


def test_scaling_changes_the_volume_within_its_range():
    image = torch.zeros(1, 30, 30, 30)
    mask = torch.zeros_like(image)
    mask[:, 10:20, 10:20, 10:20] = 1
    config = replace(OFF, affine_p=1.0, rotate_degrees=0, tilt_degrees=0, scale=0.2)
    volumes = [Augmentation(config, (24, 24, 24))(image, mask, seed=s)[1].sum().item() for s in range(12)]
    assert min(volumes) < 900
    assert max(volumes) > 1100
    assert min(volumes) > 1000 * 0.8**3 * 0.7
    assert max(volumes) < 1000 / 0.8**3 * 1.3


def test_thick_slices_average_along_z_alone():
    image = torch.zeros(1, 24, 8, 8)
    image[:, ::2] = 1
    sharp_in_plane = torch.zeros(1, 24, 8, 8)
    sharp_in_plane[..., ::2] = 1
    config = replace(OFF, thick_p=1.0, thick_slices=2)
    augmentation = Augmentation(config, (24, 8, 8))
    assert np.allclose(augmentation(image, image, 0)[0][:, 2:-2], 0.5, atol=1e-5)
    assert torch.allclose(augmentation(sharp_in_plane, image, 0)[0], sharp_in_plane, atol=1e-5)


def test_the_same_seed_gives_the_same_patch_whatever_came_before(pair):
    augmentation = Augmentation(AugmentConfig(), SIZE)
    first = augmentation(*pair, seed=5)
    augmentation(*pair, seed=6)
    again = augmentation(*pair, seed=5)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize(
    "settings", [{"flip_p": -0.1}, {"flip_axes": (3,)}, {"noise_p": 2}, {"scale": 1.0}, {"gamma": (0, 1)}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(RecipeError, match="augment"):
        AugmentConfig(**settings)
