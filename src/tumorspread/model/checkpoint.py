"""What a training leaves on disk: its state to go on from, its best weights, its log.

Each file is written beside its place and renamed, so a kill at any moment leaves the last whole one.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from tumorspread.errors import OutputError, TrainingError
from tumorspread.model.segmenter import VAL_METRICS, Segmenter
from tumorspread.model.weights import WeightsInfo, save_weights

LOG_COLUMNS = ("epoch", "train_loss", *VAL_METRICS, "lr", "seconds", "step_seconds", "loader_wait_percent")

# What torch lets out on damaged files: the zip, the pickle within it, or what the pickle asks for.
_TORCH_FAULTS = (
    RuntimeError, OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, UnpicklingError,
)  # fmt: skip


class AtomicCheckpointIO(TorchCheckpointIO):  # type: ignore[misc]
    """Checkpoints that are whole or not there, read back without executing code.

    Lightning's own goes through a temporary folder that may be another disk, where a rename is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write `checkpoint` beside `path`, force it to the disk, and rename it."""
        target = Path(path)
        unfinished = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, target)
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror or error}") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of numbers and plain containers.

        Raises:
            TrainingError: it is damaged or holds anything else.
        """
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except _TORCH_FAULTS as error:
            raise TrainingError(f"{path}: not a readable checkpoint; start the training anew") from error
        return state


class BestWeights(pl.Callback):  # type: ignore[misc]
    """Keeps the weights of the epoch with the best validation Dice.

    Args:
        path: of the weights file.
        info: what stands in it; epoch and Dice are filled in.
    """

    def __init__(self, path: Path, info: WeightsInfo) -> None:
        self.path = path
        self.info = info
        self.best = -1.0

    def on_validation_end(self, trainer: pl.Trainer, module: Segmenter) -> None:
        """Write the weights if this epoch is the best yet."""
        dice = float(trainer.callback_metrics["val_dice"])
        if dice <= self.best:
            return
        self.best = dice
        if trainer.is_global_zero:
            provenance = replace(self.info.provenance, epoch=trainer.current_epoch + 1, val_dice=dice)
            save_weights(module.kept, replace(self.info, provenance=provenance), self.path)

    def state_dict(self) -> dict[str, Any]:
        """The best Dice yet."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.best = state["best"]


class EpochLog(pl.Callback):  # type: ignore[misc]
    """A row an epoch in `metrics.csv`, and a line for whoever watches.

    The rows travel in the checkpoint, so a resumed training rewrites the file as if it had never stopped.

    Args:
        path: of the CSV file.
        report: called with a line an epoch.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.path = path
        self.report = report
        self.rows: list[dict[str, float]] = []
        self._started = self._last_end = self._waited = self._stepped = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: Segmenter) -> None:
        """Start the clocks."""
        self._started = self._last_end = time.monotonic()
        self._waited = self._stepped = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, module: Segmenter, batch: Any, number: int) -> None:
        """The time since the last step's end was spent waiting for the loader."""
        self._waited += time.monotonic() - self._last_end

    def on_train_batch_end(self, trainer: pl.Trainer, module: Segmenter, outputs: Any, batch: Any, number: int) -> None:
        """A step has ended."""
        now = time.monotonic()
        self._stepped = now - self._started
        self._last_end = now

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Segmenter) -> None:
        """Write the row and report the line."""
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        validated = (trainer.current_epoch + 1) % trainer.check_val_every_n_epoch == 0
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "train_loss": metrics["train_loss"]}
        if validated:
            row |= {name: metrics[name] for name in VAL_METRICS}
        row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row["seconds"] = time.monotonic() - self._started
        row["step_seconds"] = self._stepped / max(1, trainer.num_training_batches)
        row["loader_wait_percent"] = 100 * self._waited / max(self._stepped, 1e-9)
        self.rows.append(row)
        if trainer.is_global_zero:
            write_log(self.path, self.rows)
            self.report(_line(row, trainer.max_epochs or 0))

    def state_dict(self) -> dict[str, Any]:
        """All rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.rows = list(state["rows"])


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the rows as CSV, empty where an epoch has no value; whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, LOG_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text.getvalue())
    os.replace(unfinished, path)


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of `metrics.csv`; a value that an epoch has not is left out of its row."""
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def _line(row: dict[str, float], epochs: int) -> str:
    line = f"epoch {row['epoch']:.0f}/{epochs}  loss {row['train_loss']:.4f}"
    if "val_dice" in row:
        parts = (f"{name.removeprefix('val_')} {row[name]:.3f}" for name in VAL_METRICS)
        line += "  validation: " + "  ".join(parts)
    return line + f"  ({row['seconds']:.0f} s)"
