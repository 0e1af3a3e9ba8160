"""Lesions that vanish and come back, on lesions and matches made by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tumorspread.followup.matching import Match
from tumorspread.followup.recurrence import find_returned
from tumorspread.followup.time_points import build_time_points
from tumorspread.followup.tracks import build_tracks
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion, Lungs, ScanInfo
from tumorspread.measurement.spread import measure_spread, sum_burden

ORIGIN = (0.0, 0.0, 0.0)
LUNGS = Lungs(1500.0, 1500.0, 3000.0)
STEP_MM = np.array([0.0, 0.0, 5.0])


class Way:
    """The later scan lies 5 mm higher than the one before."""

    dice_before, dice_after = 0.8, 0.98

    def map_points(self, points_mm):
        return np.asarray(points_mm) - STEP_MM

    def map_back(self, points_mm):
        return np.asarray(points_mm) + STEP_MM


def scan(*lesions):
    """Lesions of (long axis, place)."""
    made = tuple(
        replace(
            Lesion(n, 1, axis**3 / 2000, axis, (ORIGIN, ORIGIN), axis, (ORIGIN, ORIGIN), 0, place, "left", None, None),
            recist_measurable=axis >= 10,
            volume_ml_error=0.01,
            long_axis_mm_error=1.0,
        )
        for n, (axis, place) in enumerate(lesions, 1)
    )
    info = ScanInfo("ct", (10, 10, 10), (1.0, 1.0, 1.0))
    return Findings(info, None, LUNGS, made, sum_burden(made, LUNGS), measure_spread(made, LUNGS))


STAYS = Match("stays", (1,), (1,))


def followed(scans, matches):
    ways = [Way()] * len(matches)
    tracks = build_tracks(scans, matches, None, find_returned(scans, matches, ways))
    return tracks, build_time_points(scans, tracks, matches, ways, None)


def came_back(apart_mm, gap=1):
    """One that stays and one that is gone for `gap` scans and comes back `apart_mm` from where it is expected."""
    steps = [(0.0, 0.0, 5.0 * t) for t in range(gap + 2)]
    both = scan((30.0, steps[0]), (12.0, (80.0, 0.0, 0.0)))
    alone = [scan((30.0, step)) for step in steps[1:-1]]
    last = scan((30.0, steps[-1]), (14.0, (80.0 + apart_mm, 0.0, 5.0 * (gap + 1))))
    gone = (STAYS, Match("gone", (2,), ()))
    return [both, *alone, last], [gone, *[(STAYS,)] * (gap - 1), (STAYS, Match("new", (), (2,)))]


@pytest.mark.parametrize("gap", [1, 2])
def test_a_lesion_that_comes_back_is_the_same_and_no_progression(gap):
    scans, matches = came_back(6.0, gap)
    tracks, points = followed(scans, matches)
    assert [p.state for p in tracks[1].points] == ["baseline", "gone", *["absent"] * (gap - 1), "returned"]
    assert points[-1].new_lesion_ids == ()
    # 30 + 12 mm at baseline, 30 mm at the nadir, now 30 + 14: 46 % and 14 mm above it is progression of the targets,
    # by their sum and not by a new lesion.
    assert points[-1].sum_of_target_axes_mm == 44
    assert (points[-1].target_response, points[-1].overall_response) == ("PD", "PD")


def test_a_small_return_is_stable():
    scans, matches = came_back(0.0)
    small = scan((30.0, (0.0, 0.0, 10.0)), (4.0, (80.0, 0.0, 10.0)))
    _, points = followed([*scans[:2], small], matches)
    assert points[-1].overall_response == "SD"


def test_one_that_appears_elsewhere_is_new():
    # Reach is half of the longer axis and what registration may be off by: 7 + 8 mm.
    assert len(find_returned(*came_back(14.9), [Way()] * 2)) == 1
    scans, matches = came_back(15.1)
    assert find_returned(scans, matches, [Way()] * 2) == {}
    tracks, points = followed(scans, matches)
    assert [p.state for p in tracks[2].points] == ["absent", "absent", "new"]
    assert points[-1].overall_response == "PD"


def test_after_a_complete_response_a_return_is_progression():
    place = (0.0, 0.0, 0.0)
    scans = [scan((12.0, place)), scan(), scan((10.0, (0.0, 0.0, 10.0)))]
    matches = [(Match("gone", (1,), ()),), (Match("new", (), (1,)),)]
    tracks, points = followed(scans, matches)
    assert points[1].overall_response == "CR"
    assert tracks[0].points[2].state == "returned"
    assert points[2].overall_response == "PD"


def test_two_that_come_back_are_told_apart_by_their_places():
    places = [(0.0, 0.0, 0.0), (20.0, 0.0, 0.0)]
    there = [(20.0, 0.0, 10.0), (0.0, 0.0, 10.0)]
    scans = [scan(*((12.0, p) for p in places)), scan(), scan(*((12.0, p) for p in there))]
    matches = [(Match("gone", (1,), ()), Match("gone", (2,), ())), (Match("new", (), (1,)), Match("new", (), (2,)))]
    assert find_returned(scans, matches, [Way()] * 2) == {(2, 1): (0, 2), (2, 2): (0, 1)}


def test_nothing_gone_nothing_returned():
    assert find_returned([scan(), scan()], [()], [SimpleNamespace()]) == {}
