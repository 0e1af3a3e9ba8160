from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.errors import ReadError, RecipeError
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.measurement.room import REACH_MM
from tumorspread.model.detect import box_of_lungs
from tumorspread.model.engine import TorchEngine
from tumorspread.model.predict import CONTEXT, Predictor, pick_device, slide
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.tiles import tile_places
from tumorspread.model.unet import UNet, UNetConfig
from tumorspread.model.weights import Provenance, WeightsInfo, save_weights
from tumorspread.scan.volume import Volume

CPU = torch.device("cpu")


@given(
    shape=st.tuples(*[st.integers(16, 70)] * 3),
    window=st.tuples(*[st.sampled_from([8, 16])] * 3),
    overlap=st.floats(0, 0.8),
)
def test_tiles_cover_every_voxel_stay_inside_and_overlap_as_asked(shape, window, overlap):
    covered = np.zeros(shape, int)
    starts = [set(), set(), set()]
    for place in tile_places(shape, window, overlap):
        assert all(s.start >= 0 and s.stop <= n for s, n in zip(place, shape, strict=True))
        covered[place] += 1
        for axis in range(3):
            starts[axis].add(place[axis].start)
    assert covered.min() >= 1
    for axis in range(3):
        steps = np.diff(sorted(starts[axis]))
        assert (steps <= max(1, round(window[axis] * (1 - overlap)))).all()


class Local(torch.nn.Module):
    """A network whose answer at a voxel depends on that voxel alone: tiling must not change it."""

    def forward(self, x):
        return 3 * x + 0.5


class Place(torch.nn.Module):
    """A network that answers by the place in its window: shows the blending weights."""

    def forward(self, x):
        ramp = torch.linspace(-4, 4, x.shape[-1])
        return ramp.expand_as(x)


@pytest.mark.parametrize("shape", [(20, 33, 41), (9, 40, 17), (16, 16, 16), (3, 5, 2)])
@pytest.mark.parametrize("tile", [(16, 16, 16), (16, 16)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_a_network_that_looks_at_one_voxel_gives_the_same_in_tiles(shape, tile, overlap):
    scan = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    expected = 1 / (1 + np.exp(-(3 * scan + 0.5)))
    found = slide(TorchEngine(Local(), CPU), scan, tile, overlap=overlap)
    assert found.shape == shape
    assert np.allclose(found, expected, atol=1e-6)


def test_a_whole_scan_in_one_tile_is_the_network_itself():
    torch.manual_seed(0)
    network = UNet(UNetConfig(dims=3, widths=(4, 8))).eval()
    scan = np.random.default_rng(0).uniform(-1, 1, (16, 24, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(scan)[None, None]).sigmoid()[0, 0].numpy()
    assert np.allclose(slide(TorchEngine(network, CPU), scan, scan.shape, overlap=0.5), expected, atol=1e-6)


def test_blending_agrees_with_monai_on_the_same_tiles():
    """Edges that are a multiple of the step give MONAI's tiles; its Gaussian is an eighth of the edge too."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(dims=3, widths=(4, 8))).eval()
    scan = np.random.default_rng(0).uniform(-1, 1, (32, 40, 24)).astype(np.float32)
    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(scan)[None, None], (16, 16, 16), 1, lambda x: network(x).sigmoid(), overlap=0.5,
            mode="gaussian", sigma_scale=0.125,
        )[0, 0].numpy()  # fmt: skip
    found = slide(TorchEngine(network, CPU), scan, (16, 16, 16), overlap=0.5)
    assert np.abs(found - expected).max() < 2e-3


def test_the_middle_of_a_tile_outweighs_its_border():
    """Two windows that half overlap: where one is at its right border and the other in its middle, the middle wins."""
    found = slide(TorchEngine(Place(), CPU), np.zeros((16, 16, 24), np.float32), (16, 16, 16), overlap=0.5)[8, 8]
    middle_of_second = 1 / (1 + np.exp(-np.linspace(-4, 4, 16)[7]))
    assert abs(found[15] - middle_of_second) < 0.05


@pytest.mark.parametrize("tile", [(16, 16, 16), (16, 16)])
def test_mirrored_predictions_turn_with_the_scan(tile):
    """With all flips averaged, the flipped scan's answer is the flipped answer; without, it is not."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(dims=len(tile), widths=(4, 8))).eval()
    scan = np.random.default_rng(0).uniform(-1, 1, (16, 16, 16)).astype(np.float32)
    turned = np.ascontiguousarray(scan[:, :, ::-1])
    for mirror in (True, False):
        first, second = (slide(TorchEngine(network, CPU), s, tile, overlap=0, mirror=mirror) for s in (scan, turned))
        assert np.allclose(first[:, :, ::-1], second, atol=1e-5) == mirror


def test_progress_counts_every_tile():
    calls = []
    slide(TorchEngine(Local(), CPU), np.zeros((20, 20, 20), np.float32), (16, 16, 16), overlap=0,
          progress=lambda done, total: calls.append((done, total)))  # fmt: skip
    assert calls[-1] == (8, 8)


def gray_weights(tmp_path, intensity="gray"):
    info = WeightsInfo(
        unet=UNetConfig(dims=2, widths=(4, 8)),
        preprocess=PreprocessConfig(size_yx=(32, 32), window=(0, 1), intensity=intensity),
        tile=(32, 32), threshold=0.5, provenance=Provenance("x"),
    )  # fmt: skip
    save_weights(UNet(info.unet), info, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_the_threshold_moves_the_mask_and_zero_is_everything(tmp_path):
    predictor = Predictor(gray_weights(tmp_path), device="cpu")
    scan = Volume(np.random.default_rng(0).random((3, 20, 30)), np.diag([1.0, 1, 1, 1]))
    sizes = [predictor.mask(scan, threshold=t)[0].voxels.sum() for t in (1e-6, 0.3, 0.5, 0.7, 0.9999)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == scan.voxels.size
    probability = predictor.probability(scan)
    assert probability.same_grid(scan)
    assert np.array_equal(probability.voxels > 0.5, predictor.mask(scan)[0].voxels)


def test_a_ct_is_refused_by_weights_for_grey_images_and_the_other_way_round(tmp_path):
    scan = Volume(np.full((24, 64, 64), -800, np.int16), np.diag([2.0, 2, 2, 1]))
    with pytest.raises(ReadError, match="grey images"):
        Predictor(gray_weights(tmp_path), device="cpu").mask(scan)
    gray = Volume(np.random.default_rng(0).random((24, 64, 64)), np.diag([2.0, 2, 2, 1]))
    with pytest.raises(ReadError, match="HU"):
        Predictor(gray_weights(tmp_path, "hu"), device="cpu").mask(gray)


def test_an_unknown_device_and_a_wrong_overlap_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="device"):
        pick_device("quantum")
    with pytest.raises(RecipeError, match="overlap"):
        Predictor(gray_weights(tmp_path), overlap=1.0)


def test_the_answer_in_the_box_about_the_lungs_is_that_of_the_whole_scan(tmp_path):
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(4, 8)))
    info = WeightsInfo(network.config, PreprocessConfig((6.0, 6.0, 6.0)), (16, 16, 16), 0.5, Provenance("x"))
    save_weights(network, info, tmp_path / "w.safetensors")
    predictor = Predictor(tmp_path / "w.safetensors", device="cpu", overlap=0.5)
    chest = make_phantom(3, PhantomConfig(spacing_mm=(6.0, 6.0, 6.0), vessels=4)).scan
    scan = Volume(np.pad(chest.voxels, ((0, 0), (20, 0), (0, 20)), constant_values=-1000), chest.affine)
    sides = segment_lungs(scan).labels
    about, _, lungs = predictor.look(scan, sides)
    far_mm = lungs.far_mm
    whole, _, none = predictor.look(scan, None)
    assert none is None
    assert np.abs(about - whole)[far_mm == 0].max() < 0.05  # tiles lie elsewhere, and see other neighbours
    box = box_of_lungs(far_mm, CONTEXT, info.tile)
    outside = np.ones(far_mm.shape, bool)
    outside[box] = False
    assert outside.any()
    assert (about[outside] == 0).all()
    assert (far_mm[outside] > REACH_MM).all()


def test_weights_that_know_lungs_alone_refuse_a_scan_without_and_mask_what_detect_finds(tmp_path):
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(4, 8)))
    recipe = {"patch": {"lungs_only": True}}
    info = WeightsInfo(
        network.config, PreprocessConfig((6.0, 6.0, 6.0)), (16, 16, 16), 0.02, Provenance("x", recipe=recipe)
    )
    save_weights(network, info, tmp_path / "w.safetensors")
    predictor = Predictor(tmp_path / "w.safetensors", device="cpu")
    phantom = make_phantom(3, PhantomConfig(spacing_mm=(6.0, 6.0, 6.0), vessels=4)).scan
    mask, remarks = predictor.mask(phantom)
    found = predictor.detect(phantom, segment_lungs(phantom).labels)
    assert np.array_equal(mask.voxels, found.mask.voxels)
    assert remarks == found.remarks
    sides = segment_lungs(phantom).labels
    water = phantom.with_voxels(np.where((sides > 0) | (phantom.voxels > -700), 40, phantom.voxels).astype(np.int16))
    with pytest.raises(ReadError, match=r"no lungs were found"):
        predictor.mask(water)
