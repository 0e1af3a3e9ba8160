"""Pieces, their scores, the calibration and the operating points."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.errors import RecipeError
from tumorspread.measurement.room import Room
from tumorspread.model.candidates import (
    TOP_VOXELS,
    Detection,
    expected_calibration_error,
    fit_detection,
    pick_lesions,
)


def boxes():
    """A certain piece of 64 voxels, a doubtful one of 27, a speck of one voxel."""
    probability = np.zeros((20, 20, 20), np.float32)
    probability[2:6, 2:6, 2:6] = 0.9
    probability[10:13, 10:13, 10:13] = 0.4
    probability[18, 18, 18] = 0.6
    return probability


def test_pieces_come_with_their_size_score_and_probability_most_likely_first():
    _, found = pick_lesions(boxes(), 0.3, Detection())
    assert [one.voxels for one in found] == [64, 1, 27]
    assert [one.score for one in found] == pytest.approx([0.9, 0.6, 0.4])
    assert [one.probability for one in found] == pytest.approx([0.9, 0.6, 0.4])
    assert [one.is_kept for one in found] == [True, True, False]


@pytest.mark.parametrize(("point", "kept"), [("sensitive", 3), ("balanced", 2), ("specific", 1)])
def test_an_operating_point_keeps_what_is_likely_enough(point, kept):
    likely, found = pick_lesions(boxes(), 0.3, Detection(), point)
    assert sum(one.is_kept for one in found) == kept
    assert len(np.unique(likely[likely > 0])) == kept
    assert likely[3, 3, 3] == pytest.approx(0.9)
    assert likely[0, 0, 0] == 0


def test_the_score_is_the_mean_of_the_most_certain_voxels():
    probability = np.full((1, 1, 40), 0.35, np.float32)
    probability[0, 0, :TOP_VOXELS] = np.linspace(0.6, 0.9, TOP_VOXELS)
    _, (one,) = pick_lesions(probability, 0.3, Detection())
    assert one.score == pytest.approx(0.75)


def test_nothing_above_the_threshold_is_no_piece():
    likely, found = pick_lesions(np.zeros((4, 4, 4), np.float32), 0.5, Detection())
    assert found == ()
    assert not likely.any()


def test_a_piece_that_lies_mostly_outside_the_room_is_dropped_whole_and_one_inside_is_kept_whole():
    inside = np.zeros((20, 20, 20), bool)
    inside[:, :, :4] = True  # half of the certain piece, none of the others
    room = Room(inside, np.zeros_like(inside), inside, (1.0, 1.0, 1.0))
    likely, found = pick_lesions(boxes(), 0.3, Detection(), "sensitive", room)
    assert [(one.voxels, one.is_inside, one.is_kept) for one in found] == [
        (64, True, True), (1, False, False), (27, False, False),
    ]  # fmt: skip
    assert (likely > 0).sum() == 64
    assert found[2].probability == pytest.approx(0.4)


def test_the_calibration_finds_the_slope_and_offset_that_made_the_data():
    random = np.random.default_rng(0)
    scores = random.uniform(0.02, 0.98, 100_000)
    logit = 1.7 * np.log(scores / (1 - scores)) - 0.8
    truth = random.random(len(scores)) < 1 / (1 + np.exp(-logit))
    slope, offset = fit_detection(scores, truth)
    assert (slope, offset) == pytest.approx((1.7, -0.8), abs=0.06)
    made = Detection(slope=slope, offset=offset)
    stated = np.array([made.probability(s) for s in scores])
    assert expected_calibration_error(stated, truth) < 0.015
    assert expected_calibration_error(scores, truth) > 0.04


def test_the_calibration_of_separated_scores_stays_finite_and_rises():
    slope, offset = fit_detection(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    made = Detection(slope=slope, offset=offset)
    assert 0 < made.probability(0.1) < 0.5 < made.probability(0.9) < 1


@pytest.mark.parametrize("truth", [np.ones(3, bool), np.zeros(3, bool)])
def test_a_calibration_needs_both_kinds(truth):
    with pytest.raises(RecipeError, match="needs both"):
        fit_detection(np.array([0.2, 0.5, 0.7]), truth)


def test_points_in_the_wrong_order_are_refused():
    with pytest.raises(RecipeError, match="sensitive <= balanced"):
        Detection(sensitive=0.6, balanced=0.5)


@pytest.mark.parametrize("seed", range(6))
def test_a_fit_is_the_best_there_is_also_where_tumours_and_others_hardly_overlap(seed):
    random = np.random.default_rng(seed)
    scores = np.concatenate([random.uniform(0.9, 0.999, 100), random.uniform(0.5, 0.98, 300)])
    is_tumour = np.arange(400) < 100
    slope, offset = fit_detection(scores, is_tumour)
    x = np.log(scores / (1 - scores))
    wanted = np.where(is_tumour, 101 / 102, 1 / 302)

    def cost(a, b):
        return float((np.logaddexp(0, a * x + b) - wanted * (a * x + b)).sum())

    best = cost(slope, offset)
    assert 0 < slope < 20
    for a, b in ((1.01, 0), (0.99, 0), (1, 0.05), (1, -0.05)):
        assert cost(slope * a, offset + b) >= best - 1e-4


def test_scores_that_say_nothing_give_the_share_of_tumours():
    slope, offset = fit_detection(np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, False, True, True]))
    assert slope == pytest.approx(1e-3)
    assert 1 / (1 + np.exp(-offset)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("beneath", "edge_mm", "kept"), [(0, 7.0, 1), (12, 7.0, 1), (13, 7.0, 2), (0, 5.0, 2)])
def test_a_large_piece_needs_some_lung_beneath_it_and_a_small_one_none(beneath, edge_mm, kept):
    """Of the 64 voxels of the certain piece, a cube of 4 at 2, a fifth is 12.8; of 7 mm they are 22 mL, of 5 mm 8 mL.

    The doubtful one has 27 voxels, 9.3 mL at most.
    """
    below, lung = np.ones((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    cube = np.zeros((4, 4, 4), bool)
    cube.flat[:beneath] = True
    below[2:6, 2:6, 2:6] = ~cube
    room = Room(np.ones_like(below), below, lung, (edge_mm,) * 3)
    _, found = pick_lesions(boxes(), 0.3, Detection(), "sensitive", room)
    assert sum(one.is_kept for one in found if one.voxels > 1) == kept
