from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tumorspread.report import plate as plates
from tumorspread.report.panel import ORANGE
from tumorspread.report.plate import Plate
from tumorspread.report.views import AXIAL, CORONAL, SAGITTAL, Frame, Window

SPACING = (4.0, 2.0, 1.0)
SHAPE = (10, 20, 40)
GREY = Window("grey", 0.0, 255.0)


def whole(view, scale: float = 4.0) -> Plate:
    return Plate.blank(view, Frame.whole(SHAPE, SPACING), SPACING, scale)


@pytest.mark.parametrize(("view", "size"), [(AXIAL, (160, 160)), (CORONAL, (160, 160)), (SAGITTAL, (160, 160))])
def test_a_voxel_is_drawn_where_its_place_says(view, size):
    rows, columns = SHAPE[view.down], SHAPE[view.across]
    plane = np.zeros((rows, columns), np.int16)
    plane[2, 5] = 255
    drawn = whole(view)
    drawn.show(plane, GREY)
    assert drawn.pixels.shape[:2] == size
    down, across = np.unravel_index(drawn.pixels[..., 0].argmax(), size)
    point = np.zeros(3)
    point[view.down], point[view.across] = 2 * SPACING[view.down], 5 * SPACING[view.across]
    assert np.allclose(drawn.place_of(point), (across + 0.5, down + 0.5), atol=1.0)


def test_heads_are_up_in_coronal_planes_and_faces_are_up_in_axial_ones():
    low = np.zeros(3)
    assert whole(CORONAL).place_of(low)[1] > 140
    assert whole(AXIAL).place_of(low)[1] < 20


def test_grey_values_between_the_ends_of_the_window_are_even():
    drawn = whole(AXIAL)
    drawn.show(np.full((20, 40), -600), Window("w", -1000.0, 0.0))
    assert set(np.unique(drawn.pixels[20:-20, 20:-20])) == {102}


def test_what_lies_outside_the_scan_is_black():
    drawn = Plate.blank(AXIAL, Frame((0, -40, -40), (0, 80, 80)), SPACING, 2.0)
    drawn.show(np.full((20, 40), 255), GREY)
    assert drawn.pixels[:60].max() == 0
    assert drawn.pixels[100, 100].min() == 255


def test_an_outline_runs_half_way_between_inner_and_outer_voxels(monkeypatch):
    lines = []
    monkeypatch.setattr(Plate, "_line", lambda plate, points, *rest, **more: lines.append(points))
    mask = np.zeros((20, 40), bool)
    mask[5:9, 10:20] = True
    drawn = whole(AXIAL)
    drawn.outline(mask, ORANGE)
    corner = np.array([lines[0].min(axis=0), lines[0].max(axis=0)])
    faces = [drawn.place_of(np.array([0, y * 2.0, x])) for y, x in ((4.5, 9.5), (8.5, 19.5))]
    np.testing.assert_allclose(corner, faces)


def test_no_outline_and_no_tint_of_an_empty_mask():
    drawn = whole(AXIAL)
    drawn.outline(np.zeros((20, 40), bool), ORANGE)
    drawn.fill(np.zeros((20, 40), bool), ORANGE, 0.5, "/")
    assert drawn.pixels.max() == 0


def test_a_tint_covers_the_voxels_of_the_mask_to_their_edges():
    mask = np.zeros((20, 40), bool)
    mask[5:9, 10:20] = True
    drawn = whole(AXIAL)
    drawn.fill(mask, "#ff0000", 0.5)
    # 4 rows of 2 mm and 10 columns of 1 mm at 4 pixels a mm.
    assert (drawn.pixels[..., 0] > 0).sum() == (4 * 2 * 4) * (10 * 1 * 4)
    assert set(np.unique(drawn.pixels[..., 0])) == {0, 128}


def test_dashes_keep_their_share_of_a_line_and_its_corners():
    line = np.array([[0.0, 0.0], [60.0, 0.0], [60.0, 60.0]])
    pieces = plates._dashes(line, 9, 6)
    drawn = sum(float(np.linalg.norm(np.diff(piece, axis=0), axis=1).sum()) for piece in pieces)
    assert drawn == pytest.approx(0.6 * 120, rel=0.1)
    assert len(pieces) in (8, 9)  # the last may be a point
    assert all((np.isclose(piece[:, 0], 60) | np.isclose(piece[:, 1], 0)).all() for piece in pieces)


def test_text_at_the_edge_is_moved_into_the_picture():
    drawn = whole(AXIAL)
    drawn.write("long 12.3 mm", (158, 1), "lm", 15)
    lit = np.argwhere(drawn.pixels[..., 0] > 128)
    assert lit[:, 1].max() < 159
    assert lit[:, 1].max() - lit[:, 1].min() > 80


def test_text_wider_than_the_picture_is_cut_and_no_error():
    drawn = Plate.blank(AXIAL, Frame((0, 0, 0), (0, 9, 9)), SPACING, 1.0)
    drawn.write("much too long for nine pixels", (4, 4), "mm")
    assert drawn.pixels.shape == (9, 9, 3)


@pytest.mark.parametrize(("view", "letters"), [(AXIAL, "RLAP"), (CORONAL, "RLHF"), (SAGITTAL, "APHF")])
def test_letters_stand_at_the_edges_and_the_scale_bar_has_its_length(view, letters, monkeypatch):
    texts, lines = [], []
    monkeypatch.setattr(Plate, "write", lambda plate, text, place, *rest: texts.append((text, place)))
    monkeypatch.setattr(Plate, "_line", lambda plate, points, *rest, **more: lines.append(points))
    drawn = whole(view)
    drawn.annotate_sides()
    (left, right, top, bottom), bar = texts[:4], texts[4]
    assert "".join(text for text, _ in texts[:4]) == letters
    assert left[1][0] < 10 < 150 < right[1][0]
    assert top[1][1] < 10 < 150 < bottom[1][1]
    assert bar[0] == "1 cm"
    assert np.linalg.norm(lines[0][1] - lines[0][0]) == pytest.approx(10 * 4)


def test_a_picture_comes_out_as_it_was_drawn():
    drawn = whole(AXIAL)
    drawn.show(np.tile(np.linspace(0, 255, 40), (20, 1)), GREY)
    back = np.asarray(Image.open(io.BytesIO(drawn.packed())))
    assert np.abs(back.astype(int) - drawn.pixels).mean() < 2
