"""Weights as an OpenVINO model: made of the torch network once, held against its answers, and kept in files.

The files lie beside the weights, or in the user's cache where that folder cannot be written to. Their name holds the
hash of the weights; a third file with the hashes of the two is written last, and what does not agree is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor, nn

from tumorspread.errors import OutputError, WeightsError
from tumorspread.model.openvino import import_openvino, openvino_core
from tumorspread.model.unet import UNet
from tumorspread.model.weights import WeightsInfo

log = logging.getLogger(__name__)

# Of what is kept; another one is another model.
LAYOUT = 1
# How far a probability of the two may differ, both in fp32, on noise; 1e-5 was measured.
TOLERANCE = 1e-3
MARK = "openvino"
INT8 = "-int8"


def load_openvino(network: UNet, info: WeightsInfo, weights: Path) -> Any:
    """The OpenVINO model of weights, (n, 1, *tile) to probabilities: from its files, or made, checked and kept.

    Args:
        network: the weights' network on the CPU, in evaluation mode.
        info: of the weights.
        weights: their file.

    Raises:
        WeightsError: the model's answers are not those of `network`.
    """
    places = _places(info, weights)
    kept = _read(places)
    if kept is not None:
        return kept
    model = _convert(network, info.tile)
    _check(model, network, info.tile)
    _keep_in_one(model, places)
    _remove_older(weights, places[0].stem)
    return model


def load_int8(info: WeightsInfo, weights: Path) -> Any:
    """The int8 model that `keep_int8` kept.

    Raises:
        WeightsError: none was made of these weights.
    """
    kept = _read(_places(info, weights, INT8))
    if kept is None:
        raise WeightsError(f"no int8 model was made of {weights.name} yet; `tumorspread quantise` makes it")
    return kept


def keep_int8(model: Any, info: WeightsInfo, weights: Path) -> Path:
    """Keep an int8 model of weights where `load_int8` finds it; gives its file.

    Raises:
        OutputError: neither the weights' folder nor the user's cache can be written to.
    """
    place = _keep_in_one(model, _places(info, weights, INT8))
    if place is None:
        raise OutputError(f"the int8 model can be written neither beside {weights} nor into the user's cache")
    return place


def _places(info: WeightsInfo, weights: Path, kind: str = "") -> list[Path]:
    """Where a model of weights may be kept, the first choice first."""
    version = import_openvino().__version__.split("-")[0]
    name = f"{weights.stem}.{info.sha256[:16]}.{MARK}-{version}-{LAYOUT}{kind}.xml"
    return [folder / name for folder in (weights.resolve().parent, user_cache_path("tumorspread"))]


def _read(places: Sequence[Path]) -> Any:
    """The model at the first of those places that holds a whole one; None where none does."""
    whole = next((place for place in places if _is_whole(place)), None)
    return None if whole is None else openvino_core().read_model(whole)


def _keep_in_one(model: Any, places: Sequence[Path]) -> Path | None:
    """Keep a model at the first of those places that can be written to; None where none can."""
    for place in places:
        try:
            _keep(model, place)
        except (OSError, RuntimeError) as error:  # OpenVINO raises the latter where it cannot write
            log.info("the OpenVINO model cannot be kept in %s: %s", place.parent, error)
        else:
            return place
    return None


class Probability(nn.Module):
    """The network and the sigmoid."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Tumour probability of each voxel."""
        return cast(Tensor, self.network(image)).sigmoid()


def _convert(network: UNet, tile: tuple[int, ...]) -> Any:
    """The model, by OpenVINO's front end itself: `openvino.convert_model` reports its use to its makers, unasked."""
    import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front = FrontEndManager().load_by_framework("pytorch")
    with torch.inference_mode(), warnings.catch_warnings():
        # The shape is fixed on purpose, and OpenVINO reads no other form of a network without its own converter.
        warnings.simplefilter("ignore", torch.jit._trace.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        decoder = TorchScriptPythonDecoder(Probability(network), example_input=(torch.zeros((1, 1, *tile)),))
        model = front.convert(front.load(decoder))
    model.reshape([-1, 1, *tile])
    return model


def grainy_noise(tile: tuple[int, ...]) -> NDArray[np.float32]:
    """One tile (1, 1, *tile) of the grain of a scan, blocks and single voxels, -1 to 1; always the same."""
    random = np.random.default_rng(0)
    blocks = random.uniform(-1, 1, [-(-edge // 8) for edge in tile])
    for axis in range(len(tile)):
        blocks = blocks.repeat(8, axis=axis)
    image = blocks[tuple(slice(edge) for edge in tile)] + random.normal(0, 0.1, tile)
    return np.clip(image, -1, 1).astype(np.float32)[None, None]


def _check(model: Any, network: UNet, tile: tuple[int, ...]) -> None:
    """Both on the same noise."""
    noise = grainy_noise(tile)
    with torch.inference_mode():
        expected = Probability(network)(torch.from_numpy(noise)).numpy()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    apart = float(np.abs(openvino_core().compile_model(model, "CPU", settings)(noise)[0] - expected).max())
    if not apart <= TOLERANCE:
        raise WeightsError(
            f"the OpenVINO model of these weights answers up to {apart:.2g} off; use --engine torch, and report it"
        )


def _keep(model: Any, place: Path) -> None:
    """Write the files of a model, the hashes last."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{MARK}.") as folder:
        made = Path(folder) / place.name
        import_openvino().save_model(model, made, compress_to_fp16=False)
        made.with_suffix(".json").write_text(json.dumps(_hashes(made)))
        for suffix in (".bin", ".xml", ".json"):
            os.replace(made.with_suffix(suffix), place.with_suffix(suffix))


def _remove_older(weights: Path, current: str) -> None:
    """Remove the files beside the weights that are of what the weights file was before."""
    ours = re.compile(rf"{re.escape(weights.stem)}\.[0-9a-f]{{16}}\.{MARK}-")
    for file in weights.resolve().parent.iterdir():
        if ours.match(file.name) and not file.name.startswith(current):
            with suppress(OSError):
                file.unlink()


def _is_whole(place: Path) -> bool:
    try:
        return bool(json.loads(place.with_suffix(".json").read_text()) == _hashes(place))
    except (OSError, ValueError):
        return False


def _hashes(place: Path) -> dict[str, str]:
    files = (place.with_suffix(suffix) for suffix in (".xml", ".bin"))
    return {file.suffix: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
