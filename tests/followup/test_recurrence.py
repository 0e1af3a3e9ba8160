"""Lesions that vanish and come back, on lesions and matches made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tumorspread.followup.matching import Match
from tumorspread.followup.recurrence import find_absences
from tumorspread.followup.time_points import History, build_time_points
from tumorspread.followup.tracks import build_tracks
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion, Lungs, ScanInfo
from tumorspread.measurement.spread import measure_spread, sum_burden
from tumorspread.scan.volume import Volume

ORIGIN = (0.0, 0.0, 0.0)
LUNGS = Lungs(1500.0, 1500.0, 3000.0)
STEP_MM = np.array([0.0, 0.0, 5.0])
GRID = Volume.upright(np.zeros((10, 10, 10), np.uint8), (100.0, 100.0, 100.0), centred=True)


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
    absences = find_absences(scans, matches, ways, [GRID] * len(scans))
    tracks = build_tracks(scans, matches, None, absences)
    return tracks, build_time_points(History(scans, tracks, matches, absences, ways), None)


def returned(scans, matches, grid=None):
    return find_absences(scans, matches, [Way()] * len(matches), [grid or GRID] * len(scans)).returned


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
    assert len(returned(*came_back(14.9))) == 1
    scans, matches = came_back(15.1)
    assert returned(scans, matches) == {}
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
    assert returned(scans, matches) == {(2, 1): (0, 2), (2, 2): (0, 1)}


def test_a_place_is_followed_through_the_scans_that_do_not_show_it():
    scans, matches = came_back(0.0, gap=3)
    # Of 100 mm towards the head, so that the place at 0, 5, 10, 15 and 20 mm is shown or not by where a scan begins.
    begins = [Volume.upright(np.zeros((20, 200, 200), np.uint8), (5.0, 5.0, 5.0), centred=True)] * 5
    above = Volume(begins[0].voxels, begins[0].affine + np.outer([0, 0, 200.0, 0], [0, 0, 0, 1]))
    grids = [begins[0], above, begins[0], above, begins[0]]
    absences = find_absences(scans, matches, [Way()] * 4, grids)
    assert absences.hidden == {(0, 2): frozenset({1, 3})}
    tracks = build_tracks(scans, matches, None, absences)
    assert [p.state for p in tracks[1].points] == ["baseline", "not_covered", "gone", "not_covered", "stays"]


def test_nothing_gone_nothing_returned():
    assert returned([scan(), scan()], [()]) == {}
