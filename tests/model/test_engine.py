"""Two engines, one answer; the OpenVINO model is made once, checked, and kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tumorspread.errors import RecipeError, WeightsError
from tumorspread.model import engine as module
from tumorspread.model.engine import OpenVinoEngine, TorchEngine, openvino_model, pick_engine
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.unet import UNet, UNetConfig, fold_norms
from tumorspread.model.weights import Provenance, WeightsInfo, load_weights, save_weights

CPU = torch.device("cpu")


def make_weights(folder, *, dims=3, norm="batch", seed=0, name="w"):
    """Weights of a network whose norms have seen something and whose answers are not all alike."""
    torch.manual_seed(seed)
    network = UNet(UNetConfig(dims=dims, widths=(4, 8, 8), norm=norm)).train()
    for _ in range(3):
        network(torch.randn(2, 1, *(16,) * dims))
    with torch.no_grad():
        network.heads[-1].weight.mul_(60)
        network.heads[-1].bias.zero_()
    info = WeightsInfo(network.config, PreprocessConfig(), (16,) * dims, 0.5, Provenance("a test"))
    path = folder / f"{name}.safetensors"
    save_weights(network, info, path)
    loaded, info = load_weights(path)
    return fold_norms(loaded.eval()), info, path


def some_tiles(dims, count=3):
    return np.random.default_rng(0).uniform(-1, 1, (count, 1, *(16,) * dims)).astype(np.float32)


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("dims", [2, 3])
def test_openvino_answers_as_torch_does(dims, norm, tmp_path):
    network, info, path = make_weights(tmp_path, dims=dims, norm=norm)
    tiles = some_tiles(dims)
    expected = TorchEngine(network, CPU)(tiles)
    assert expected.std() > 0.02
    found = pick_engine(network, info, path, CPU, precision="fp32")
    assert found.name == "openvino"
    answer = found(tiles)
    assert answer.shape == tiles.shape
    assert answer.dtype == np.float32
    assert np.abs(answer - expected).max() < 1e-4


def test_bf16_is_near_and_not_the_same(tmp_path):
    network, info, path = make_weights(tmp_path)
    tiles = some_tiles(3)
    expected = TorchEngine(network, CPU)(tiles)
    found = pick_engine(network, info, path, CPU, precision="bf16")
    apart = np.abs(found(tiles) - expected).max()
    assert found.precision == "bf16"
    assert apart < 0.05
    assert apart > 0 or not module.has_bf16()


def test_the_model_is_made_once_for_each_weights_file(tmp_path, monkeypatch):
    network, info, path = make_weights(tmp_path)
    first = OpenVinoEngine(openvino_model(network, info, path), "fp32")(some_tiles(3))
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert len(kept) == 3
    other_network, other_info, other_path = make_weights(tmp_path, seed=1)
    other = OpenVinoEngine(openvino_model(other_network, other_info, other_path), "fp32")(some_tiles(3))
    assert not np.allclose(first, other, atol=1e-3)
    monkeypatch.setattr(module, "_convert", None)
    again = OpenVinoEngine(openvino_model(other_network, other_info, other_path), "fp32")(some_tiles(3))
    assert np.array_equal(other, again)


def test_nothing_is_reported_to_anybody(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("OpenVINO's telemetry was started")

    monkeypatch.setattr("openvino_telemetry.Telemetry.__init__", refuse)
    network, info, path = make_weights(tmp_path)
    pick_engine(network, info, path, CPU, name="openvino")(some_tiles(3))


def test_a_damaged_file_is_made_anew(tmp_path):
    network, info, path = make_weights(tmp_path)
    expected = OpenVinoEngine(openvino_model(network, info, path), "fp32")(some_tiles(3))
    for file in tmp_path.glob("*.xml"):
        file.write_text(file.read_text()[:500])
    again = OpenVinoEngine(openvino_model(network, info, path), "fp32")(some_tiles(3))
    assert np.array_equal(expected, again)


def test_a_wrong_conversion_is_an_error_and_nothing_is_kept(tmp_path, monkeypatch):
    network, info, path = make_weights(tmp_path)
    wrong, _, _ = make_weights(tmp_path, seed=5, name="wrong")
    convert = module._convert
    monkeypatch.setattr(module, "_convert", lambda _, tile: convert(wrong, tile))
    with pytest.raises(WeightsError, match="off; use --engine torch"):
        openvino_model(network, info, path)
    assert not list(tmp_path.glob("*openvino*"))


def test_where_the_weights_lie_in_a_folder_that_cannot_be_written_to_the_users_cache_keeps_the_model(
    tmp_path, monkeypatch
):
    network, info, path = make_weights(tmp_path)
    keep = module._keep

    def keep_elsewhere(model, target):
        if target.parent == tmp_path:
            raise PermissionError("read-only")
        keep(model, target)

    monkeypatch.setattr(module, "_keep", keep_elsewhere)
    monkeypatch.setattr(module, "user_cache_path", lambda name: tmp_path / "cache")
    openvino_model(network, info, path)
    assert [p.suffix for p in sorted((tmp_path / "cache").iterdir())] == [".bin", ".xml"]
    monkeypatch.setattr(module, "_convert", None)
    openvino_model(network, info, path)


def test_an_unknown_engine_or_a_device_it_does_not_have_is_refused(tmp_path):
    network, info, path = make_weights(tmp_path)
    with pytest.raises(RecipeError, match="expected auto, torch or openvino"):
        pick_engine(network, info, path, CPU, name="onnx")
    with pytest.raises(RecipeError, match="on the CPU, not on cuda"):
        pick_engine(network, info, path, torch.device("cuda"), name="openvino")
    assert pick_engine(network, info, path, CPU, name="torch").precision == "fp32"
