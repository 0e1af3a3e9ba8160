"""Weights as an ONNX model, for runtimes that are not ours."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from tumorspread.errors import OutputError, TumorspreadError, WeightsError
from tumorspread.model.conversion import TOLERANCE, Probability, grainy_noise
from tumorspread.model.openvino import openvino_core
from tumorspread.model.unet import fold_norms
from tumorspread.model.weights import load_weights
from tumorspread.model.zoo import find_weights

# What ONNX Runtime, OpenVINO and TensorRT of the last years read.
OPSET = 17
INPUT, OUTPUT = "image", "probability"


def export_onnx(weights: str | Path, out: Path) -> None:
    """Write weights as ONNX: `image` (n, 1, *tile), -1 to 1, to `probability` of the same shape, 0 to 1.

    Under the key `tumorspread` of its metadata stands all of the weights file that is not a tensor, as JSON: how a scan
    becomes the input (`preprocess`), the `tile`, the `threshold`. The file appears whole or not at all.

    Args:
        weights: the weights file, or the name of weights that come with the package.
        out: the file to write.

    Raises:
        TumorspreadError: the package `onnx` is not installed.
        WeightsError: the weights cannot be read, or the model's answers are not those of the network.
        OutputError: `out` cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise TumorspreadError("ONNX needs its package; install it with `pip install tumorspread[onnx]`") from error
    network, info = load_weights(find_weights(weights))
    whole = Probability(fold_norms(network)).eval()
    noise = grainy_noise(info.tile)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".onnx.") as folder:
            made = Path(folder) / out.name
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on shapes that are fixed on purpose, and on the exporter's age
                torch.onnx.export(
                    whole, (torch.from_numpy(noise),), str(made), input_names=[INPUT], output_names=[OUTPUT],
                    dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}}, opset_version=OPSET, dynamo=False,
                )  # fmt: skip
                expected = whole(torch.from_numpy(noise)).numpy()
            model = onnx.load(str(made))
            onnx.helper.set_model_props(model, {"tumorspread": json.dumps(asdict(info))})
            onnx.checker.check_model(model)
            onnx.save(model, str(made))
            _check(made, noise, expected)
            os.replace(made, out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error


def _check(model: Path, noise: np.ndarray, expected: np.ndarray) -> None:
    """Hold what another program makes of the file against torch's answer."""
    compiled = openvino_core().compile_model(str(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    apart = float(np.abs(compiled(noise)[0] - expected).max())
    if not apart <= TOLERANCE:
        raise WeightsError(f"the ONNX model of these weights answers up to {apart:.2g} off; please report it")
