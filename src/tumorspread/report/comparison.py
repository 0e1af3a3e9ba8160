"""Pictures of masks: one by itself, and prediction against truth, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tumorspread.report.panel import (
    DPI,
    INK,
    PREDICTED_COLOUR,
    TITLE,
    TRUTH_COLOUR,
    Panel,
    agreement_planes,
    legend_patch,
    to_png,
)
from tumorspread.report.tables import quantity
from tumorspread.report.views import (
    AXIAL,
    LUNG,
    VIEWS,
    Box,
    Frame,
    View,
    bounding_box,
    canonical,
    file_slice,
    fullest_planes,
    largest_piece,
    piece_around,
)
from tumorspread.scan.volume import Shape, Volume

SHEET_COLUMNS, SHEET_ROWS = 4, 2


@dataclass(frozen=True)
class _Pair:
    """Truth and prediction on a canonical scan, and where to look."""

    scan: Volume
    truth: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    at: Shape
    frame: Frame

    @property
    def whole(self) -> Frame:
        return Frame.whole(self.scan.shape, self.scan.spacing_mm)


def comparison_figure(scan: Volume, truth: Volume, predicted: Volume, *, title: str) -> bytes:
    """Truth, prediction and their agreement, in three planes through the largest tumour.

    The planes are those in which the largest piece of the truth is largest; without truth, of the prediction;
    without either, the middle of the scan. A last column shows the whole plane.

    Args:
        scan: HU.
        truth: mask on the scan's grid, above 0 inside tumour; may be empty.
        predicted: likewise.
        title: one line above the picture.

    Returns:
        A PNG. An empty mask is named as such.

    Raises:
        MaskError: a mask is not on the scan's grid.
    """
    pair = _look_at(scan, truth, predicted)
    figure = Figure(figsize=(10.5, 8.6), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(VIEWS), 4)
    for row, view in zip(grid, VIEWS, strict=True):
        _draw_pair(row, pair, view)
    _head_columns(grid[0], pair)
    figure.suptitle(title, fontsize=11.5, fontweight="bold", color=INK)
    voxel_ml = pair.scan.voxel_ml
    entries = [
        legend_patch(kind, f"{kind.name}: {quantity(float(where.sum()) * voxel_ml, 'mL')}")
        for kind, where in agreement_planes(pair.truth, pair.predicted)
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
    return to_png(figure)


def masks_figure(scan: Volume, mask: Volume, title: str) -> bytes:
    """Axial slices evenly through the tumour, from the feet to the head, with the mask's outline.

    Args:
        scan: HU.
        mask: on the scan's grid, above 0 inside tumour; an empty one shows slices evenly through the scan.
        title: one line above the picture.

    Returns:
        A PNG; the slices are counted along the axis of the file that runs nearest to head-foot, from 0.

    Raises:
        MaskError: the mask is not on the scan's grid.
    """
    turned, (voxels,) = canonical(scan, mask)
    tumour = voxels > 0
    box = bounding_box(tumour)
    span = box[0] if box else slice(0, turned.shape[0])
    frame = _around_in_plane(turned, box) if box else Frame.whole(turned.shape, turned.spacing_mm)
    count = min(SHEET_COLUMNS * SHEET_ROWS, span.stop - span.start)
    shown = np.unique(np.linspace(span.start, span.stop - 1, count).round().astype(int))
    columns = min(SHEET_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.75 * rows + 0.4), dpi=DPI, layout="constrained")
    tiles = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in tiles[len(shown) :]:
        axes.axis("off")
    for axes, index in zip(tiles, shown, strict=False):
        panel = Panel(axes, AXIAL, frame, turned.spacing_mm)
        panel.show(turned.voxels[index], LUNG)
        panel.outline(tumour[index], PREDICTED_COLOUR)
        panel.annotate_sides()
        axes.set_title(f"slice {file_slice(scan, turned, int(index))}", **TITLE)
    heading = title if box else f"{title} (the mask is empty)"
    figure.suptitle(heading, fontsize=11.5, fontweight="bold", color=INK)
    return to_png(figure)


def _look_at(scan: Volume, truth: Volume, predicted: Volume) -> _Pair:
    turned, (true_voxels, predicted_voxels) = canonical(scan, truth, predicted)
    a, b = true_voxels > 0, predicted_voxels > 0
    piece = largest_piece(a if a.any() else b)
    box = piece_around(a | b, piece)
    whole = Frame.whole(turned.shape, turned.spacing_mm)
    frame = Frame.around(box, turned.spacing_mm) if box else whole
    return _Pair(turned, a, b, fullest_planes(piece), frame)


def _draw_pair(row: Sequence[Any], pair: _Pair, view: View) -> None:
    index = pair.at[view.axis]
    image = view.plane(pair.scan.voxels, index)
    truth, predicted = view.plane(pair.truth, index), view.plane(pair.predicted, index)
    for place, axes in enumerate(row):
        panel = Panel(axes, view, pair.frame if place < 3 else pair.whole, pair.scan.spacing_mm)
        panel.show(image, LUNG)
        if place == 0:
            panel.outline(truth, TRUTH_COLOUR, "dashed")
        elif place == 1:
            panel.outline(predicted, PREDICTED_COLOUR)
        else:
            for kind, where in agreement_planes(truth, predicted):
                panel.fill(where, kind.colour, 0.45, kind.hatch if place == 2 else "")
        if place == 3:
            panel.mark_frame(pair.frame)
        panel.annotate_sides()
    row[0].set_ylabel(view.name, fontsize=10, color=INK)


def _head_columns(row: Sequence[Any], pair: _Pair) -> None:
    truth = "ground truth (dashed)" if pair.truth.any() else "ground truth: no tumour"
    predicted = "prediction (solid)" if pair.predicted.any() else "prediction: no tumour"
    for axes, text in zip(row, (truth, predicted, "overlay", "overlay, whole plane"), strict=True):
        axes.set_title(text, **TITLE)


def _around_in_plane(turned: Volume, box: Box) -> Frame:
    """A frame that fits the box in the axial plane alone: a tall tumour is not made small by its height."""
    return Frame.around((slice(box[0].start, box[0].start + 1), box[1], box[2]), turned.spacing_mm)
