"""A result against a reference mask: pictures of hits, misses and false alarms for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.hits import Comparison, Match
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.report.figures import largest_planes, projection_plates, shadow_of
from tumorspread.report.panel import BOTH, ONLY_PREDICTED, ONLY_TRUTH, PREDICTED_COLOUR, TRUTH_COLOUR, agreement_planes
from tumorspread.report.plate import Plate
from tumorspread.report.scene import Picture, Scene
from tumorspread.report.views import AXIAL, LUNG, VIEWS, Box, Frame, View
from tumorspread.scan.volume import Reorientation

Kind = Literal["hit", "miss", "false alarm"]

PLANE_WIDTH, SMALL = 500, 240
# With a picture each; the others stand in the table without.
MOST_PICTURED = 20


@dataclass(frozen=True, eq=False)
class Row:
    """A line of the table of hits, misses and false alarms: a lesion, and its picture where there is one."""

    kind: Kind
    match: Match
    picture: Picture | None


def comparison_pictures(scene: Scene, comparison: Comparison) -> list[Picture]:
    """Where result and reference agree: projections of the lungs, and three planes through the largest lesion.

    The planes are those where the largest lesion of the reference is largest; without reference, of the result. Without
    either there are no planes.
    """
    truth = _turned(scene, comparison)
    boxes = lesion_boxes(truth)
    pictures = []
    all_boxes = [box for box in (*boxes, *scene.boxes) if box[0].stop]
    for name, plate in projection_plates(scene, all_boxes):
        shadows = [
            shadow_of(labels, plate.view, held)
            for labels, held in ((truth, _by_id(boxes)), (scene.labels, _by_id(scene.boxes)))
        ]
        _draw_agreement(plate, *shadows)
        pictures.append(Picture(name, f"{name.capitalize()} projection", plate))
    for labels, held in ((truth, boxes), (scene.labels, scene.boxes)):
        for number, box in _by_id(held).items():
            return pictures + _planes(scene, truth, labels[box] == number, box)
    return pictures


def comparison_rows(scene: Scene, comparison: Comparison) -> list[Row]:
    """Every lesion of the reference, hit or missed, then every false alarm, each kind largest first."""
    truth = _turned(scene, comparison)
    boxes = lesion_boxes(truth)
    order: list[tuple[Kind, Match, Box, NDArray[Any]]] = [
        ("hit" if match.is_hit else "miss", match, boxes[match.id - 1], truth) for match in comparison.reference_lesions
    ]
    order.sort(key=lambda entry: entry[0] != "miss")
    order += [
        ("false alarm", match, scene.boxes[match.id - 1], scene.labels)
        for match in comparison.found_lesions
        if not match.is_hit
    ]
    return [
        Row(kind, match, _close_up(scene, truth, labels, match.id, box) if rank < MOST_PICTURED else None)
        for rank, (kind, match, box, labels) in enumerate(order)
    ]


def _by_id(boxes: list[Box]) -> dict[int, Box]:
    return {number: box for number, box in enumerate(boxes, 1) if box[0].stop}


def _turned(scene: Scene, comparison: Comparison) -> NDArray[Any]:
    return Reorientation.to_canonical(scene.scan).apply_array(comparison.reference.voxels)


def _planes(scene: Scene, truth: NDArray[Any], inside: NDArray[np.bool_], box: Box) -> list[Picture]:
    planes = largest_planes(inside, box)
    frame = Frame.around(box, scene.turned.spacing_mm)
    scale = PLANE_WIDTH / (frame.high_mm[0] - frame.low_mm[0])
    pictures = []
    for view in VIEWS:
        plate = Plate.blank(view, frame, scene.turned.spacing_mm, scale)
        _draw_plane(plate, scene, truth, view, planes[view])
        pictures.append(Picture(view.name, f"{view.name.capitalize()}, {LUNG.name}", plate))
    return pictures


def _draw_plane(plate: Plate, scene: Scene, truth: NDArray[Any], view: View, index: int) -> None:
    plate.show(view.plane(scene.turned.voxels, index), LUNG)
    _draw_agreement(plate, view.plane(truth, index) > 0, view.plane(scene.labels, index) > 0)


def _draw_agreement(plate: Plate, truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> None:
    for kind, where in agreement_planes(truth, found):
        plate.fill(where, kind.colour, 0.35, kind.hatch)
    plate.outline(truth, TRUTH_COLOUR, "dashed")
    plate.outline(found, PREDICTED_COLOUR)
    plate.annotate_sides()


def _close_up(scene: Scene, truth: NDArray[Any], labels: NDArray[Any], number: int, box: Box) -> Picture:
    index = largest_planes(labels[box] == number, box)[AXIAL]
    frame = Frame.around(box, scene.turned.spacing_mm)
    scale = SMALL / (frame.high_mm[2] - frame.low_mm[2])
    plate = Plate.blank(AXIAL, frame, scene.turned.spacing_mm, scale)
    plate.show(AXIAL.plane(scene.turned.voxels, index), LUNG)
    plate.outline(AXIAL.plane(truth, index) > 0, TRUTH_COLOUR, "dashed")
    plate.outline(AXIAL.plane(scene.labels, index) > 0, PREDICTED_COLOUR)
    plate.annotate_sides()
    return Picture(f"close-{number}", "", plate)


LEGEND = (
    (BOTH, "both"),
    (ONLY_TRUTH, "reference alone: missed"),
    (ONLY_PREDICTED, "result alone: false"),
)
