"""int8 is kept where it gives the same answer on real scans, and only there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.model.test_engine import make_weights, some_tiles

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.errors import RecipeError, TumorspreadError, WeightsError
from tumorspread.model import quantise as module
from tumorspread.model.engine import OpenVinoEngine, pick_engine
from tumorspread.model.predict import Predictor
from tumorspread.model.quantise import Checked, compare, quantise
from tumorspread.scan.nifti import write_nifti

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for seed in (1, 2, 3):
        config = PhantomConfig(spacing_mm=(8.0, 8.0, 8.0), vessels=2, diameter_mm=(30.0, 46.0))
        write_nifti(make_phantom(seed, config).scan, folder / f"{seed}.nii.gz")
    return sorted(folder.iterdir())


def test_masks_are_compared_by_dice_and_by_lesions():
    exact = np.zeros((4, 20, 20), bool)
    exact[:, 2:12, 2:12] = True
    near, more = exact.copy(), exact.copy()
    near[0, 2, 2] = False
    more[0, 18, 18] = True
    assert compare("a", exact, exact) == Checked("a", 1.0, True)
    assert compare("a", exact, near) == Checked("a", 2 * 399 / 799, True)
    assert compare("a", exact, more) == Checked("a", 2 * 400 / 801, False)
    assert not compare("a", more, exact).holds
    assert compare("a", exact, near).holds
    empty = np.zeros_like(exact)
    assert compare("a", empty, empty) == Checked("a", 1.0, True)
    assert compare("a", empty, exact) == Checked("a", 0.0, False)


def test_what_holds_is_kept_and_computes_in_int8(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST_DICE", 0.5)  # of an untrained network, whose mask is noise
    monkeypatch.setattr(module, "_meet", lambda mask, other: True)
    network, info, path = make_weights(tmp_path)
    with pytest.raises(WeightsError, match=r"no int8 model was made of w\.safetensors yet"):
        pick_engine(network, info, path, CPU, precision="int8")
    steps = []
    place, checks = quantise(path, scans, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert [one.scan for one in checks] == ["2.nii.gz"]
    assert place.parent == tmp_path
    assert "int8" in place.name
    engine = pick_engine(network, info, path, CPU, precision="int8")
    assert (engine.name, engine.precision) == ("openvino", "int8")
    kinds = {op.get_type_name() for op in engine.load().get_ops()}
    assert "FakeQuantize" in kinds
    exact = pick_engine(network, info, path, CPU, precision="fp32")(some_tiles(3))
    assert 0 < np.abs(engine(some_tiles(3)) - exact).mean() < 0.05
    assert Predictor(path, device="cpu", precision="int8").engine.precision == "int8"
    with pytest.raises(RecipeError, match="int8 is computed by the OpenVINO engine"):
        pick_engine(network, info, path, CPU, name="torch", precision="int8")


def test_what_does_not_hold_is_refused_and_nothing_is_kept(scans, tmp_path, monkeypatch):
    def worse(self, tiles):
        return 1 - answer(self, tiles) if self.asked == "int8" else answer(self, tiles)

    answer = OpenVinoEngine.__call__
    monkeypatch.setattr(OpenVinoEngine, "__call__", worse)
    _, _, path = make_weights(tmp_path)
    with pytest.raises(WeightsError, match=r"int8 does not hold on 1 of 1 scans: 2.nii.gz has Dice 0"):
        quantise(path, scans)
    assert not list(tmp_path.glob("*int8*"))


def test_one_scan_is_too_few(scans, tmp_path):
    _, _, path = make_weights(tmp_path)
    with pytest.raises(TumorspreadError, match="two scans"):
        quantise(path, scans[:1])


def test_nothing_is_reported_to_anybody(scans, tmp_path):
    _, _, path = make_weights(tmp_path)
    program = f"""
import openvino_telemetry
def refuse(*args, **kwargs):
    print("telemetry was started")
openvino_telemetry.Telemetry.send_event = openvino_telemetry.Telemetry.start_session = refuse
from pathlib import Path
from tumorspread.model import quantise as module
module._meet, module.LEAST_DICE = lambda a, b: True, 0.0
place, _ = module.quantise(Path({str(path)!r}), [Path(p) for p in {[str(s) for s in scans]!r}])
print("kept", place.is_file())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout == "kept True\n", done.stderr


def test_without_nncf_one_line_says_what_to_install(scans, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    _, _, path = make_weights(tmp_path)
    with pytest.raises(TumorspreadError, match=r"pip install tumorspread\[int8\]"):
        quantise(path, scans)
    assert not list(Path(tmp_path).glob("*int8*"))
