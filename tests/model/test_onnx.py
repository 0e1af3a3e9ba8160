"""The ONNX model answers as the network does, in another program."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from tests.model.test_engine import make_weights, some_tiles

from tumorspread.errors import OutputError, TumorspreadError, WeightsError
from tumorspread.model import onnx as module
from tumorspread.model.engine import TorchEngine
from tumorspread.model.onnx import export_onnx
from tumorspread.model.openvino import openvino_core


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of ONNX's own sigmoid
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("dims", [2, 3])
def test_two_other_programs_give_the_networks_answer(dims, norm, tmp_path):
    network, _, path = make_weights(tmp_path, dims=dims, norm=norm)
    export_onnx(path, tmp_path / "w.onnx")
    tiles = some_tiles(dims)
    expected = TorchEngine(network, torch.device("cpu"))(tiles)
    assert expected.std() > 0.02
    compiled = openvino_core().compile_model(str(tmp_path / "w.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(tiles)[0] - expected).max() < 1e-4
    (reference,) = ReferenceEvaluator(str(tmp_path / "w.onnx")).run(None, {"image": tiles[:1]})
    assert np.abs(reference - expected[:1]).max() < 1e-4


def test_its_metadata_say_what_goes_in(tmp_path):
    _, info, path = make_weights(tmp_path)
    export_onnx(path, tmp_path / "w.onnx")
    (entry,) = onnx.load(str(tmp_path / "w.onnx")).metadata_props
    about = json.loads(entry.value)
    assert entry.key == "tumorspread"
    assert about["preprocess"]["spacing_mm"] == list(info.preprocess.spacing_mm)
    assert (about["tile"], about["threshold"], about["sha256"]) == ([16, 16, 16], 0.5, info.sha256)


def test_a_model_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    _, _, path = make_weights(tmp_path)
    with pytest.raises(WeightsError, match="answers up to"):
        export_onnx(path, tmp_path / "out" / "w.onnx")
    assert not list((tmp_path / "out").iterdir())


def test_refusals_have_one_clear_reason(tmp_path, monkeypatch):
    _, _, path = make_weights(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        export_onnx(path, tmp_path / "file" / "w.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(TumorspreadError, match=r"pip install tumorspread\[onnx\]"):
        export_onnx(path, tmp_path / "w.onnx")
