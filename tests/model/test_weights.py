from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from tumorspread.errors import OutputError, WeightsError
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.unet import UNet, UNetConfig
from tumorspread.model.weights import Provenance, WeightsInfo, average_weights, load_weights, save_weights


def tiny_info(**changes) -> WeightsInfo:
    info = WeightsInfo(
        unet=UNetConfig(dims=3, widths=(4, 8)),
        preprocess=PreprocessConfig(spacing_mm=(2, 2, 2)),
        tile=(16, 16, 16),
        threshold=0.4,
        provenance=Provenance("Phantoms", ("a", "b"), ("c",), epoch=3, val_dice=0.5, recipe={"seed": 1}),
    )
    return replace(info, **changes)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    save_weights(UNet(tiny_info().unet), tiny_info(), path)
    return path


def test_network_and_description_come_back_as_they_were(weights):
    torch.manual_seed(0)
    before = UNet(tiny_info().unet).state_dict()
    network, info = load_weights(weights)
    assert replace(info, sha256="", name="") == tiny_info()
    assert info.name == "w.safetensors"
    assert len(info.sha256) == 64
    assert not network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_saving_leaves_nothing_but_the_file_and_replaces_the_old_one(weights):
    save_weights(UNet(tiny_info().unet), tiny_info(threshold=0.7), weights)
    assert [p.name for p in weights.parent.iterdir()] == ["w.safetensors"]
    assert load_weights(weights)[1].threshold == 0.7


@pytest.mark.parametrize("keep", [0, 1, 7, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_line(weights, keep):
    content = weights.read_bytes()
    weights.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(WeightsError, match=r"w\.safetensors") as caught:
        load_weights(weights)
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "w.safetensors")
    torch.save({"a": Bomb()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "w.pt")
    assert not (tmp_path / "exploded").exists()


def header(**changes):
    info = json.loads(json.dumps({
        "unet": {"dims": 3, "widths": [4, 8]}, "preprocess": {}, "tile": [16, 16, 16], "threshold": 0.5,
        "provenance": {"data": "x"},
    }))  # fmt: skip
    return {"format": "tumorspread-weights-1", "info": json.dumps(info | changes)}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "format"),
        ({"format": "tumorspread-weights-9"}, "format"),
        ({"format": "tumorspread-weights-1"}, "description"),
        (header(threshold=2.0), "threshold"),
        (header(tile=[15, 16, 16]), "multiple"),
        (header(unet={"dims": 4, "widths": [4, 8]}), "description"),
        (header(unet={"dims": 3, "widths": [4, 8], "evil": 1}), "description"),
        (header(unet={"dims": 3, "widths": [4, 16]}), "fit"),
    ],
)
def test_a_foreign_or_contradictory_file_is_refused(tmp_path, metadata, reason):
    path = tmp_path / "w.safetensors"
    save_file(UNet(UNetConfig(dims=3, widths=(4, 8))).state_dict(), path, metadata)
    with pytest.raises(WeightsError, match=reason):
        load_weights(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    network = UNet(tiny_info().unet)
    with torch.no_grad():
        next(network.parameters())[0] = float("nan")
    save_weights(network, tiny_info(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="finite"):
        load_weights(tmp_path / "w.safetensors")


def test_a_missing_file_and_an_unwritable_place_are_said(tmp_path):
    with pytest.raises(WeightsError, match="no such"):
        load_weights(tmp_path / "none.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_weights(UNet(tiny_info().unet), tiny_info(), tmp_path / "file" / "w.safetensors")


def test_a_mean_is_that_of_each_number_with_the_cases_of_all(tmp_path):
    paths, states = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        network = UNet(tiny_info().unet)
        network(torch.randn(2, 1, 16, 16, 16))  # the norms count their steps and move
        paths.append(tmp_path / f"{seed}.safetensors")
        cases = ("a", f"case{seed}")
        save_weights(network, tiny_info(provenance=Provenance(f"set{seed // 2}", cases, ("v",))), paths[-1])
        states.append(network.state_dict())
    network, info = average_weights(paths)
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, sum(state[key] for state in states) / 3, atol=1e-6)
        else:
            assert torch.equal(value, states[-1][key])
    assert info.provenance.train_cases == ("a", "case0", "case1", "case2")
    assert (info.provenance.val_cases, info.provenance.data) == (("v",), "set0 + set1")
    assert info.detection is None


def test_a_mean_of_one_or_of_different_networks_is_refused(weights, tmp_path):
    with pytest.raises(WeightsError, match="two weights files"):
        average_weights([weights])
    other = tiny_info(unet=UNetConfig(dims=3, widths=(4, 12)))
    save_weights(UNet(other.unet), other, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"w\.safetensors is of another network or preprocessing than other"):
        average_weights([weights, tmp_path / "other.safetensors"])
    with pytest.raises(WeightsError, match="no such"):
        average_weights([weights, tmp_path / "missing.safetensors"])
