"""The recipe: every setting of a training in one frozen object, readable from TOML.

A recipe file names only what differs from the defaults; an unknown name is an error, since a misspelt setting that
is silently ignored costs a night of training. The recipe is stored in the weights.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from tumorspread.data.augment import AugmentConfig
from tumorspread.data.patches import PatchConfig
from tumorspread.errors import RecipeError
from tumorspread.model.loss import LossConfig
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.unet import UNetConfig, check_edges

PACKAGED = Path(__file__).parent / "recipes"

Precision = Literal["auto", "32", "bf16", "fp16"]


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are moved.

    Attributes:
        optimizer: `adamw` or `adam`.
        learning_rate: at its peak.
        weight_decay: decoupled for AdamW, L2 for Adam.
        warmup_share: share of all steps in which the rate rises from 0.
        final_share: the rate at the end of its cosine decay, as a share of the peak.
        clip_norm: largest norm of the gradient; 0 does not clip.
        average: decay a step of the moving average of the weights, which is what is validated and kept; 0 keeps the
            weights themselves.
    """

    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_share: float = 0.05
    final_share: float = 0.01
    clip_norm: float = 5.0
    average: float = 0.99

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.clip_norm < 0:
            raise RecipeError("optim: expected learning_rate > 0, weight_decay >= 0 and clip_norm >= 0")
        if not 0 <= self.warmup_share < 1 or not 0 <= self.final_share <= 1 or not 0 <= self.average < 1:
            raise RecipeError("optim: expected 0 <= warmup_share < 1, 0 <= final_share <= 1 and 0 <= average < 1")

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of `step` (from 0) of `steps`, as a share of the peak."""
        warmup = max(1, round(self.warmup_share * steps))
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class RunConfig:
    """How long, on what, and how it is watched.

    Attributes:
        epochs: at most.
        patience: validations without a better Dice after which to stop; 0 never stops early.
        val_every: epochs between validations on whole scans.
        val_overlap: overlap of the sliding window's tiles in validation.
        threshold: probabilities above it are tumour; stored in the weights.
        mirror: average predictions over all flips, at 4 (2-D) or 8 (3-D) times the cost; stored in the weights.
        precision: `auto` takes bf16 or fp16 where the device computes in it, else 32.
        devices: devices (or CPU processes) on this machine; 0 takes all GPUs, or one CPU process.
        nodes: machines.
    """

    epochs: int = 100
    patience: int = 20
    val_every: int = 1
    val_overlap: float = 0.25
    threshold: float = 0.5
    mirror: bool = False
    precision: Precision = "auto"
    devices: int = 0
    nodes: int = 1

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if min(self.epochs, self.val_every, self.nodes) < 1 or min(self.patience, self.devices) < 0:
            raise RecipeError("run: epochs, val_every and nodes must be 1 or more, patience and devices 0 or more")
        if not 0 < self.threshold < 1 or not 0 <= self.val_overlap <= 0.9:
            raise RecipeError("run: expected 0 < threshold < 1 and 0 <= val_overlap <= 0.9")


@dataclass(frozen=True)
class Recipe:
    """All settings of a training; see each part.

    Attributes:
        seed: of the weights' start and of every patch.
    """

    seed: int = 0
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    patch: PatchConfig = field(default_factory=PatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_edges(self.unet, self.patch.size)
        if self.unet.dims == 3 and self.preprocess.size_yx is not None:
            raise RecipeError("preprocess.size_yx is for 2-D networks; a 3-D one takes spacing_mm")

    @classmethod
    def read(cls, source: str | None = None, changes: Iterable[str] = ()) -> Recipe:
        """The defaults, changed by a recipe, changed by `section.name=value` texts, in that order.

        Args:
            source: a TOML file, or the name of a recipe that comes with the package; see `recipe_names`.
            changes: such as `run.epochs=20`; the value is TOML, and a bare word is a string.

        Raises:
            RecipeError: no such recipe, not TOML, an unknown name, a value of the wrong type or out of range.
        """
        settings = _read_toml(source) if source is not None else {}
        for change in changes:
            _merge(settings, _parse_change(change))
        try:
            return TypeAdapter(cls).validate_python(settings)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            known = first["type"] in ("unexpected_keyword_argument", "extra_forbidden")
            reason = "no such setting; `tumorspread train --show-recipe` lists them" if known else first["msg"]
            raise RecipeError(f"recipe: {place}: {reason}") from error

    def to_toml(self) -> str:
        """The recipe as the text of a TOML file that `read` takes."""
        return "\n".join(_toml_lines(asdict(self))) + "\n"


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with the package."""
    return tuple(sorted(file.stem for file in PACKAGED.glob("*.toml")))


def _read_toml(source: str) -> dict[str, Any]:
    path = PACKAGED / f"{source}.toml" if source in recipe_names() else Path(source)
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        known = ", ".join(recipe_names())
        raise RecipeError(f"recipe {source}: {error.strerror}; a TOML file or one of {known}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {source}: not TOML ({error})") from error


def _parse_change(change: str) -> dict[str, Any]:
    name, sign, value = change.partition("=")
    if not sign:
        raise RecipeError(f"--set {change!r}: expected section.name=value, such as run.epochs=20")
    for text in (value, f'"{value}"'):
        try:
            return tomllib.loads(f"{name.strip()} = {text}")
        except tomllib.TOMLDecodeError:
            continue
    raise RecipeError(f"--set {change!r}: not a setting and a TOML value")


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _toml_lines(settings: dict[str, Any]) -> Iterator[str]:
    tables = {k: v for k, v in settings.items() if isinstance(v, dict)}
    for key, value in settings.items():
        if key not in tables and value is not None:
            yield f"{key} = {_toml_value(value)}"
    for key, table in tables.items():
        yield f"\n[{key}]"
        yield from _toml_lines(table)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
