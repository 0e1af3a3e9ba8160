"""What computes the network: torch, or OpenVINO on a CPU, where it takes a third of the time and less."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tumorspread.errors import RecipeError, TumorspreadError
from tumorspread.model.conversion import load_int8, load_openvino
from tumorspread.model.openvino import openvino_core
from tumorspread.model.unet import UNet
from tumorspread.model.weights import WeightsInfo

EngineName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "bf16", "int8"]

HINTS = {"fp32": "f32", "bf16": "bf16"}


class Engine(Protocol):
    """Tiles to tumour probabilities."""

    name: str

    @property
    def precision(self) -> str:
        """What it computes in: `fp32`, `bf16`, `fp16` or `int8`."""

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities 0..1 for `tiles` (n, 1, *edges), values -1..1, in their shape; edges the network can halve."""


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

    @property
    def precision(self) -> str:
        """See `Engine`."""
        return {torch.float16: "fp16", torch.bfloat16: "bf16"}[self.half] if self.is_half else "fp32"

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine`; TumorspreadError where a single tile is too much for the GPU's memory."""
        try:
            return self._forward(tiles)
        except torch.OutOfMemoryError as error:
            if len(tiles) == 1:
                raise TumorspreadError(
                    f"the GPU's memory is too little for a window of {tiles.shape[2:]} voxels; use --device cpu, or "
                    "stop what else uses the GPU"
                ) from error
        # Outside the handler, which keeps what the failed pass held.
        torch.cuda.empty_cache()
        middle = len(tiles) // 2
        return np.concatenate([self(tiles[:middle]), self(tiles[middle:])])

    def _forward(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(tiles)
        if self.device.type == "cuda":
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        with torch.inference_mode(), torch.autocast(self.device.type, self.half, enabled=self.is_half):
            logits: Tensor = self.network(batch)
            return np.asarray(logits.float().sigmoid().cpu().numpy())


class OpenVinoEngine:
    """The network as OpenVINO computes it on a CPU; it is loaded at the first tile.

    Args:
        load: gives the model.
        precision: `fp32` or `bf16`; or `int8`, of a model of which most layers are that.
        threads: of the CPU.
    """

    name = "openvino"

    def __init__(self, load: Callable[[], Any], precision: str, threads: int) -> None:
        self.load = load
        self.asked = precision
        self._other: tuple[tuple[int, ...], Any] | None = None
        rest = ("bf16" if has_bf16() else "fp32") if precision == "int8" else precision
        self.settings = {
            "INFERENCE_PRECISION_HINT": HINTS[rest],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }

    @cached_property
    def model(self) -> Any:
        """The model, for tiles of the weights' own size."""
        return self.load()

    @cached_property
    def compiled(self) -> Any:
        """The model on this CPU."""
        return self._compile(self.model)

    def compiled_for(self, tile: tuple[int, ...]) -> Any:
        """The model on this CPU for tiles of any size; besides that of the weights' own, the last is kept.

        Each holds hundreds of MiB, and every scan has windows of its own size.
        """
        if tile == tuple(edge.get_length() for edge in list(self.model.input(0).get_partial_shape())[2:]):
            return self.compiled
        if self._other is None or self._other[0] != tile:
            self._other = None
            model = self.model.clone()
            model.reshape([-1, 1, *tile])
            self._other = (tile, self._compile(model))
        return self._other[1]

    @property
    def precision(self) -> str:
        """What it does compute in, whatever was asked for."""
        if self.asked == "int8":
            return "int8"
        used = str(self.compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        return {hint: name for name, hint in HINTS.items()}.get(used, used)

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine`; WeightsError where the model does not answer as torch does, when it is made."""
        return np.asarray(self.compiled_for(tiles.shape[2:])(tiles)[0])

    def _compile(self, model: Any) -> Any:
        return openvino_core().compile_model(model, "CPU", self.settings)


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
        precision: on a CPU; `auto` takes bf16 with OpenVINO where the CPU has the instructions, and fp32 with torch.
            `int8` takes what `quantise` has made, with OpenVINO.
        threads: CPU threads; None takes as many as torch does.

    Raises:
        RecipeError: OpenVINO or int8 is asked for on another device than the CPU, bf16 on a CPU without it, int8 of
            torch, or an unknown engine or precision.
        WeightsError: int8 is asked for, and no such model was made of the weights.
    """
    if name not in ("auto", "torch", "openvino") or precision not in ("auto", "int8", *HINTS):
        raise RecipeError(
            f"engine {name!r} in {precision!r}: expected auto, torch or openvino; auto, fp32, bf16 or int8"
        )
    if precision == "int8" and (device.type != "cpu" or name == "torch"):
        raise RecipeError("int8 is computed by the OpenVINO engine on a CPU; use --device cpu --engine openvino")
    if name == "openvino" and device.type != "cpu":
        raise RecipeError(f"the OpenVINO engine computes on the CPU, not on {device}; use --device cpu")
    if precision == "bf16" and device.type == "cpu" and not has_bf16():
        raise RecipeError("this CPU has no bf16; use --precision fp32")
    if device.type != "cpu" or name == "torch":
        return TorchEngine(network, device, is_half=precision == "bf16")
    count = threads or torch.get_num_threads()
    if precision == "int8":
        model = load_int8(info, weights)
        return OpenVinoEngine(lambda: model, "int8", count)
    half = precision == "bf16" or (precision == "auto" and has_bf16())
    load = partial(load_openvino, network, info, weights)
    return OpenVinoEngine(load, "bf16" if half else "fp32", count)


def has_bf16() -> bool:
    """Whether this CPU computes in bf16."""
    return bool(torch.cpu._is_avx512_bf16_supported())
