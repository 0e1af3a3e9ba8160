"""Four small phantoms, weights for them, and the command in this process."""

from __future__ import annotations

import json
import sys

import pytest

from tumorspread.cli import main
from tumorspread.data.phantom import PhantomConfig
from tumorspread.data.phantom_set import write_phantoms

COARSE = PhantomConfig(spacing_mm=(8.0, 8.0, 8.0), vessels=2, tumours=(2, 2), diameter_mm=(34.0, 46.0))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Four small phantoms with a split."""
    folder = write_phantoms(tmp_path_factory.mktemp("cli") / "data", 4, config=COARSE)
    names = [f"phantom_{i:03}" for i in range(4)]
    split = {"train": names[:2], "val": names[2:3], "test": names[3:]}
    (folder / "splits.json").write_text(json.dumps({"kind": "holdout", "seed": 0, "splits": [split]}))
    return folder


@pytest.fixture(scope="session")
def weights(data):
    import torch

    from tumorspread.model.preprocess import PreprocessConfig
    from tumorspread.model.unet import UNet, UNetConfig
    from tumorspread.model.weights import Provenance, WeightsInfo, save_weights

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = UNetConfig(dims=3, widths=(4, 8), convolutions=1)
    info = WeightsInfo(config, PreprocessConfig(spacing_mm=(8.0, 8.0, 8.0)), (16, 16, 16), 0.5, Provenance("x"))
    save_weights(UNet(config), info, data.parent / "weights.safetensors")
    return data.parent / "weights.safetensors"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process: exit code, stdout, stderr."""

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["tumorspread", *map(str, argv)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return call
