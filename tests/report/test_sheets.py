from __future__ import annotations

import numpy as np
import pytest

from tumorspread.errors import MaskError
from tumorspread.report import sheets
from tumorspread.report.sheets import patches_figure, slices_comparison_figure
from tumorspread.scan.volume import Volume


@pytest.fixture
def drawn(monkeypatch):
    kept = []
    monkeypatch.setattr(sheets, "to_png", lambda figure: kept.append(figure) or b"")
    return kept


def stack(count: int) -> tuple[Volume, Volume, Volume]:
    images = np.random.default_rng(1).random((count, 16, 16)).astype(np.float32)
    truth, predicted = np.zeros((2, count, 16, 16), np.uint8)
    truth[:, 4:8, 4:8] = 1
    predicted[:, 4:8, 5:9] = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]]
    return Volume(images, affine), Volume(truth, affine), Volume(predicted, affine)


def test_each_slice_is_a_column_of_truth_prediction_and_overlay(drawn):
    slices_comparison_figure(*stack(3), title="t")
    assert len(drawn[0].axes) == 9
    assert [a.get_title() for a in drawn[0].axes[:3]] == ["slice 0", "slice 1", "slice 2"]
    texts = [t.get_text() for t in drawn[0].legends[0].get_texts()]
    assert [t.split(": ")[1] for t in texts] == ["36 pixels", "12 pixels", "12 pixels"]


def test_of_many_slices_ten_are_shown_from_the_first_to_the_last(drawn):
    slices_comparison_figure(*stack(40), title="t")
    titles = [a.get_title() for a in drawn[0].axes[:10]]
    assert (titles[0], titles[-1], len(drawn[0].axes)) == ("slice 0", "slice 39", 30)


def test_slices_without_any_tumour_are_drawn():
    images, truth, _ = stack(2)
    none = truth.with_voxels(np.zeros_like(truth.voxels))
    assert slices_comparison_figure(images, none, none, title="t").startswith(b"\x89PNG")


def test_masks_of_other_slices_are_refused():
    images, truth, _ = stack(3)
    other = Volume(truth.voxels[:2], truth.affine)
    with pytest.raises(MaskError, match="grid"):
        slices_comparison_figure(images, truth, other, title="t")


def test_slices_are_drawn_in_the_window_from_black_0_to_white_1(drawn):
    slices_comparison_figure(*stack(1), title="t")
    assert drawn[0].axes[0].images[0].get_clim() == (0.0, 1.0)


@pytest.mark.parametrize(("low", "expected"), [(0.0, 0.0), (-1.0, -1.0)])
def test_patches_below_0_are_drawn_from_minus_1(drawn, low, expected):
    images = np.linspace(low, 1, 2 * 64).reshape(2, 8, 8)
    patches_figure(images, np.zeros((2, 8, 8)))
    assert drawn[0].axes[0].images[0].get_clim() == (expected, 1.0)


def test_a_patch_in_three_dimensions_shows_its_fullest_slice(drawn):
    images = np.broadcast_to(np.arange(5.0)[:, None, None] / 5, (5, 6, 6))[None]
    masks = np.zeros((1, 5, 6, 6))
    masks[0, 3, 1:5, 1:5] = masks[0, 1, 1, 1] = 1
    patches_figure(images, masks, captions=["flipped"])
    assert drawn[0].axes[0].images[0].get_array().max() == pytest.approx(3 / 5)
    assert drawn[0].axes[0].get_xlabel() == "flipped"
    patches_figure(images, np.zeros_like(masks))
    assert drawn[1].axes[0].images[0].get_array().max() == pytest.approx(2 / 5)


def test_a_sheet_holds_24_patches_at_most(drawn):
    patches_figure(np.zeros((30, 4, 4)), np.zeros((30, 4, 4)))
    assert sum(bool(axes.images) for axes in drawn[0].axes) == 24


@pytest.mark.parametrize(
    ("images", "masks", "captions"),
    [
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 5)), ()),
        (np.zeros((4, 4)), np.zeros((4, 4)), ()),
        (np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), ()),
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), ("one",)),
    ],
)
def test_patches_that_do_not_fit_together_are_refused(images, masks, captions):
    with pytest.raises(MaskError):
        patches_figure(images, masks, captions=captions)
