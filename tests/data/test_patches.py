from __future__ import annotations

import numpy as np
import pytest
import torch

from tumorspread.data.augment import AugmentConfig
from tumorspread.data.patches import EpochSampler, PatchConfig, PatchDataset, cut, load_patches, move_inside
from tumorspread.data.prepared import IGNORED, TUMOUR, PreparedCase
from tumorspread.errors import RecipeError

PLAIN = AugmentConfig(enabled=False)


def make_case(name="a", shape=(30, 40, 50), tumours=((15, 20, 25),), radius=2) -> PreparedCase:
    """The image names each voxel's place, so that a patch says where it was cut."""
    place = np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)
    mask = np.zeros(shape, np.uint8)
    rows = []
    for number, (z, y, x) in enumerate(tumours, 1):
        box = (slice(z - radius, z + radius + 1), slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
        mask[box] = 1
        rows += [(number, *voxel) for voxel in np.argwhere(mask) if np.abs(voxel - (z, y, x)).max() <= radius]
    centres = np.array(rows, np.int32).reshape(-1, 4)
    places = np.argwhere(mask < 2).astype(np.int32)
    return PreparedCase(name, place.astype(np.float16), mask, centres, places)


def test_a_patch_is_a_function_of_seed_and_number():
    cases = [make_case()]
    config = PatchConfig(size=(16, 16, 16))
    first, again = (PatchDataset(cases, config, AugmentConfig(), seed=1) for _ in range(2))
    other = PatchDataset(cases, config, AugmentConfig(), seed=2)
    for number in (0, 7, 1000):
        assert torch.equal(first[number][0], again[number][0])
        assert torch.equal(first[number][1], again[number][1])
    assert not torch.equal(first[0][0], other[0][0])
    assert not torch.equal(first[0][0], first[1][0])


def test_the_share_of_patches_on_tumour_is_the_one_asked_for():
    cases = [make_case(shape=(60, 200, 200), tumours=((30, 30, 30),)), make_case("empty", (60, 200, 200), ())]
    for share in (0.0, 0.5, 1.0):
        dataset = PatchDataset(cases, PatchConfig(size=(8, 8, 8), tumour_share=share, jitter=0.3), PLAIN, seed=0)
        found = np.mean([dataset[i][1].max().item() for i in range(200)])
        assert found == pytest.approx(share, abs=0.11)


def test_small_and_large_lesions_are_seen_equally_often():
    case = make_case(shape=(40, 80, 80), tumours=((10, 10, 10),), radius=1)
    big = np.argwhere(np.ones((20, 20, 20)))[::2] + np.array((15, 40, 40))
    rows = np.column_stack([np.full(len(big), 2), big]).astype(np.int32)
    both = PreparedCase("b", case.image, case.mask, np.concatenate([case.centres, rows]), case.places)
    dataset = PatchDataset([both], PatchConfig(size=(8, 8, 8), tumour_share=1.0, jitter=0), PLAIN, seed=0)
    small = np.mean([dataset[i][1].max().item() for i in range(200)])
    assert small == pytest.approx(0.5, abs=0.1)


def test_a_2d_patch_is_one_slice_through_the_tumour():
    dataset = PatchDataset([make_case()], PatchConfig(size=(32, 24), tumour_share=1.0, jitter=0.1), PLAIN, seed=0)
    for number in range(20):
        image, mask = dataset[number]
        assert image.shape == mask.shape == (1, 32, 24)
        assert mask.sum() > 0


def test_image_and_mask_are_cut_and_turned_together():
    case = make_case(shape=(40, 60, 60), tumours=((20, 30, 30),), radius=6)
    image = np.where(case.mask, 0.8, -0.8).astype(np.float16)
    augment = AugmentConfig(affine_p=1, noise_p=0, blur_p=0, contrast_p=0, intensity_p=0, thick_p=0)
    dataset = PatchDataset(
        [PreparedCase("a", image, case.mask, case.centres, case.places)],
        PatchConfig(size=(24, 24, 24), tumour_share=1),
        augment,
        0,
    )
    for number in range(10):
        patch, mask = dataset[number]
        bright = patch > 0
        assert mask.unique().tolist() in ([0, 1], [1])
        dice = 2 * (bright & (mask > 0)).sum() / (bright.sum() + mask.sum())
        assert dice > 0.93


def test_a_patch_stays_within_the_scan_as_the_tiles_of_predict_do():
    assert move_inside((0, 7, 99), (4, 5, 6), (10, 10, 100)).tolist() == [2, 7, 97]
    assert move_inside((9, 0), (4, 20), (10, 9)).tolist() == [8, 4]
    case = make_case(shape=(30, 40, 50), tumours=((3, 36, 46),))
    dataset = PatchDataset([case], PatchConfig(size=(16, 16, 16), tumour_share=1.0, jitter=0.5), PLAIN, seed=0)
    for number in range(20):
        patch = dataset[number][0].numpy()[0]
        # The values rise along every axis, so a mirrored part would fall.
        assert all((np.diff(patch, axis=axis) >= 0).all() for axis in range(3))
    whole = PatchDataset([case], PatchConfig(size=(30, 40, 50)), PLAIN, seed=0)[0][0]
    assert np.array_equal(whole.numpy()[0], case.image.astype(np.float32))


def test_beyond_the_faces_the_scan_is_mirrored_as_numpy_does():
    array = np.random.default_rng(0).random((5, 6, 7)).astype(np.float16)
    padded = np.pad(array, 4, mode="reflect").astype(np.float32)
    for start in ((-3, 1, 4), (0, 0, 0), (-4, -4, -4), (2, 3, 3)):
        box = cut(array, start, (6, 5, 7))
        z, y, x = (s + 4 for s in start)
        assert np.array_equal(box, padded[z : z + 6, y : y + 5, x : x + 7])
    assert np.array_equal(cut(array[:1], (-2, 0, 0), (4, 2, 2)), np.repeat(array[:1, :2, :2], 4, 0).astype(np.float32))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_process_gets_its_own_share_and_no_patch_comes_twice(world):
    seen: list[int] = []
    for epoch in range(3):
        for rank in range(world):
            sampler = EpochSampler(10, rank, world)
            sampler.set_epoch(epoch)
            numbers = list(sampler)
            assert len(numbers) == len(sampler) == 10
            seen += numbers
    assert sorted(seen) == list(range(30 * world))


def test_the_loader_serves_the_same_batches_with_and_without_processes():
    cases = [make_case()]
    batches = []
    for workers in (0, 2):
        config = PatchConfig(size=(16, 16, 16), batch=2, steps_per_epoch=3, workers=workers)
        batches.append(list(load_patches(PatchDataset(cases, config, AugmentConfig(), seed=3))))
    assert len(batches[0]) == 3
    assert batches[0][0][0].shape == (2, 1, 16, 16, 16)
    for (a, b), (c, d) in zip(*batches, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


@pytest.mark.parametrize(
    "settings", [{"size": (4, 16, 16)}, {"size": (16,)}, {"batch": 0}, {"tumour_share": 1.1}, {"jitter": 0.6}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(RecipeError, match="patch"):
        PatchConfig(**settings)


def test_what_is_not_to_be_learned_from_is_marked_and_no_patch_is_centred_there():
    case = make_case(tumours=())
    mask = case.mask.copy()
    mask[:, :, 25:] = IGNORED
    mask[10:20, 10:20, 22:28] = TUMOUR  # tumour counts wherever it is
    places = np.argwhere(mask != IGNORED).astype(np.int32)
    cases = [PreparedCase("a", case.image, mask, case.centres, places)]
    dataset = PatchDataset(cases, PatchConfig(size=(8, 8, 8)), AugmentConfig(affine_p=1, flip_p=0), 0)
    middles = []
    for number in range(60):
        _, patch = dataset[number]
        assert set(np.unique(patch.numpy())) <= {0, TUMOUR, IGNORED}
        middles.append(patch[0, 3:5, 3:5, 3:5].numpy() != IGNORED)
    assert all(middle.any() for middle in middles)
