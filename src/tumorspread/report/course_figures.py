"""A lesion scan by scan, and how two scans were registered, as PNG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tumorspread.followup.follow import Course, Visit
from tumorspread.followup.record import Track, TrackPoint
from tumorspread.followup.registration import Registration, unregistered
from tumorspread.report.panel import DPI, INK, TITLE, Panel, lesion_style, to_png
from tumorspread.report.tables import quantity
from tumorspread.report.views import (
    AXIAL,
    CORONAL,
    LEAST_FRAME_MM,
    LUNG,
    MARGIN_MM,
    Frame,
    bounding_box,
    canonical,
    fullest_planes,
)
from tumorspread.report.wording import STATES
from tumorspread.scan.volume import Volume

MOST_COLUMNS = 4
WINDOW_HU = (-1000.0, 200.0)


@dataclass(frozen=True, eq=False)
class _Look:
    """Where one scan is looked at, in canonical axes."""

    scan: Volume
    mask: NDArray[np.bool_]
    others: NDArray[np.bool_]
    index: int
    middle_mm: NDArray[np.float64]
    extent_mm: float


def track_figure(course: Course, track: Track) -> bytes | None:
    """One track scan by scan: axial planes at its largest extent, all of one size, the lesion outlined.

    Args:
        course: the scans and what was found.
        track: the one to show; where a scan does not have it, the place where it would be is shown.

    Returns:
        A PNG; None where none of the scans is at hand.
    """
    looks = [_look(visit, point) for visit, point in zip(course.visits, track.points, strict=True)]
    if not any(looks):
        return None
    hidden = [point.state == "not_covered" for point in track.points]
    widest = max(look.extent_mm for look in looks if look)
    half = max(LEAST_FRAME_MM / 2, 0.6 * widest + MARGIN_MM)
    columns = min(MOST_COLUMNS, len(looks))
    rows = math.ceil(len(looks) / columns)
    figure = Figure(figsize=(2.75 * columns, 3.1 * rows), dpi=DPI, layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (axes, look) in enumerate(zip(places, looks, strict=False)):
        if look is None:
            words = "not in the scan" if hidden[number] else "scan not at hand"
            axes.text(0.5, 0.5, words, ha="center", fontsize=9, color=INK)
            axes.set(xticks=[], yticks=[])
        else:
            _draw_look(axes, look, half, track.id)
        axes.set_title(_title(course, track, number), **TITLE)
    for axes in places[len(looks) :]:
        axes.axis("off")
    return to_png(figure)


def _look(visit: Visit, point: TrackPoint) -> _Look | None:
    if visit.scan is None or point.place_mm is None or point.state == "not_covered":
        return None
    turned, (labels,) = canonical(visit.scan, visit.lesions)
    mask = np.isin(labels, point.lesion_ids) if point.lesion_ids else np.zeros(labels.shape, bool)
    place = turned.to_index(point.place_mm)
    box = bounding_box(mask)
    index, extent = int(np.clip(round(float(place[0])), 0, turned.shape[0] - 1)), 0.0
    if box is not None:
        index = fullest_planes(mask)[0]
        low, high = (np.array([getattr(part, end) for part in box]) for end in ("start", "stop"))
        place, extent = (low + high - 1) / 2, float(((high - low) * turned.spacing_mm)[1:].max())
    return _Look(turned, mask, (labels > 0) & ~mask, index, place * turned.spacing_mm, extent)


def _draw_look(axes: Axes, look: _Look, half_mm: float, number: int) -> None:
    z, y, x = (float(c) for c in look.middle_mm)
    frame = Frame((z - half_mm, y - half_mm, x - half_mm), (z + half_mm, y + half_mm, x + half_mm))
    panel = Panel(axes, AXIAL, frame, look.scan.spacing_mm)
    panel.show(AXIAL.plane(look.scan.voxels, look.index), LUNG)
    panel.outline(AXIAL.plane(look.others, look.index), "white", "dotted", width=0.9)
    panel.outline(AXIAL.plane(look.mask, look.index), *lesion_style(number))
    panel.annotate_sides()


def _title(course: Course, track: Track, number: int) -> str:
    day = course.followup.time_points[number].day
    when = f"scan {number + 1}" if day is None else f"day {day:g}"
    point = track.points[number]
    if not point.lesion_ids:
        return f"{when}: {STATES[point.state]}"
    return f"{when}: {quantity(point.volume_ml, 'mL')}, {quantity(point.long_axis_mm, 'mm')}"


def registration_figure(later: Visit, earlier: Visit, registration: Registration) -> bytes | None:
    """A coronal plane of the later scan with the earlier one over it, before and after registration.

    Args:
        later: the fixed scan, drawn in blue.
        earlier: the moving scan, drawn in orange; where both agree the picture is grey.
        registration: the way from the later scan's points to those of the earlier.

    Returns:
        A PNG; None where one of the scans is not at hand.
    """
    if later.scan is None or earlier.scan is None:
        return None
    turned, found = canonical(later.scan, *([later.lungs] if later.lungs is not None else []))
    index = fullest_planes(found[0] > 0)[1] if found else turned.shape[1] // 2
    depth, _, width = turned.shape
    plane = turned.crop((0, index, 0), (depth, index + 1, width))
    figure = Figure(figsize=(11, 0.6 + 5.3 * depth * turned.spacing_mm[0] / (width * turned.spacing_mm[2])), dpi=DPI)
    figure.set_layout_engine("constrained")
    ways = (("as they lie", unregistered()), ("registered", registration))
    for axes, (title, way) in zip(figure.subplots(1, 2), ways, strict=True):
        brought = way.bring_scan(earlier.scan, plane)
        _draw_both(axes, plane, brought)
        axes.set_title(title, **TITLE)
    return to_png(figure)


def _draw_both(axes: Axes, later: Volume, earlier: Volume) -> None:
    blue, orange = (_grey(volume.voxels[:, 0]) for volume in (later, earlier))
    # Orange and blue as in Okabe and Ito's palette: they add up to grey and stay apart for colour-blind eyes.
    mixed = np.stack([orange, 0.55 * orange + 0.45 * blue, blue], axis=-1)
    panel = Panel(axes, CORONAL, Frame.whole(later.shape, later.spacing_mm), later.spacing_mm)
    panel.show(blue, LUNG)
    across, down = (n * mm for n, mm in zip(later.shape[::-2], later.spacing_mm[::-2], strict=True))
    half = later.spacing_mm
    extent = (-half[2] / 2, across - half[2] / 2, -half[0] / 2, down - half[0] / 2)
    axes.imshow(mixed, extent=extent, origin="lower", aspect="equal", interpolation="hanning")
    panel.annotate_sides()


def _grey(plane: NDArray[Any]) -> NDArray[np.float32]:
    low, high = WINDOW_HU
    return np.asarray(np.clip((np.nan_to_num(plane.astype(np.float32), nan=low) - low) / (high - low), 0, 1))
