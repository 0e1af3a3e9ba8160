"""From a scan to a mask: refusals, thresholds, the box about the lungs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.errors import ReadError, RecipeError
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.model.detect import box_of_lungs
from tumorspread.model.predict import CONTEXT, Predictor, pick_device
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.unet import UNet, UNetConfig
from tumorspread.model.weights import Provenance, WeightsInfo, save_weights
from tumorspread.scan.volume import Volume


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
    prepared = predictor.prepare(scan)
    about, lungs = predictor.look(prepared, sides)
    whole, none = predictor.look(prepared, None)
    assert none is None
    assert np.abs(about - whole)[lungs.room.lung].max() < 0.05  # tiles lie elsewhere, and see other neighbours
    box = box_of_lungs(lungs.near, CONTEXT, info.tile, network.config.stride)
    outside = np.ones(lungs.near.shape, bool)
    outside[box] = False
    assert outside.any()
    assert (about[outside] == 0).all()
    assert not lungs.near[outside].any()
    # Bone, by the window from -1000 to 400 HU.
    assert np.array_equal(lungs.room.dense, (prepared.voxels + 1) * 700 - 1000 >= 300)
    assert 0 < lungs.room.dense.mean() < 0.2
    narrow = replace(info, preprocess=replace(info.preprocess, window=(-1000.0, 200.0)))
    save_weights(network, narrow, tmp_path / "narrow.safetensors")
    predictor = Predictor(tmp_path / "narrow.safetensors", device="cpu")
    assert predictor.look(predictor.prepare(scan), sides)[1].room.dense is None


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
