"""What held-out scans say about weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tumorspread.errors import RecipeError
from tumorspread.measurement.room import Room
from tumorspread.model.calibrate import BUDGETS, HeldOut, calibrate, choose_threshold, hold_out
from tumorspread.model.detect import LungSpace

SHAPE = (24, 40, 40)
VOXEL_MM3 = 8.0
ROOM = Room(np.ones(SHAPE, bool), np.zeros(SHAPE, bool), np.ones(SHAPE, bool), (1.0, 1.0, 1.0))


def ball(centre, radius, shape=SHAPE):
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return np.linalg.norm(grid - centre, axis=-1) <= radius


def scan_with(random, tumours=1, false=1):
    """Balls of radius 5 voxels in a rim of probability 0.35; the network is surer of the true ones."""
    probability, truth = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    places = [(12, 10, 10), (12, 10, 30), (12, 30, 10), (12, 30, 30)]
    for number in range(tumours + false):
        is_true = number < tumours
        level = random.uniform(0.75, 0.99) if is_true else random.uniform(0.45, 0.8)
        probability[ball(places[number], 6)] = 0.35
        probability[ball(places[number], 5)] = level
        if is_true:
            truth |= ball(places[number], 5)
    return HeldOut(probability, truth, ROOM, VOXEL_MM3)


@pytest.fixture(scope="module")
def scans():
    random = np.random.default_rng(0)
    return [scan_with(random, tumours=2, false=int(random.integers(0, 3))) for _ in range(40)]


def test_the_threshold_is_where_outlines_fit(scans):
    done = calibrate(scans)
    assert done.threshold == 0.5  # below 0.4 the rim is taken for tumour; from there to 0.7 all outlines are right
    assert done.dice == pytest.approx(1.0)
    assert done.tumours == 80


def test_a_threshold_far_from_a_half_must_be_better_by_more_than_chance():
    random = np.random.default_rng(1)
    scans = random.uniform(0.5, 0.9, 30)
    of_chance = {0.3: scans - 0.1, 0.5: scans, 0.7: scans + 0.005}
    assert choose_threshold(of_chance) == 0.5
    assert choose_threshold({**of_chance, 0.7: scans + 0.1}) == 0.7
    assert choose_threshold({**of_chance, 0.6: scans + 0.1, 0.7: scans + 0.11}) == 0.6
    assert choose_threshold({0.2: np.array([0.9]), 0.5: np.array([0.8])}) == 0.2  # one scan: no error to go by


def test_points_cost_what_they_may_and_what_they_say(scans):
    detection = calibrate(scans).detection
    surest = [float(scan.probability[~scan.truth].max()) for scan in scans]
    false = [detection.probability(score) for score in surest if score > 0.4]
    assert detection.sensitive <= detection.balanced <= detection.specific
    for cost, budget in zip(detection.false_positives, BUDGETS.values(), strict=True):
        assert cost <= budget
    assert detection.recall[0] >= detection.recall[1] >= detection.recall[2] > 0.5
    assert (np.array(false) >= detection.specific).mean() < 0.2


def test_probabilities_are_right_as_often_as_they_say(scans):
    detection = calibrate(scans).detection
    likely = [detection.probability(level) for level in (0.5, 0.78, 0.95)]
    assert likely[0] < 0.2
    assert likely[1] < likely[2]
    assert likely[2] > 0.8


def test_nothing_to_tell_apart_is_refused():
    random = np.random.default_rng(1)
    with pytest.raises(RecipeError, match="a calibration needs both"):
        calibrate([scan_with(random, tumours=2, false=0)])


def test_scans_without_tumour_count_for_false_lesions_and_not_for_dice(scans):
    random = np.random.default_rng(7)
    healthy = [scan_with(random, tumours=0, false=2) for _ in range(20)]
    done = calibrate([*scans, *healthy])
    assert done.dice == pytest.approx(1.0)
    assert done.detection.scans == 60
    with pytest.raises(RecipeError, match="none of the 20 scans holds a tumour"):
        calibrate(healthy)


def test_without_a_large_tumour_there_is_no_recall_of_large_ones(scans):
    small = [replace(scan, voxel_mm3=0.5) for scan in scans]  # balls of 8 mm
    done = calibrate(small)
    assert done.detection.recall is None
    assert done.costs(1)[0] == "none"


def test_a_scan_is_kept_in_the_box_of_what_matters_and_what_lies_beyond_reach_is_left_out():
    probability = np.where(ball((12, 20, 20), 4), 0.9, 0.0).astype(np.float32)
    probability[0, 0, 0] = 0.9
    near = np.ones(SHAPE, bool)
    near[:5] = False
    kept = hold_out(probability, ball((12, 20, 24), 3), LungSpace(near, ROOM), VOXEL_MM3)
    assert kept.probability.shape == kept.truth.shape == kept.room.inside.shape == (9, 9, 12)
    assert kept.truth.sum() == ball((12, 20, 24), 3).sum()
    assert probability[0, 0, 0] == np.float32(0.9)
