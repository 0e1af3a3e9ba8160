from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from tumorspread.report.panel import (
    GREEN,
    ORANGE,
    SKY,
    YELLOW,
    Panel,
    agreement_planes,
    lesion_style,
    to_png,
)
from tumorspread.report.views import AXIAL, CORONAL, LUNG, SAGITTAL, VIEWS, Frame

SPACING = (5.0, 4.0, 3.0)
SHAPE = (24, 40, 48)


def panel_of(view=AXIAL, frame=None) -> Panel:
    figure = Figure(figsize=(4, 4), dpi=100)
    panel = Panel(figure.subplots(), view, frame or Frame.whole(SHAPE, SPACING), SPACING)
    panel.show(np.full((SHAPE[view.down], SHAPE[view.across]), -800.0), LUNG)
    panel.annotate_sides()
    FigureCanvasAgg(figure).draw()
    return panel


def on_screen(panel: Panel, down_mm: float, across_mm: float) -> np.ndarray:
    return panel.axes.transData.transform((across_mm, down_mm))


def letters(panel: Panel) -> dict[str, np.ndarray]:
    texts = [t for t in panel.axes.texts if t.get_text() in "RLAPHF"]
    return {t.get_text(): panel.axes.transAxes.transform(t.get_position()) for t in texts}


@pytest.mark.parametrize(
    ("view", "towards_low", "towards_high", "axis"),
    [
        (AXIAL, "R", "L", 2),
        (AXIAL, "A", "P", 1),
        (CORONAL, "R", "L", 2),
        (CORONAL, "F", "H", 0),
        (SAGITTAL, "A", "P", 1),
        (SAGITTAL, "F", "H", 0),
    ],
)
def test_moving_along_a_canonical_axis_moves_towards_its_letter(view, towards_low, towards_high, axis):
    panel = panel_of(view)
    start, stop = np.array([20.0, 20.0, 20.0]), np.array([20.0, 20.0, 20.0])
    stop[axis] += 40
    moved = on_screen(panel, stop[view.down], stop[view.across]) - on_screen(
        panel, start[view.down], start[view.across]
    )
    places = letters(panel)
    line = places[towards_high] - places[towards_low]
    assert moved @ line == pytest.approx(np.linalg.norm(moved) * np.linalg.norm(line))


def test_letters_stand_in_radiological_convention():
    places = letters(panel_of(AXIAL))
    assert places["L"][0] > places["R"][0]
    assert places["A"][1] > places["P"][1]
    places = letters(panel_of(SAGITTAL))
    assert places["P"][0] > places["A"][0]
    assert places["H"][1] > places["F"][1]


@pytest.mark.parametrize("view", VIEWS)
def test_a_millimetre_is_as_long_down_as_across_in_voxels_of_unequal_edges(view):
    panel = panel_of(view)
    origin = on_screen(panel, 0, 0)
    down, across = on_screen(panel, 30, 0) - origin, on_screen(panel, 0, 30) - origin
    assert np.linalg.norm(down) == pytest.approx(np.linalg.norm(across))


def test_the_scale_bar_is_as_long_as_it_says():
    panel = panel_of(AXIAL)
    bar = panel.axes.lines[-1]
    shares = np.ptp(bar.get_xdata())
    text = next(t.get_text() for t in panel.axes.texts if t.get_text().endswith("cm"))
    assert shares * 48 * 3.0 == pytest.approx(10 * float(text.removesuffix(" cm")))


def test_the_outline_passes_half_way_between_inner_and_outer_pixels():
    panel = panel_of(AXIAL)
    plane = np.zeros(SHAPE[1:], bool)
    plane[10:14, 20:29] = True
    panel.outline(plane, ORANGE)
    vertices = np.vstack([path.vertices for path in panel.axes.collections[-1].get_paths()])
    np.testing.assert_allclose(vertices.min(axis=0), (19.5 * 3, 9.5 * 4))
    np.testing.assert_allclose(vertices.max(axis=0), (28.5 * 3, 13.5 * 4))


def test_the_outline_of_a_mask_at_the_edge_of_the_scan_is_closed():
    panel = panel_of(AXIAL)
    plane = np.zeros(SHAPE[1:], bool)
    plane[:5, :5] = True
    panel.outline(plane, ORANGE)
    (path,) = panel.axes.collections[-1].get_paths()
    np.testing.assert_allclose(path.vertices[0], path.vertices[-1])
    np.testing.assert_allclose(path.vertices.min(axis=0), (-1.5, -2.0))


def test_one_voxel_still_has_an_outline_and_an_empty_mask_has_none():
    panel = panel_of(AXIAL)
    plane = np.zeros(SHAPE[1:], bool)
    panel.outline(plane, ORANGE)
    panel.fill(plane, ORANGE, 0.5, "//")
    assert len(panel.axes.collections) == 0
    plane[7, 7] = True
    panel.outline(plane, ORANGE)
    assert len(panel.axes.collections) == 1


def test_pixels_are_drawn_where_their_voxels_are():
    """A single bright voxel within a frame that cuts the grid on all sides."""
    figure = Figure(figsize=(4, 4), dpi=100)
    panel = Panel(figure.subplots(), CORONAL, Frame((20.0, 0.0, 30.0), (80.0, 60.0, 90.0)), SPACING)
    plane = np.full((24, 48), -1350.0)
    plane[6, 26] = 150.0
    panel.show(plane, LUNG)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    gray = np.asarray(canvas.buffer_rgba())[..., 0].astype(float)
    across, down = panel.axes.transData.transform((26 * 3.0, 6 * 5.0))
    box = panel.axes.get_window_extent()
    inside = gray[int(400 - box.y1) + 2 : int(400 - box.y0) - 2, int(box.x0) + 2 : int(box.x1) - 2]
    rows, columns = np.indices(inside.shape)
    assert (rows * inside).sum() / inside.sum() + int(400 - box.y1) + 2 == pytest.approx(400 - down, abs=1.5)
    assert (columns * inside).sum() / inside.sum() + int(box.x0) + 2 == pytest.approx(across, abs=1.5)


def test_a_tint_covers_its_pixels_to_their_edges():
    panel = panel_of(CORONAL)
    plane = np.zeros((24, 48), bool)
    plane[3:5, 30:40] = True
    panel.fill(plane, ORANGE, 0.5)
    image = panel.axes.images[-1]
    left, right, first, last = image.get_extent()
    assert (left, right, first, last) == (29.5 * 3, 39.5 * 3, 2.5 * 5, 4.5 * 5)
    assert image.origin == "lower"
    tint = image.get_array()
    assert tint.shape[:2] == (2, 10)
    assert (tint[..., 3] == 128).all()


def test_agreement_splits_the_union_without_overlap():
    rng = np.random.default_rng(5)
    truth, predicted = rng.random((2, 9, 9)) > 0.5
    planes = [where for _, where in agreement_planes(truth, predicted)]
    np.testing.assert_array_equal(sum(p.astype(int) for p in planes), (truth | predicted).astype(int))
    kinds = [kind for kind, _ in agreement_planes(truth, predicted)]
    assert len({kind.colour for kind in kinds}) == len({kind.hatch for kind in kinds}) == 3


def test_the_first_eighteen_lesions_differ_in_colour_or_line():
    assert len({lesion_style(number) for number in range(1, 19)}) == 18


@pytest.mark.parametrize("shaded_share", [0.02, 0.2])
def test_the_png_keeps_greys_and_the_colours_of_small_patches(shaded_share):
    """A large area in a thousand shades of one colour must not take the palette from small ones."""
    picture = np.repeat(np.tile(np.linspace(0, 255, 400), (400, 1))[..., None], 3, axis=2)
    rows = int(400 * shaded_share)
    shades = np.random.default_rng(2).uniform(0.3, 1.0, (rows, 400, 1))
    picture[:rows] = shades * np.array(to_rgb(SKY)) * 255
    for place, colour in enumerate((ORANGE, GREEN, YELLOW)):
        picture[390:394, 100 * place : 100 * place + 6] = np.array(to_rgb(colour)) * 255
    figure = Figure(figsize=(4, 4), dpi=100)
    figure.figimage(picture.astype(np.uint8))
    png = np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB")).astype(int)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    assert np.abs(png - drawn).max() <= 16
