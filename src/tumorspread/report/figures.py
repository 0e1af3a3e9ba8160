"""Pictures of a scan and its lesions, as PNG: the overview and one picture a lesion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.report.panel import DPI, INK, LESION_LINES, SKY, TITLE, Panel, lesion_style, to_png
from tumorspread.report.tables import quantity
from tumorspread.report.views import (
    AXIAL,
    CORONAL,
    LUNG,
    SAGITTAL,
    SOFT_TISSUE,
    VIEWS,
    Box,
    Frame,
    View,
    Window,
    canonical,
    canonical_slice,
)
from tumorspread.report.wording import lesion_title
from tumorspread.scan.volume import Reorientation, Volume

LARGEST_LISTED = 14
PADDING_HU = -1024.0
# Metal and contrast would bleach a projection; bone is kept.
BRIGHTEST_HU = 700.0

LESION_LAYOUT = [["main", "main", "soft", "locator"], ["main", "main", "coronal", "sagittal"]]
LESION_HEIGHT = 5.75
LESION_PANELS: tuple[tuple[str, View, Window], ...] = (
    ("main", AXIAL, LUNG),
    ("soft", AXIAL, SOFT_TISSUE),
    ("coronal", CORONAL, LUNG),
    ("sagittal", SAGITTAL, LUNG),
)


def overview_figure(
    scan: Volume, lesions: Volume, findings: Findings, lungs: Volume | None, boxes: Sequence[Box] | None = None
) -> bytes:
    """Coronal and sagittal mean projections with the lungs shaded and every lesion coloured and numbered.

    Args:
        scan: HU.
        lesions: label map on the scan's grid, ids as in `findings`.
        findings: the lesions to list beside the picture.
        lungs: label map on the scan's grid, above 0 inside the lungs; None where they are unknown.
        boxes: `canonical_boxes(lesions)`, where they are known already.

    Returns:
        A PNG. The sides of the body are true for every orientation of the file.

    Raises:
        MaskError: a mask is not on the scan's grid, or a lesion of `findings` is not in the label map.
    """
    turned, (labels, *others) = canonical(scan, lesions, *([lungs] if lungs else []))
    found = lesion_boxes(labels) if boxes is None else boxes
    by_id = {lesion.id: _box_of(lesion, labels, found) for lesion in findings.lesions}
    means = _projections(turned.voxels)
    widths_mm = [turned.shape[v.across] * turned.spacing_mm[v.across] for v in (CORONAL, SAGITTAL)]
    height_mm = turned.shape[0] * turned.spacing_mm[0]
    height = float(np.clip(7.6 * height_mm / sum(widths_mm), 2.6, 7.5)) + 0.4
    figure = Figure(figsize=(10.5, height), dpi=DPI)
    ratios = [*(7.6 * w / sum(widths_mm) for w in widths_mm), 2.7]
    places = figure.subplots(1, 3, width_ratios=ratios, gridspec_kw=_margins(height))
    for axes, view in zip(places, (CORONAL, SAGITTAL), strict=False):
        panel = Panel(axes, view, Frame.whole(turned.shape, turned.spacing_mm), turned.spacing_mm)
        _draw_projection(panel, means[view], others[0] if others else None)
        _draw_projected_lesions(panel, labels, by_id)
        panel.annotate_sides()
        axes.set_title(f"{view.name}, projection", **TITLE)
    _list_lesions(places[2], findings, lungs is not None)
    return to_png(figure)


def lesion_figure(scan: Volume, lesions: Volume, lesion: Lesion, boxes: Sequence[Box] | None = None) -> bytes:
    """One lesion: axial with its two axes, in two windows, coronal, sagittal, and where it is.

    Args:
        scan: HU.
        lesions: label map on the scan's grid.
        lesion: the one to show; coronal and sagittal planes run through its centroid.
        boxes: `canonical_boxes(lesions)`, where they are known already.

    Returns:
        A PNG.

    Raises:
        MaskError: the label map is not on the scan's grid or does not hold the lesion's id.
    """
    turned, (labels,) = canonical(scan, lesions)
    box = _box_of(lesion, labels, lesion_boxes(labels) if boxes is None else boxes)
    axial = canonical_slice(scan, turned, lesion.axial_slice)
    if not box[0].start <= axial < box[0].stop:
        raise _absent(lesion.id, labels)
    middle = np.rint(turned.to_index(lesion.centroid_mm)).astype(int)
    planes = {view: min(max(int(middle[view.axis]), 0), turned.shape[view.axis] - 1) for view in VIEWS}
    planes[AXIAL] = axial
    frame = Frame.around(box, turned.spacing_mm)
    figure = Figure(figsize=(11, LESION_HEIGHT), dpi=DPI)
    spaces = _margins(LESION_HEIGHT, above=0.65) | {"hspace": 0.1}
    places: dict[str, Axes] = figure.subplot_mosaic(LESION_LAYOUT, gridspec_kw=spaces)
    for name, view, window in LESION_PANELS:
        panel = Panel(places[name], view, frame, turned.spacing_mm)
        panel.show(view.plane(turned.voxels, planes[view]), window)
        if window is LUNG:
            _outline_lesions(panel, view.plane(labels, planes[view]), lesion.id)
        panel.annotate_sides()
        places[name].set_title(f"{view.name}, {window.name}", **TITLE)
    _draw_axes_of(Panel(places["main"], AXIAL, frame, turned.spacing_mm), turned, lesion)
    _draw_locator(places["locator"], turned, axial, frame)
    figure.suptitle(lesion_title(lesion), y=1 - 0.1 / LESION_HEIGHT, fontsize=11.5, fontweight="bold", color=INK)
    return to_png(figure)


def _margins(height: float, above: float = 0.3) -> dict[str, float]:
    """Room for titles of so many inches; matplotlib's own layout takes a sixth of the time of a report."""
    edge = 0.08
    return {"left": 0.008, "right": 0.992, "bottom": edge / height, "top": 1 - above / height, "wspace": 0.03}


def _absent(number: int, labels: NDArray[Any]) -> MaskError:
    held = [int(i) for i in np.unique(labels) if i > 0]
    return MaskError(
        f"lesion {number} is not where the findings say in the label map, which holds {held or 'no lesion'}; "
        "give the label map that the findings were measured on"
    )


def canonical_boxes(lesions: Volume) -> list[Box]:
    """The boxes of a label map's lesions by id, in the canonical axes that pictures are drawn in."""
    return lesion_boxes(Reorientation.to_canonical(lesions).apply_array(lesions.voxels))


def _box_of(lesion: Lesion, labels: NDArray[Any], boxes: Sequence[Box]) -> Box:
    box = boxes[lesion.id - 1] if lesion.id <= len(boxes) else None
    if box is None or box[0].start == box[0].stop:
        raise _absent(lesion.id, labels)
    return box


def _projections(voxels: NDArray[Any]) -> dict[View, NDArray[np.float32]]:
    """Means along the line of sight, which look like a radiograph; every other voxel is enough for that."""
    depth, height, width = voxels.shape
    means = {CORONAL: np.empty((depth, width), np.float32), SAGITTAL: np.empty((depth, height), np.float32)}
    for z, plane in enumerate(voxels):
        clipped = np.clip(plane, PADDING_HU, BRIGHTEST_HU)
        means[CORONAL][z] = clipped[::2].mean(axis=0)
        means[SAGITTAL][z] = clipped[:, ::2].mean(axis=1)
    return means


def _draw_projection(panel: Panel, mean: NDArray[np.float32], lungs: NDArray[Any] | None) -> None:
    low, high = (float(q) for q in np.percentile(mean, (1, 99.5)))
    panel.show(mean, Window("projection", low, max(high, low + 1.0)))
    if lungs is not None:
        shade = np.asarray(lungs.max(axis=panel.view.axis) > 0)
        panel.fill(shade, SKY, 0.16)
        panel.outline(shade, SKY, "dotted", width=0.9)


def _draw_projected_lesions(panel: Panel, labels: NDArray[Any], boxes: dict[int, Box]) -> None:
    """Each lesion by itself, so that one behind another is seen too; smallest last, on top."""
    view = panel.view
    for rank, (number, box) in enumerate(boxes.items()):
        shadow = np.zeros((labels.shape[view.down], labels.shape[view.across]), bool)
        shadow[box[view.down], box[view.across]] = (labels[box] == number).any(axis=view.axis)
        colour, style = lesion_style(number)
        panel.fill(shadow, colour, 0.5)
        panel.outline(shadow, colour, style)
        if rank < LARGEST_LISTED:
            middle = np.array([(part.start + part.stop - 1) / 2 for part in box])
            middle[view.across] = box[view.across].stop
            panel.number(middle * panel.spacing_mm, str(number), colour)


def _list_lesions(axes: Axes, findings: Findings, lungs_known: bool) -> None:
    axes.axis("off")
    entries = []
    for lesion in findings.lesions[:LARGEST_LISTED]:
        colour, style = lesion_style(lesion.id)
        text = f"{lesion.id}  {lesion.side or 'side unknown'}, {quantity(lesion.volume_ml, 'mL')}"
        entries.append(Line2D([], [], color=colour, linestyle=style, linewidth=4, label=text))
    if lungs_known:
        entries.append(Line2D([], [], color=SKY, linestyle="dotted", label="lungs"))
    more = len(findings.lesions) - LARGEST_LISTED
    title = f"{len(findings.lesions)} lesion{'s' * (len(findings.lesions) != 1)}"
    title += f", the largest {LARGEST_LISTED} numbered" if more > 0 else ""
    if entries:
        axes.legend(handles=entries, title=title, loc="center left", frameon=False, fontsize=9, alignment="left")
    else:
        axes.text(0, 0.5, "no lesion", fontsize=10, color=INK)


def _outline_lesions(panel: Panel, plane: NDArray[Any], number: int) -> None:
    colour, style = lesion_style(number)
    panel.outline((plane > 0) & (plane != number), "white", "dotted", width=0.9)
    panel.outline(plane == number, colour, style)


def _draw_axes_of(panel: Panel, turned: Volume, lesion: Lesion) -> None:
    for name, ends_mm, length_mm, style in (
        ("long", lesion.long_axis_ends_mm, lesion.long_axis_mm, LESION_LINES[0]),
        ("short", lesion.short_axis_ends_mm, lesion.short_axis_mm, LESION_LINES[1]),
    ):
        ends = turned.to_index(np.array(ends_mm)) * turned.spacing_mm
        panel.segment(ends, style, f"{name} axis {quantity(length_mm, 'mm')}")
    panel.legend()
    panel.axes.set_title(f"axial, {LUNG.name}, slice {lesion.axial_slice} (from 0)", **TITLE)


def _draw_locator(axes: Axes, turned: Volume, index: int, frame: Frame) -> None:
    """The whole slice with the border of the zoomed panels."""
    panel = Panel(axes, AXIAL, Frame.whole(turned.shape, turned.spacing_mm), turned.spacing_mm)
    panel.show(AXIAL.plane(turned.voxels, index), LUNG)
    panel.mark_frame(frame)
    panel.annotate_sides()
    axes.set_title("axial, whole slice", **TITLE)
