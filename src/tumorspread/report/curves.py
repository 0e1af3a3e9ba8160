"""Pictures of a training, as PNG: how loss and measures went, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tumorspread.errors import ReadError
from tumorspread.report.panel import BLUE, DPI, GREEN, INK, ORANGE, PURPLE, SKY, TITLE, VERMILLION, to_png

CURVES = (
    ("train_loss", "training loss", VERMILLION),
    ("val_dice", "validation Dice", BLUE),
    ("val_accuracy", "validation accuracy", PURPLE),
    ("val_precision", "validation precision", ORANGE),
    ("val_recall", "validation recall", GREEN),
    ("lr", "learning rate", SKY),
)


def curves_figure(rows: Sequence[Mapping[str, float]]) -> bytes:
    """Loss, validation measures and learning rate against the epoch, with the epoch of the best Dice marked.

    Args:
        rows: one a epoch with `epoch` and any of `train_loss`, `val_dice`, `val_accuracy`, `val_precision`,
            `val_recall`, `lr`. A missing or NaN value (an epoch without validation) leaves its point out.

    Returns:
        A PNG. A curve without a single value says so.

    Raises:
        ReadError: no rows, or one without `epoch`.
    """
    if not rows or any("epoch" not in row for row in rows):
        raise ReadError("the training log holds no epochs; expected a row an epoch with a column `epoch`")
    figure = Figure(figsize=(10.5, 5.4), dpi=DPI, layout="constrained")
    best = _best_epoch(rows)
    for axes, (column, title, colour) in zip(figure.subplots(2, 3).ravel(), CURVES, strict=True):
        _draw_curve(axes, _points(rows, column), colour)
        axes.set_title(title, **TITLE)
        axes.set_xlabel("epoch", fontsize=8.5, color=INK)
        if best is not None:
            axes.axvline(best, color=INK, linestyle="dotted", linewidth=1)
        if column == "lr" and all(rate > 0 for _, rate in _points(rows, column)):
            axes.set_yscale("log")
    if best is not None:
        dice = dict(_points(rows, "val_dice"))[best]
        text = f"best validation Dice {dice:.3f} at epoch {best:g} (dotted line)"
        figure.suptitle(text, fontsize=11, fontweight="bold", color=INK)
    return to_png(figure)


def _points(rows: Sequence[Mapping[str, float]], column: str) -> list[tuple[float, float]]:
    pairs = ((row["epoch"], row.get(column, math.nan)) for row in rows)
    return [(epoch, value) for epoch, value in pairs if math.isfinite(value)]


def _best_epoch(rows: Sequence[Mapping[str, float]]) -> float | None:
    points = _points(rows, "val_dice")
    return max(points, key=lambda point: point[1])[0] if points else None


def _draw_curve(axes: Axes, points: list[tuple[float, float]], colour: str) -> None:
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.ticklabel_format(useOffset=False)  # "+9.9e-1" over an axis is a riddle
    if not points:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", fontsize=9, color=INK)
        return
    marker = "o" if len(points) <= 40 else None
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, marker=marker, markersize=3)
