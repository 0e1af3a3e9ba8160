"""Contact sheets of 2-D material, as PNG: independent slices against their truth, and training patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tumorspread.errors import MaskError
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
from tumorspread.report.views import AXIAL, Frame, Window, check_masks
from tumorspread.scan.volume import Triple, Volume

MOST_SLICES = 10
MOST_PATCHES = 24
PATCH_COLUMNS = 6
GRAY = Window("gray", 0.0, 1.0)


def slices_comparison_figure(images: Volume, truth: Volume, predicted: Volume, *, title: str) -> bytes:
    """Independent slices in columns, with rows for the truth, the prediction and where they agree.

    Of more than ten slices, ten are shown, evenly spaced. Such slices carry no orientation, so no letters.

    Args:
        images: slices (n, y, x), gray in 0..1.
        truth: mask on the same grid, above 0 inside tumour; may be empty.
        predicted: likewise.
        title: one line above the picture.

    Returns:
        A PNG.

    Raises:
        MaskError: a mask is not on the grid of the images.
    """
    check_masks(images, truth, predicted)
    count = images.shape[0]
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_SLICES)).round().astype(int))
    figure = Figure(figsize=(max(1.15 * len(shown) + 0.3, 7.6), 4.3), dpi=DPI, layout="compressed")
    grid = figure.subplots(3, len(shown), squeeze=False)
    for column, index in zip(grid.T, shown, strict=True):
        true_plane, predicted_plane = truth.voxels[index] > 0, predicted.voxels[index] > 0
        panels = [_tile(axes, images.voxels[index], images.spacing_mm, GRAY) for axes in column]
        panels[0].outline(true_plane, TRUTH_COLOUR, "dashed")
        panels[1].outline(predicted_plane, PREDICTED_COLOUR)
        for kind, where in agreement_planes(true_plane, predicted_plane):
            panels[2].fill(where, kind.colour, 0.45, kind.hatch)
        column[0].set_title(f"slice {index}", **TITLE)
    for axes, name in zip(grid[:, 0], ("truth", "prediction", "overlay"), strict=True):
        axes.set_ylabel(name, fontsize=9.5, color=INK)
    figure.suptitle(title, fontsize=11.5, fontweight="bold", color=INK)
    kinds = agreement_planes(truth.voxels > 0, predicted.voxels > 0)
    entries = [legend_patch(kind, f"{kind.name}: {int(where.sum())} pixels") for kind, where in kinds]
    figure.legend(handles=entries, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return to_png(figure)


def patches_figure(images: NDArray[Any], masks: NDArray[Any], *, captions: Sequence[str] = ()) -> bytes:
    """Training patches as the network sees them, with the outline of their mask; the first 24 at most.

    Args:
        images: patches (n, [z,] y, x) in 0..1, or in -1..1 where a value is below 0. Of a 3-D patch the slice
            with most tumour is shown, without tumour the middle one.
        masks: of the same shape, above 0 inside tumour.
        captions: a line under each patch; none, or as many as patches.

    Returns:
        A PNG.

    Raises:
        MaskError: no patches, shapes that differ or are not (n, [z,] y, x), or a wrong number of captions.
    """
    if images.shape != masks.shape or images.ndim not in (3, 4) or not images.size:
        raise MaskError(
            f"patches of shape {images.shape} with masks of shape {masks.shape}; expected two equal shapes "
            "(n, y, x) or (n, z, y, x) with at least one patch"
        )
    if captions and len(captions) != len(images):
        raise MaskError(f"{len(captions)} captions for {len(images)} patches; give one a patch or none")
    window = Window("normalised", -1.0 if images.min() < 0 else 0.0, 1.0)
    count = min(len(images), MOST_PATCHES)
    columns = min(PATCH_COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.75 * columns, 1.95 * rows), dpi=DPI, layout="constrained")
    tiles = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, axes in enumerate(tiles):
        if place >= count:
            axes.axis("off")
            continue
        image, mask = _fullest_slice(images[place], masks[place] > 0)
        _tile(axes, image, (1.0, 1.0, 1.0), window).outline(mask, PREDICTED_COLOUR, width=1.2)
        if captions:
            axes.set_xlabel(captions[place], fontsize=7.5, color=INK)
    return to_png(figure)


def _tile(axes: Axes, image: NDArray[Any], spacing_mm: Triple, window: Window) -> Panel:
    panel = Panel(axes, AXIAL, Frame.whole((1, image.shape[0], image.shape[1]), spacing_mm), spacing_mm)
    panel.show(image, window)
    return panel


def _fullest_slice(image: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    if image.ndim == 2:
        return image, mask
    areas = mask.sum(axis=(1, 2))
    index = int(areas.argmax()) if areas.any() else len(image) // 2
    return image[index], mask[index]
