"""What computes the network: torch, or OpenVINO on a CPU, where it takes a third of the time and less.

The OpenVINO model is made of the same weights the first time they are used and kept in a file beside them, or in the
user's cache where that folder cannot be written to. When it is made its answers are held against torch's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor, nn

from tumorspread.errors import RecipeError, WeightsError
from tumorspread.model.unet import UNet
from tumorspread.model.weights import WeightsInfo

log = logging.getLogger(__name__)

EngineName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "bf16"]

# How far a probability of the two engines may differ, both in fp32, on noise; 1e-5 was measured.
TOLERANCE = 1e-3


class Engine(Protocol):
    """Tiles to tumour probabilities."""

    name: str
    precision: str

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities 0..1 for `tiles` (n, 1, *edges), values -1..1, in their shape."""


class TorchEngine:
    """The network as torch computes it.

    Args:
        network: in evaluation mode, on `device`.
        device: where it is.
        is_half: compute in bf16 on a CPU: sooner and to three digits; a CPU without the instructions emulates them at
            forty times the cost. A GPU always computes in fp16.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, *, is_half: bool = False) -> None:
        self.network = network
        self.device = device
        self.half = torch.float16 if device.type == "cuda" else torch.bfloat16
        self.is_half = is_half or device.type == "cuda"
        self.precision = str(self.half).removeprefix("torch.") if self.is_half else "fp32"

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine`."""
        batch = torch.from_numpy(tiles).to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, self.half, enabled=self.is_half):
            logits: Tensor = self.network(batch)
            return np.asarray(logits.float().sigmoid().cpu().numpy())


class OpenVinoEngine:
    """The network as OpenVINO computes it on a CPU.

    Args:
        model: as `openvino_model` gives it.
        precision: `fp32` or `bf16`.
        threads: of the CPU; None leaves OpenVINO's choice.
    """

    name = "openvino"

    def __init__(self, model: Any, precision: str, threads: int | None = None) -> None:
        import openvino as ov  # here, since it takes a third of a second

        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self.precision = precision
        self.compiled = ov.Core().compile_model(model, "CPU", settings)

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine`."""
        return np.asarray(self.compiled(tiles)[0])


def pick_engine(
    network: UNet,
    info: WeightsInfo,
    weights: Path,
    device: torch.device,
    *,
    name: EngineName = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
) -> Engine:
    """The engine for weights on a device.

    Args:
        network: in evaluation mode, on `device`.
        info: of the weights.
        weights: their file; the OpenVINO model is kept beside it.
        device: a CPU or a GPU.
        name: `auto` takes OpenVINO on a CPU and torch elsewhere.
        precision: on a CPU; `auto` takes bf16 where the CPU has the instructions.
        threads: CPU threads.

    Raises:
        RecipeError: OpenVINO is asked for on another device than the CPU, or an unknown engine or precision.
        WeightsError: the OpenVINO model does not answer as torch does.
    """
    if name not in ("auto", "torch", "openvino") or precision not in ("auto", "fp32", "bf16"):
        raise RecipeError(f"engine {name!r} in {precision!r}: expected auto, torch or openvino; auto, fp32 or bf16")
    if name == "openvino" and device.type != "cpu":
        raise RecipeError(f"the OpenVINO engine computes on the CPU, not on {device}; use --device cpu")
    is_half = precision == "bf16" or (precision == "auto" and has_bf16())
    if device.type != "cpu" or name == "torch":
        return TorchEngine(network, device, is_half=is_half and precision != "auto")
    return OpenVinoEngine(openvino_model(network, info, weights), "bf16" if is_half else "fp32", threads)


def has_bf16() -> bool:
    """Whether this CPU computes in bf16."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def openvino_model(network: UNet, info: WeightsInfo, weights: Path) -> Any:
    """The OpenVINO model of weights: from its file, or made, checked and kept.

    Args:
        network: the weights' network on the CPU, in evaluation mode.
        info: of the weights.
        weights: their file.

    Raises:
        WeightsError: its answers are not those of `network`.
    """
    import openvino as ov

    name = f"{weights.stem}.{info.sha256[:16]}.openvino-{ov.__version__.split('-')[0]}.xml"
    folders = (weights.resolve().parent, user_cache_path("tumorspread"))
    for folder in folders:
        if (folder / name).is_file():
            with contextlib.suppress(RuntimeError):  # a damaged file is made anew
                return ov.Core().read_model(folder / name)
    model = _convert(network, info.tile)
    _check(model, network, info.tile)
    for folder in folders:
        try:
            _keep(model, folder / name)
            break
        except OSError as error:
            log.info("the OpenVINO model cannot be kept in %s: %s", folder, error)
    return model


class _Probability(nn.Module):
    """The network and the sigmoid."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.network(image)).sigmoid()


def _convert(network: UNet, tile: tuple[int, ...]) -> Any:
    """The model, by OpenVINO's front end itself: `openvino.convert_model` reports its use to its makers, unasked."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front = FrontEndManager().load_by_framework("pytorch")
    with torch.inference_mode(), warnings.catch_warnings():
        # The shape is fixed on purpose, and OpenVINO reads no other form of a network without its own converter.
        warnings.simplefilter("ignore", torch.jit._trace.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        decoder = TorchScriptPythonDecoder(_Probability(network), example_input=(torch.zeros((1, 1, *tile)),))
        model = front.convert(front.load(decoder))
    model.reshape([-1, 1, *tile])
    return model


def _check(model: Any, network: UNet, tile: tuple[int, ...]) -> None:
    """Both engines on the same noise, of the grain of a scan: blocks and single voxels."""
    random = np.random.default_rng(0)
    coarse = random.uniform(-1, 1, [-(-edge // 8) for edge in tile])
    grown = coarse.repeat(8, axis=0).repeat(8, axis=1)
    grown = grown.repeat(8, axis=2) if len(tile) == 3 else grown
    image = grown[tuple(slice(edge) for edge in tile)] + random.normal(0, 0.1, tile)
    tiles = np.clip(image, -1, 1).astype(np.float32)[None, None]
    expected = TorchEngine(network, torch.device("cpu"))(tiles)
    apart = float(np.abs(OpenVinoEngine(model, "fp32")(tiles) - expected).max())
    if not apart <= TOLERANCE:
        raise WeightsError(
            f"the OpenVINO model of these weights answers up to {apart:.2g} off; use --engine torch, and report it"
        )


def _keep(model: Any, path: Path) -> None:
    """Write the two files of a model, the one that names the other last; whole or not at all."""
    import openvino as ov

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".openvino.") as place:
        ov.save_model(model, Path(place) / path.name, compress_to_fp16=False)
        for suffix in (".bin", ".xml"):
            os.replace((Path(place) / path.name).with_suffix(suffix), path.with_suffix(suffix))
