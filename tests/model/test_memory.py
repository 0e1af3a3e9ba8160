"""The windows of the network are as large as the memory that it was given, and no larger."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.model.test_engine import some_tiles
from torch import nn

from tumorspread.errors import RecipeError, TumorspreadError
from tumorspread.model import memory
from tumorspread.model.engine import TorchEngine
from tumorspread.model.memory import AFTERWARDS_GIB, most_voxels, peak_gib
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.unet import UNet, UNetConfig
from tumorspread.model.weights import Provenance, WeightsInfo, save_weights

TILE = (80, 80, 80)


@pytest.fixture
def _holds_half_a_gib(monkeypatch):
    held = SimpleNamespace(rss=2**29)
    monkeypatch.setattr(memory.psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: held))


@pytest.mark.usefixtures("_holds_half_a_gib")
def test_what_is_left_beside_the_grid_is_the_windows():
    grid = (128, 128, 128)  # four float32 arrays of it are 32 MiB
    left = 2 - 0.5 - 2**25 / 2**30 - AFTERWARDS_GIB
    voxels = most_voxels(2.0, grid, TILE, channels=16, precision="fp32")
    assert voxels == pytest.approx(left * 2**30 / (5 * 16 * 4), abs=1)
    assert most_voxels(2.0, grid, TILE, channels=16, precision="bf16") == pytest.approx(2 * voxels, abs=2)


@pytest.mark.usefixtures("_holds_half_a_gib")
def test_too_little_is_refused_and_what_is_named_instead_is_enough():
    with pytest.raises(RecipeError, match=r"give --max-ram (0\.9) or more"):
        most_voxels(0.6, (128, 128, 128), TILE, channels=16, precision="fp32")
    assert most_voxels(0.9, (128, 128, 128), TILE, channels=16, precision="fp32") >= 80**3


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_process_keeps_below_what_it_was_given(engine, tmp_path):
    config = UNetConfig(widths=(16, 32, 64))
    info = WeightsInfo(config, PreprocessConfig(), (48, 48, 48), 0.5, Provenance("x"))
    save_weights(UNet(config), info, tmp_path / "w.safetensors")
    program = f"""
import sys
import numpy as np
from tumorspread.model.memory import peak_gib
from tumorspread.model.predict import Predictor
seen = []
gib = float(sys.argv[1]) or None
predictor = Predictor({str(tmp_path / "w.safetensors")!r}, device="cpu", engine={engine!r}, precision="fp32",
                      threads=1, max_ram_gib=gib, overlap=0.25)
answer = predictor.engine.__class__.__call__
predictor.engine.__class__.__call__ = lambda self, tiles: seen.append(tiles.size) or answer(self, tiles)
predictor._slide(np.zeros((112, 112, 112), np.float32), None)
print(max(seen), peak_gib())
"""
    figures = []
    for gib in ("0", "0.9"):
        done = subprocess.run([sys.executable, "-c", program, gib], capture_output=True, text=True, timeout=120)
        figures.append([float(part) for part in done.stdout.split()] or pytest.fail(done.stderr))
    (most, _), (fewer, peak) = figures
    assert most == 112**3
    assert 48**3 <= fewer < most
    assert peak <= 0.9


class Narrow(nn.Module):
    """A network for whose GPU two tiles at once are too many."""

    def __init__(self, most):
        super().__init__()
        self.most, self.seen = most, []

    def forward(self, tiles):
        self.seen.append(len(tiles))
        if len(tiles) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tiles * 2


def test_a_batch_too_large_for_the_gpu_is_halved_until_it_fits_and_nothing_is_lost():
    tiles = some_tiles(3, count=5)
    network = Narrow(2)
    found = TorchEngine(network, torch.device("cpu"))(tiles)
    assert np.array_equal(found, torch.from_numpy(tiles * 2).sigmoid().numpy())
    assert network.seen == [5, 2, 3, 1, 2]
    with pytest.raises(TumorspreadError, match=r"too little for a window of \(16, 16, 16\)"):
        TorchEngine(Narrow(0), torch.device("cpu"))(tiles)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own figure is taken")
def test_the_peak_is_of_this_process_and_not_of_the_one_that_started_it():
    held = np.ones(2**27)  # 1 GiB
    program = "from tumorspread.model.memory import peak_gib; print(peak_gib())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert 0.01 < float(done.stdout) < 0.9, done.stderr
    assert peak_gib() > held.nbytes / 2**30
