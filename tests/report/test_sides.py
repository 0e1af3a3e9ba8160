"""Left and right, up and down, front and back: a marker at each of the six ends of a body, however it is stored."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from tumorspread.pipeline import measure
from tumorspread.report.figures import lesion_figure, overview_figure
from tumorspread.report.panel import lesion_style
from tumorspread.report.scene import Scene
from tumorspread.report.thumbnail import thumbnail
from tumorspread.report.views import AXIAL, CORONAL, LUNG, SAGITTAL
from tumorspread.scan.volume import Reorientation, Volume

# Where each end of the body lies in a canonical array: axis and whether at its end.
ENDS = {"R": (2, False), "L": (2, True), "A": (1, False), "P": (1, True), "F": (0, False), "H": (0, True)}
# Of a picture: its left, right, upper and lower edge as axis of the picture and whether at its end.
EDGES = ((1, False), (1, True), (0, False), (0, True))
SHAPE, SPACING = (30, 36, 44), (3.0, 2.0, 1.5)
ORDERS = {
    "as it is": Reorientation((0, 1, 2), (False, False, False)),
    "feet first": Reorientation((0, 1, 2), (True, False, False)),
    "mirrored": Reorientation((0, 1, 2), (False, False, True)),
    "face down": Reorientation((0, 1, 2), (False, True, True)),
    "sagittal slices": Reorientation((2, 0, 1), (False, True, False)),
    "coronal slices": Reorientation((1, 0, 2), (True, True, False)),
    "axes reversed": Reorientation((2, 1, 0), (False, False, True)),
}


@dataclass(frozen=True)
class Marked:
    """A body with one marker, which is its only lesion and the only bright place."""

    scan: Volume
    lesions: Volume


def marked(end: str, order: Reorientation) -> Marked:
    axis, is_last = ENDS[end]
    middle = [slice(n // 2 - 2, n // 2 + 2) for n in SHAPE]
    middle[axis] = slice(SHAPE[axis] - 5, SHAPE[axis] - 2) if is_last else slice(2, 5)
    voxels = np.full(SHAPE, -800, np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    voxels[tuple(middle)], labels[tuple(middle)] = 600, 1
    scan = Volume.upright(voxels, SPACING)
    return Marked(order.apply(scan), order.apply(scan.with_voxels(labels)))


def check_end(end: str, letters: tuple[str, ...], where: np.ndarray) -> None:
    """The marked pixels lie at the edge that bears the letter; across the other axes in the middle."""
    if end not in letters:
        return
    axis, is_last = EDGES[letters.index(end)]
    shares = np.argwhere(where).mean(axis=0) / where.shape
    assert (shares[axis] > 0.7) == is_last
    assert (shares[axis] < 0.3) != is_last
    assert shares[1 - axis] == pytest.approx(0.5, abs=0.1)


def coloured(pixels: np.ndarray) -> np.ndarray:
    colour = np.array(to_rgb(lesion_style(1)[0])) * 255
    return np.abs(pixels.astype(int) - colour).max(axis=2) < 60


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("end", ENDS)
def test_a_marker_at_an_end_of_the_body_is_at_the_edge_with_its_letter(end, order):
    body = marked(end, order)
    analysis = measure(body.scan, body.lesions.with_voxels(body.lesions.voxels > 0))
    scene = Scene.of(analysis.scan, analysis.lesions)
    overview = {picture.name: picture.plate for picture in overview_figure(scene, analysis.findings)}
    for view in (CORONAL, SAGITTAL):
        check_end(end, view.letters, coloured(overview[view.name].pixels))
    whole = next(p for p in lesion_figure(scene, analysis.findings.lesions[0]) if p.name == "whole").plate
    if end in AXIAL.letters:
        plain = scene.turned.voxels[scene.boxes[0][0].start + 1]
        whole.show(plain, LUNG)
        check_end(end, AXIAL.letters, whole.pixels[..., 0] > 128)
    small = np.asarray(Image.open(io.BytesIO(thumbnail(body.scan, body.lesions, None))).convert("RGB"))
    check_end(end, CORONAL.letters, coloured(small))
