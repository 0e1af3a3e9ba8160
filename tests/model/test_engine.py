"""Two engines, one answer; the OpenVINO model is made once, checked, and kept."""

from __future__ import annotations

import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

from tumorspread.errors import RecipeError, WeightsError
from tumorspread.model import conversion, engine
from tumorspread.model.conversion import load_openvino
from tumorspread.model.engine import TorchEngine, pick_engine
from tumorspread.model.predict import Predictor
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


@pytest.mark.skipif(not engine.has_bf16(), reason="this CPU has no bf16")
def test_bf16_is_near_and_not_the_same(tmp_path):
    network, info, path = make_weights(tmp_path)
    tiles = some_tiles(3)
    expected = TorchEngine(network, CPU)(tiles)
    found = pick_engine(network, info, path, CPU, precision="bf16")
    assert found.precision == "bf16"
    assert 0 < np.abs(found(tiles) - expected).max() < 0.05


def test_bf16_is_refused_where_the_cpu_does_not_have_it(tmp_path, monkeypatch):
    network, info, path = make_weights(tmp_path)
    monkeypatch.setattr(engine, "has_bf16", lambda: False)
    with pytest.raises(RecipeError, match="no bf16"):
        pick_engine(network, info, path, CPU, precision="bf16")
    assert pick_engine(network, info, path, CPU).precision == "fp32"


def test_as_many_threads_as_asked_for_and_by_default_as_many_as_torch_takes(tmp_path):
    network, info, path = make_weights(tmp_path)
    for asked, expected in ((None, torch.get_num_threads()), (1, 1), (2, 2)):
        compiled = pick_engine(network, info, path, CPU, threads=asked).compiled
        assert compiled.get_property("INFERENCE_NUM_THREADS") == expected


def test_tiles_of_another_size_get_a_model_of_their_own(tmp_path):
    network, info, path = make_weights(tmp_path)
    found = pick_engine(network, info, path, CPU, precision="fp32")
    tiles = np.random.default_rng(1).uniform(-1, 1, (2, 1, 24, 16, 32)).astype(np.float32)
    expected = TorchEngine(network, CPU)(tiles)
    assert np.abs(found(tiles) - expected).max() < 1e-4
    assert found.compiled_for((24, 16, 32)) is found.compiled_for((24, 16, 32))
    assert found.compiled_for((16, 16, 16)) is found.compiled
    kept = weakref.ref(found.compiled_for((24, 16, 32)))
    found.compiled_for((16, 16, 24))
    assert kept() is None
    assert np.abs(found(some_tiles(3)) - TorchEngine(network, CPU)(some_tiles(3))).max() < 1e-4


def test_nothing_is_made_before_the_first_tile(tmp_path):
    network, info, path = make_weights(tmp_path)
    pick_engine(network, info, path, CPU)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def answer(network, info, path):
    return pick_engine(network, info, path, CPU, precision="fp32")(some_tiles(3))


def test_the_model_is_made_once_for_each_weights_file_and_takes_the_place_of_the_last(tmp_path, monkeypatch):
    first = answer(*make_weights(tmp_path))
    kept = {p.name for p in tmp_path.iterdir()}
    assert len(kept) == 4
    again = make_weights(tmp_path, seed=1)
    other = answer(*again)
    assert not np.allclose(first, other, atol=1e-3)
    assert len(list(tmp_path.iterdir())) == 4
    assert {p.name for p in tmp_path.iterdir()} & kept == {"w.safetensors"}
    monkeypatch.setattr(conversion, "_convert", None)
    assert np.array_equal(other, answer(*again))


def test_the_model_of_other_weights_with_a_name_alike_stays(tmp_path):
    answer(*make_weights(tmp_path, seed=1, name="w.v2"))
    kept = {p.name for p in tmp_path.iterdir()}
    answer(*make_weights(tmp_path))
    assert kept < {p.name for p in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 8


def test_nothing_is_reported_to_anybody(tmp_path):
    """Of itself `import openvino` reports, and `openvino.convert_model` does."""
    _, _, path = make_weights(tmp_path)
    program = f"""
import openvino_telemetry
def tell(*args, **kwargs):
    print("reported", args[1:])
openvino_telemetry.Telemetry.send_event = openvino_telemetry.Telemetry.start_session = tell
import numpy as np
from tumorspread.model.predict import Predictor
print(Predictor({str(path)!r}, device="cpu").engine(np.zeros((1, 1, 16, 16, 16), np.float32)).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "(1, 1, 16, 16, 16)\n", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGUSR1")
def test_a_signal_after_two_engines_are_gone_does_not_kill_the_process(tmp_path):
    _, _, path = make_weights(tmp_path)
    program = f"""
import os, signal
import numpy as np
from tumorspread.model.predict import Predictor
first, second = (Predictor({str(path)!r}, device="cpu") for _ in range(2))
for one in (first, second):
    one.engine(np.zeros((1, 1, 16, 16, 16), np.float32))
del one, first
del second
signal.signal(signal.SIGUSR1, lambda *about: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize("suffix", [".xml", ".bin", ".json"])
@pytest.mark.parametrize("damage", ["cut", "zeros"])
def test_a_damaged_file_is_made_anew(tmp_path, suffix, damage):
    weights = make_weights(tmp_path)
    expected = answer(*weights)
    (file,) = tmp_path.glob(f"*{suffix}")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage == "cut" else bytes(len(content)))
    assert np.array_equal(expected, answer(*weights))
    assert conversion._is_whole(file.with_suffix(".xml"))


def test_a_wrong_conversion_is_an_error_and_nothing_is_kept(tmp_path, monkeypatch):
    network, info, path = make_weights(tmp_path)
    wrong, _, _ = make_weights(tmp_path, seed=5, name="wrong")
    convert = conversion._convert
    monkeypatch.setattr(conversion, "_convert", lambda _, tile: convert(wrong, tile))
    with pytest.raises(WeightsError, match="off; use --engine torch"):
        load_openvino(network, info, path)
    assert not list(tmp_path.glob("*openvino*"))


@pytest.mark.parametrize("error", [PermissionError("read-only"), RuntimeError("cannot open")])
def test_where_the_folder_of_the_weights_cannot_be_written_to_the_users_cache_keeps_the_model(
    tmp_path, monkeypatch, error
):
    weights = make_weights(tmp_path)
    keep = conversion._keep

    def keep_elsewhere(model, place):
        if place.parent == tmp_path:
            raise error
        keep(model, place)

    monkeypatch.setattr(conversion, "_keep", keep_elsewhere)
    monkeypatch.setattr(conversion, "user_cache_path", lambda name: tmp_path / "cache")
    expected = answer(*weights)
    assert [p.suffix for p in sorted((tmp_path / "cache").iterdir())] == [".bin", ".json", ".xml"]
    monkeypatch.setattr(conversion, "_convert", None)
    assert np.array_equal(expected, answer(*weights))


def test_where_nothing_can_be_kept_it_still_answers(tmp_path, monkeypatch):
    def refuse(model, place):
        raise PermissionError("read-only")

    monkeypatch.setattr(conversion, "_keep", refuse)
    assert answer(*make_weights(tmp_path)).shape == some_tiles(3).shape


def test_an_unknown_engine_or_a_device_it_does_not_have_is_refused(tmp_path):
    network, info, path = make_weights(tmp_path)
    with pytest.raises(RecipeError, match="expected auto, torch or openvino"):
        pick_engine(network, info, path, CPU, name="onnx")
    with pytest.raises(RecipeError, match="on the CPU, not on cuda"):
        pick_engine(network, info, path, torch.device("cuda"), name="openvino")
    assert pick_engine(network, info, path, CPU, name="torch").precision == "fp32"


def test_a_predictor_that_is_warm_has_its_model_compiled(tmp_path):
    _, _, path = make_weights(tmp_path)
    predictor = Predictor(path, device="cpu")
    assert "compiled" not in vars(predictor.engine)
    predictor.warm_up()
    assert "compiled" in vars(predictor.engine)
