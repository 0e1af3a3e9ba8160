"""The weights file: one safetensors file with everything needed to use it, and nothing that runs.

Beside the tensors stand, as JSON in the header: the network's shape, the preprocessing, the tile and threshold for
prediction, and where the weights come from. safetensors holds numbers and text only, so loading executes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tumorspread._version import __version__
from tumorspread.errors import OutputError, RecipeError, WeightsError
from tumorspread.model.candidates import Detection
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.unet import UNet, UNetConfig, check_edges

FORMAT = "tumorspread-weights-1"


@dataclass(frozen=True)
class Provenance:
    """Where weights come from.

    Attributes:
        data: name of the data set.
        train_cases: names of the cases trained on.
        val_cases: names of the cases that chose the checkpoint.
        epoch: the epoch whose weights these are, from 1.
        val_dice: mean Dice over the validation scans at that epoch, on the network's grid.
        recipe: the recipe of the training, as its JSON object.
        software: what trained them.
    """

    data: str
    train_cases: tuple[str, ...] = ()
    val_cases: tuple[str, ...] = ()
    epoch: int = 0
    val_dice: float | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    software: str = f"tumorspread {__version__}"


@dataclass(frozen=True)
class WeightsInfo:
    """All of a weights file but its tensors.

    Attributes:
        unet: shape of the network.
        preprocess: how a scan becomes its input.
        tile: edge lengths in voxels of the window it is run on, (z, y, x) or (y, x).
        threshold: probabilities above it are tumour.
        provenance: where the weights come from.
        mirror: average over flips when predicting.
        detection: how likely a piece of the mask is a tumour, and from which probability it counts; None where that was
            not calibrated: then every piece counts.
        sha256: hash of the file, empty before it is written.
        name: name of the file, empty before it is written.
    """

    unet: UNetConfig
    preprocess: PreprocessConfig
    tile: tuple[int, ...]
    threshold: float
    provenance: Provenance
    mirror: bool = False
    detection: Detection | None = None
    sha256: str = ""
    name: str = ""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def lungs_only(self) -> bool:
        """Whether the training counted nothing out of reach of the lungs, so that answers there mean nothing."""
        return bool(self.provenance.recipe.get("patch", {}).get("lungs_only", False))

    def __post_init__(self) -> None:
        check_edges(self.unet, self.tile)
        if not 0 < self.threshold < 1:
            raise WeightsError(f"threshold {self.threshold}: expected a number between 0 and 1")


def save_weights(network: UNet, info: WeightsInfo, path: Path, *, half: bool = False) -> None:
    """Write network and info to `path`; the file appears whole or not at all.

    Args:
        network: its tensors.
        info: all else.
        path: of the file.
        half: store float16, half the size; a relative change of up to 5e-4 in a number.

    Raises:
        OutputError: the folder cannot be written to or the disk is full.
    """
    header = asdict(replace(info, sha256="", name=""))
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(save(tensors, {"format": FORMAT, "info": json.dumps(header)}))
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def load_weights(path: Path) -> tuple[UNet, WeightsInfo]:
    """Read a weights file into a network in evaluation mode, on the CPU.

    Raises:
        WeightsError: missing, truncated, not a weights file of tumorspread, of another format version, or with
            tensors that do not fit the network it describes.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, struct.error) as error:
        raise WeightsError(f"{path.name}: not a readable weights file, or truncated ({error})") from error
    info = replace(_parse(path, metadata), sha256=_hash(path), name=path.name)
    network = UNet(info.unet)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(f"{path.name}: its tensors do not fit the network it describes") from error
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise WeightsError(f"{path.name}: holds numbers that are not finite; train again or fetch it again")
    return network.eval(), info


def average_weights(paths: Sequence[Path]) -> tuple[UNet, WeightsInfo]:
    """The mean of weights of which each was trained on from another, or all from one: nearer to the truth than any.

    Where two trainings pull one network to different sides, their mean keeps what both have learned (Wortsman et al.
    2022, arXiv 2203.05482). Of networks that began apart the mean is none.

    Args:
        paths: two weights files or more, of one network and preprocessing.

    Returns:
        Network and info: those of the last file, with the cases of all, and without calibration.

    Raises:
        WeightsError: fewer than two; a file that cannot be read, or is of another network or preprocessing.
    """
    if len(paths) < 2:
        raise WeightsError("a mean needs two weights files at least")
    networks, infos = zip(*(load_weights(path) for path in paths), strict=True)
    network, info = networks[-1], infos[-1]
    for other in infos:
        if (other.unet, other.preprocess) != (info.unet, info.preprocess):
            raise WeightsError(f"{other.name} is of another network or preprocessing than {info.name}")
    states = [one.state_dict() for one in networks]
    mean = {
        key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value
        for key, value in states[-1].items()
    }
    network.load_state_dict(mean)
    cases = {
        name: tuple(dict.fromkeys(case for one in infos for case in getattr(one.provenance, name)))
        for name in ("train_cases", "val_cases")
    }
    data = " + ".join(dict.fromkeys(one.provenance.data for one in infos))
    provenance = replace(info.provenance, data=data, epoch=0, val_dice=None, **cases)
    return network, replace(info, provenance=provenance, detection=None)


def _parse(path: Path, metadata: dict[str, str]) -> WeightsInfo:
    found = metadata.get("format", "none")
    if found != FORMAT:
        raise WeightsError(f"{path.name}: expected weights of format {FORMAT}, found {found}")
    try:
        return TypeAdapter(WeightsInfo).validate_json(metadata.get("info", ""))
    except (ValidationError, RecipeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise WeightsError(f"{path.name}: its description cannot be read ({reason})") from error


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
