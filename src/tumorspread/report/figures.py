"""Pictures of a scan and its lesions: the overview, and five planes a lesion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.report.panel import SKY, lesion_style
from tumorspread.report.plate import Plate
from tumorspread.report.scene import Picture, Scene
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
    canonical_slice,
    file_slice,
)
from tumorspread.scan.pages import let_go, planes_a_stretch
from tumorspread.scan.volume import Volume

# More numbers than this cover the lungs they are written on.
LARGEST_NUMBERED = 30
PADDING_HU = -1024.0
# Metal and contrast would bleach a projection; bone is kept.
BRIGHTEST_HU = 700.0
MARGIN_MM = 15.0
# Half as many pixels again as a screen shows, for print and for screens with small pixels.
OVERVIEW_WIDTH, LARGE, SMALL = 1500, 760, 380
TEXT = 17

LESION_PLATES: tuple[tuple[str, View, Window, int], ...] = (
    ("axial", AXIAL, LUNG, LARGE),
    ("soft", AXIAL, SOFT_TISSUE, SMALL),
    ("coronal", CORONAL, LUNG, SMALL),
    ("sagittal", SAGITTAL, LUNG, SMALL),
)


def overview_figure(scene: Scene, findings: Findings) -> list[Picture]:
    """Coronal and sagittal mean projections of the lungs with every lesion coloured and numbered.

    Args:
        scene: the scan; where its lungs are known the pictures are of them, else of the whole scan.
        findings: the lesions.

    Returns:
        Two pictures of one scale. The sides of the body are true for every orientation of the file.

    Raises:
        MaskError: a lesion of `findings` is not in the label map.
    """
    boxes = {lesion.id: scene.box_of(lesion.id) for lesion in findings.lesions}
    pictures = []
    for name, plate in projection_plates(scene, list(boxes.values())):
        _draw_projected_lesions(plate, scene.labels, boxes)
        plate.annotate_sides()
        pictures.append(Picture(name, f"{name.capitalize()} projection", plate))
    return pictures


def projection_plates(scene: Scene, boxes: Sequence[Box]) -> Iterator[tuple[str, Plate]]:
    """Coronal and sagittal mean projection of the lungs in outline, of one scale, to draw lesions on.

    Args:
        scene: the scan.
        boxes: what must be seen beside the lungs.
    """
    inside = _around_lungs(scene, boxes)
    frame = _with_margin(inside, scene)
    widths_mm = sum(frame.high_mm[view.across] - frame.low_mm[view.across] for view in (CORONAL, SAGITTAL))
    means = _projections(scene.turned.voxels, _voxels_of(frame, scene))
    for view in (CORONAL, SAGITTAL):
        plate = Plate.blank(view, frame, scene.turned.spacing_mm, OVERVIEW_WIDTH / widths_mm)
        _draw_projection(plate, means[view], scene.lungs, inside)
        yield view.name, plate


def shadow_of(labels: NDArray[Any], view: View, boxes: dict[int, Box]) -> NDArray[np.bool_]:
    """Where some lesions of a label map lie in a projection, by id and box."""
    shadow = np.zeros((labels.shape[view.down], labels.shape[view.across]), bool)
    for number, box in boxes.items():
        shadow[box[view.down], box[view.across]] |= (labels[box] == number).any(axis=view.axis)
    return shadow


def lesion_figure(scene: Scene, lesion: Lesion) -> list[Picture]:
    """One lesion in three planes at its largest extent, the axial one in two windows, and where it is.

    Args:
        scene: the scan.
        lesion: the one to show: axial in the slice of its axes, coronal and sagittal where most of it is seen.

    Returns:
        `axial` with the axes and their values, `soft`, `coronal`, `sagittal`, `whole`.

    Raises:
        MaskError: the label map does not hold the lesion.
    """
    box = scene.box_of(lesion.id)
    planes = largest_planes(scene.labels[box] == lesion.id, box)
    planes[AXIAL] = canonical_slice(scene.scan, scene.turned, lesion.axial_slice)
    if not box[0].start <= planes[AXIAL] < box[0].stop:
        raise scene.absent(lesion.id)
    frame = Frame.around(box, scene.turned.spacing_mm)
    side_mm = frame.high_mm[0] - frame.low_mm[0]
    pictures = []
    for name, view, window, width in LESION_PLATES:
        plate = Plate.blank(view, frame, scene.turned.spacing_mm, width / side_mm)
        plate.show(view.plane(scene.turned.voxels, planes[view]), window)
        if name != "soft":
            _outline_lesions(plate, view.plane(scene.labels, planes[view]), lesion.id)
        if name == "axial":
            _draw_axes_of(plate, scene.turned, lesion)
        plate.annotate_sides()
        pictures.append(Picture(name, _title(scene, view, window, planes[view]), plate))
    pictures.append(_whole_slice(scene, planes[AXIAL], frame))
    return pictures


def _title(scene: Scene, view: View, window: Window, index: int) -> str:
    where = f", slice {file_slice(scene.scan, scene.turned, index)}" if view is AXIAL else ""
    return f"{view.name.capitalize()}{where}, {window.name}"


def _around_lungs(scene: Scene, lesions: Sequence[Box]) -> Box:
    """The box of the lungs and of all lesions; the whole scan where the lungs are unknown."""
    lungs = [box for box in lesion_boxes(scene.lungs) if box[0].stop] if scene.lungs is not None else []
    if not lungs:
        z, y, x = (slice(0, count) for count in scene.turned.shape)
        return z, y, x
    held = [*lungs, *lesions]
    z, y, x = (slice(min(b[axis].start for b in held), max(b[axis].stop for b in held)) for axis in range(3))
    return z, y, x


def _with_margin(box: Box, scene: Scene) -> Frame:
    """The frame of a box with some room, within the scan."""
    whole = Frame.whole(scene.turned.shape, scene.turned.spacing_mm)
    steps = scene.turned.spacing_mm
    low = [max(e, (b.start - 0.5) * s - MARGIN_MM) for b, s, e in zip(box, steps, whole.low_mm, strict=True)]
    high = [min(e, (b.stop - 0.5) * s + MARGIN_MM) for b, s, e in zip(box, steps, whole.high_mm, strict=True)]
    return Frame((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _voxels_of(frame: Frame, scene: Scene) -> Box:
    z, y, x = (
        slice(max(0, int(low / step)), min(count, int(high / step) + 2))
        for low, high, step, count in zip(
            frame.low_mm, frame.high_mm, scene.turned.spacing_mm, scene.turned.shape, strict=True
        )
    )
    return z, y, x


def _projections(voxels: NDArray[Any], box: Box) -> dict[View, NDArray[np.float32]]:
    """Means over a box along the line of sight, which look like a radiograph, in planes of the whole scan.

    Every other voxel is enough for that.
    """
    depth, height, width = voxels.shape
    means = {
        CORONAL: np.full((depth, width), PADDING_HU, np.float32),
        SAGITTAL: np.full((depth, height), PADDING_HU, np.float32),
    }
    for z in range(box[0].start, box[0].stop):
        clipped = np.clip(voxels[z][box[1:]], PADDING_HU, BRIGHTEST_HU)
        means[CORONAL][z, box[2]] = clipped[::2].mean(axis=0, dtype=np.float32)
        means[SAGITTAL][z, box[1]] = clipped[:, ::2].mean(axis=1, dtype=np.float32)
        if z % planes_a_stretch(voxels) == 0:
            let_go(voxels)
    return means


def _draw_projection(plate: Plate, mean: NDArray[np.float32], lungs: NDArray[Any] | None, box: Box) -> None:
    seen = mean[box[plate.view.down], box[plate.view.across]]
    low, high = (float(q) for q in np.percentile(seen, (1, 99.5)))
    plate.show(mean, Window("projection", low, max(high, low + 1.0)))
    if lungs is not None:
        shade = np.zeros(mean.shape, bool)
        shade[box[plate.view.down], box[plate.view.across]] = lungs[box].max(axis=plate.view.axis) > 0
        plate.outline(shade, SKY, width=1, rim=False)


def _draw_projected_lesions(plate: Plate, labels: NDArray[Any], boxes: dict[int, Box]) -> None:
    """Each lesion by itself, so that one behind another is seen too; smallest last, on top, numbers above all."""
    view = plate.view
    taken: list[NDArray[np.float64]] = []
    for number, box in boxes.items():
        shadow = shadow_of(labels, view, {number: box})
        colour, style = lesion_style(number)
        plate.fill(shadow, colour, 0.45)
        plate.outline(shadow, colour, style)
    for number, box in list(boxes.items())[:LARGEST_NUMBERED]:
        corners = np.array([[part.start - 0.5 for part in box], [part.stop - 0.5 for part in box]])
        ends = np.array([plate.place_of(corner * plate.spacing_mm) for corner in corners])
        place = _free_place(ends, str(number), taken)
        taken.append(place)
        plate.write(str(number), (place[0], place[1]), "mm", TEXT, lesion_style(number)[0])


def _free_place(ends: NDArray[np.float64], text: str, taken: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Beside a lesion, where no other number stands yet: right, left, above, below; else right of it."""
    middle, reach = ends.mean(axis=0), np.abs(ends[1] - ends[0]) / 2
    wide = 4 + 0.4 * TEXT * len(text)
    steps = np.array([[reach[0] + wide, 0], [-reach[0] - wide, 0], [0, -reach[1] - TEXT], [0, reach[1] + TEXT]])
    for step in steps:
        if all(
            np.abs(middle + step - other)[0] > 2 * wide or abs((middle + step - other)[1]) > TEXT for other in taken
        ):
            return np.asarray(middle + step)
    return np.asarray(middle + steps[0])


def largest_planes(inside: NDArray[np.bool_], box: Box) -> dict[View, int]:
    """Of each view the plane with most voxels of the lesion; of several the one nearest to its middle."""
    planes = {}
    for view in VIEWS:
        counts = inside.sum(axis=(view.down, view.across))
        best = np.flatnonzero(counts == counts.max())
        middle = (len(counts) - 1) / 2
        planes[view] = box[view.axis].start + int(best[np.abs(best - middle).argmin()])
    return planes


def _outline_lesions(plate: Plate, plane: NDArray[Any], number: int) -> None:
    colour, style = lesion_style(number)
    plate.outline((plane > 0) & (plane != number), "white", "dotted", 1)
    plate.outline(plane == number, colour, style)


def _draw_axes_of(plate: Plate, turned: Volume, lesion: Lesion) -> None:
    """Both axes, and their values at those ends that point up, away from the scale bar."""
    for name, ends_mm, length_mm, style in (
        ("long", lesion.long_axis_ends_mm, lesion.long_axis_mm, "solid"),
        ("short", lesion.short_axis_ends_mm, lesion.short_axis_mm, "dashed"),
    ):
        ends = turned.to_index(np.array(ends_mm)) * turned.spacing_mm
        plate.segment(ends, style)  # type: ignore[arg-type]
        first, last = (plate.place_of(end) for end in ends)
        tip, other = (first, last) if first[1] <= last[1] else (last, first)
        towards = (tip - other) / max(float(np.linalg.norm(tip - other)), 1.0)
        anchor = ("l" if towards[0] > 0.3 else "r" if towards[0] < -0.3 else "m") + ("b" if towards[1] < -0.3 else "m")
        x, y = tip + 9 * towards
        plate.write(f"{name} {quantity(length_mm, 'mm')}", (x, y), anchor, 18)


def _whole_slice(scene: Scene, index: int, frame: Frame) -> Picture:
    """The whole axial slice with the border of the zoomed pictures."""
    whole = Frame.whole(scene.turned.shape, scene.turned.spacing_mm)
    width_mm = max(whole.high_mm[axis] - whole.low_mm[axis] for axis in (1, 2))
    plate = Plate.blank(AXIAL, whole, scene.turned.spacing_mm, SMALL / width_mm)
    plate.show(AXIAL.plane(scene.turned.voxels, index), LUNG)
    plate.mark_frame(frame)
    plate.annotate_sides()
    return Picture("whole", "Whole slice", plate)
