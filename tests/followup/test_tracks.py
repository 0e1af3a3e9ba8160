"""Tracks, sums and responses over several scans, on lesions and matches made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tumorspread.followup.matching import Match
from tumorspread.followup.recurrence import Absences, find_absences
from tumorspread.followup.time_points import History, build_time_points
from tumorspread.followup.tracks import build_tracks
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion, Lungs, ScanInfo
from tumorspread.measurement.spread import measure_spread, sum_burden
from tumorspread.scan.volume import Volume

ORIGIN = (0.0, 0.0, 0.0)
LUNGS = Lungs(1500.0, 1500.0, 3000.0)


def lesion(number, long_axis_mm, volume_ml=None, error=0.05):
    volume_ml = np.pi * long_axis_mm**3 / 6000 if volume_ml is None else volume_ml
    segment = (ORIGIN, ORIGIN)
    made = Lesion(number, 1, volume_ml, long_axis_mm, segment, 5.0, segment, 0, ORIGIN, "left", None, None)
    return replace(
        made,
        recist_measurable=long_axis_mm >= 10,
        volume_ml_error=error * volume_ml,
        long_axis_mm_error=1.0,
        short_axis_mm_error=1.0,
    )


def scan(*axes_mm, **options):
    lesions = tuple(lesion(number, axis, **options) for number, axis in enumerate(axes_mm, 1))
    return Findings(
        ScanInfo("ct", (10, 10, 10), (1.0, 1.0, 1.0)),
        None,
        LUNGS,
        lesions,
        sum_burden(lesions, LUNGS),
        measure_spread(lesions, LUNGS),
    )


def stays(*pairs):
    return tuple(Match("stays", (a,), (b,)) for a, b in pairs)


class Way:
    """All scans lie alike."""

    dice_before = 0.8

    def __init__(self, dice_after):
        self.dice_after = dice_after

    def map_points(self, points_mm):
        return np.asarray(points_mm)

    map_back = map_points


GRID = Volume.upright(np.zeros((10, 10, 10), np.uint8), (100.0, 100.0, 100.0), centred=True)


def followed(scans, matches, days=None, *, hidden=None, dice_after=None):
    ways = [Way(after) for after in (dice_after or [0.98] * len(matches))]
    # A grid of 1 m in which the lesions of `hidden` (scan, lesion) lie outside.
    absences = find_absences(scans, matches, ways, [GRID] * len(scans))
    absences = Absences(absences.returned, {node: frozenset(at) for node, at in (hidden or {}).items()})
    tracks = build_tracks(scans, matches, days, absences)
    return tracks, build_time_points(History(scans, tracks, matches, absences, ways), days)


def states(track):
    return [point.state for point in track.points]


def responses(points):
    return [p.overall_response for p in points]


def test_a_lesion_that_shrinks_and_grows_again_is_judged_by_its_nadir():
    scans = [scan(50), scan(30), scan(37)]
    tracks, points = followed(scans, [stays((1, 1)), stays((1, 1))], [0, 60, 120])
    assert [states(t) for t in tracks] == [["baseline", "stays", "stays"]]
    assert [p.sum_of_target_axes_mm for p in points] == [50, 30, 37]
    assert responses(points) == [None, "PR", "PD"]
    assert [p.volume_response for p in points] == [None, "PR", "PD"]
    assert [p.day for p in points] == [0, 60, 120]


def test_numbers_follow_the_matches_not_the_ids():
    scans = [scan(30, 20), scan(28, 22)]
    tracks, _ = followed(scans, [stays((1, 2), (2, 1))])
    assert [[p.long_axis_mm for p in t.points] for t in tracks] == [[30, 22], [20, 28]]
    assert [t.points[1].lesion_ids for t in tracks] == [(2,), (1,)]


def test_growth_and_doubling_time_are_those_of_the_formula():
    scans = [scan(20, volume_ml=4.0), scan(20, volume_ml=8.0)]
    (track,), _ = followed(scans, [stays((1, 1))], [0, 100])
    change = track.change
    assert change.volume_percent == pytest.approx(100)
    assert change.doubling_time_days == pytest.approx(100)
    spread = np.hypot(0.05, 0.05)
    assert change.volume_percent_error == pytest.approx(200 * spread)
    assert change.doubling_time_days_error == pytest.approx(100 * spread / np.log(2))
    assert (change.long_axis_mm, change.long_axis_percent) == (0, 0)


def test_a_shrinking_lesion_halves_in_the_negative_of_its_doubling_time():
    (track,), _ = followed([scan(20, volume_ml=8.0), scan(20, volume_ml=2.0)], [stays((1, 1))], [0, 100])
    assert track.change.doubling_time_days == pytest.approx(-50)


def test_a_change_within_the_error_bar_has_no_doubling_time():
    (track,), _ = followed([scan(20, volume_ml=8.0), scan(20, volume_ml=8.4)], [stays((1, 1))], [0, 100])
    assert track.change.doubling_time_days is None
    assert "error bar" in track.change.reasons["doubling_time_days"]
    (track,), points = followed([scan(20, volume_ml=8.0), scan(20, volume_ml=16.0)], [stays((1, 1))])
    assert track.change.reasons["doubling_time_days"] == "no dates were given" == points[0].reasons["day"]


def test_a_new_lesion_is_progression_then_and_ever_after():
    scans = [scan(50), scan(30, 6), scan(20, 6)]
    matches = [(*stays((1, 1)), Match("new", (), (2,))), stays((1, 1), (2, 2))]
    tracks, points = followed(scans, matches)
    assert [states(t) for t in tracks] == [["baseline", "stays", "stays"], ["absent", "new", "stays"]]
    assert [p.new_lesion_ids for p in points] == [(), (2,), ()]
    assert [p.target_response for p in points] == [None, "PR", "PR"]
    assert responses(points) == [None, "PD", "PD"]


def test_a_new_lesion_that_later_grows_into_an_old_one_was_new_all_the_same():
    scans = [scan(40), scan(40, 8), scan(50)]
    matches = [(*stays((1, 1)), Match("new", (), (2,))), (Match("merged", (1, 2), (1,)),)]
    tracks, points = followed(scans, matches)
    assert [states(t) for t in tracks] == [["baseline", "regrouped", "merged"]]
    assert points[1].new_lesion_ids == (2,)
    assert responses(points) == [None, "PD", "PD"]


def test_all_targets_gone_is_complete_only_without_other_lesions():
    both = [scan(30, 6), scan(6)]
    _, points = followed(both, [(Match("gone", (1,), ()), *stays((2, 1)))])
    assert (points[1].target_response, points[1].other_response) == ("CR", "non-CR/non-PD")
    assert responses(points) == [None, "PR"]
    empty = [scan(30, 6), scan()]
    tracks, points = followed(empty, [(Match("gone", (1,), ()), Match("gone", (2,), ()))], [0, 50])
    assert responses(points) == [None, "CR"]
    assert points[1].volume_response == "CR"
    assert tracks[0].change.volume_percent == -100
    assert tracks[0].change.reasons["doubling_time_days"] == "the lesion is gone"


OUT_OF_SIGHT = [
    (*stays((1, 1)), Match("not_covered", (2,), ())),
    (*stays((1, 1)), Match("not_covered", (), (2,))),
]


def test_what_a_scan_does_not_show_is_not_evaluated_and_is_the_same_when_it_comes_back():
    scans = [scan(30, 20), scan(30), scan(30, 20)]
    tracks, points = followed(scans, OUT_OF_SIGHT, hidden={(0, 2): {1}})
    assert [states(t) for t in tracks] == [["baseline", "stays", "stays"], ["baseline", "not_covered", "stays"]]
    assert tracks[1].points[1].volume_ml is None
    assert responses(points) == [None, "NE", "SD"]
    assert [p.sum_of_target_axes_mm for p in points] == [50, None, 50]
    assert points[1].reasons["sum_of_target_axes_mm"] == "a scan does not show its place"
    assert points[2].new_lesion_ids == ()
    # Nor is the volume of such a scan a response, or the nadir of a later one.
    assert [p.volume_response for p in points] == [None, "NE", "SD"]


def test_what_is_seen_may_be_progression_though_not_all_is_seen():
    scans = [scan(22, 20), scan(60)]
    matches = [(Match("not_covered", (1,), ()), *stays((2, 1)))]
    _, points = followed(scans, matches, hidden={(0, 1): {1}})
    assert (points[1].target_response, points[1].overall_response) == ("PD", "PD")
    assert points[1].sum_of_target_axes_mm is None
    _, points = followed([scan(22, 20), scan(21)], matches, hidden={(0, 1): {1}})
    assert points[1].overall_response == "NE"


def test_a_lesion_where_no_scan_looked_before_is_new():
    scans = [scan(30), scan(30, 42)]
    matches = [(*stays((1, 1)), Match("not_covered", (), (2,)))]
    tracks, points = followed(scans, matches)
    assert states(tracks[1]) == ["not_covered", "new"]
    assert points[1].new_lesion_ids == (2,)
    assert (points[1].overall_response, points[1].volume_response) == ("PD", "NE")


def test_a_lesion_that_merges_later_is_no_part_of_the_targets_before():
    scans = [scan(30, 28, 20), scan(30, 28, 20), scan(38, 28)]
    matches = [stays((1, 1), (2, 2), (3, 3)), (Match("merged", (1, 3), (1,)), *stays((2, 2)))]
    _, points = followed(scans, matches)
    assert [p.sum_of_target_axes_mm for p in points] == [58, 58, 66]
    assert responses(points) == [None, "SD", "SD"]
    assert [p.other_response for p in points] == [None, "non-CR/non-PD", "non-CR/non-PD"]


def test_where_the_lungs_do_not_meet_there_is_no_response_then_or_later():
    scans = [scan(30), scan(10), scan(10)]
    _, points = followed(scans, [stays((1, 1))] * 2, dice_after=[0.85, 0.99])
    for point in points[1:]:
        assert (point.overall_response, point.target_response, point.volume_response) == (None, None, None)
        assert "do not meet" in point.reasons["overall_response"]
    _, points = followed(scans, [stays((1, 1))] * 2, dice_after=[0.99, 0.85])
    assert [p.overall_response for p in points] == [None, "PR", None]


def test_a_target_that_splits_counts_with_all_its_parts_and_one_that_merges_as_a_whole():
    split = (Match("split", (1,), (1, 2)),)
    tracks, points = followed([scan(40), scan(20, 15)], [split])
    assert states(tracks[0]) == ["baseline", "split"]
    assert points[1].sum_of_target_axes_mm == 35
    merged = (Match("merged", (1, 2), (1,)),)
    tracks, points = followed([scan(20, 15), scan(38)], [merged])
    assert states(tracks[0]) == ["baseline", "merged"]
    assert [p.sum_of_target_axes_mm for p in points] == [35, 38]
    assert tracks[0].points[0].volume_ml == pytest.approx(np.pi * (20**3 + 15**3) / 6000)


def test_at_most_two_targets_and_a_baseline_without_any():
    scans = [scan(30, 25, 20), scan(30, 25, 10)]
    tracks, points = followed(scans, [stays((1, 1), (2, 2), (3, 3))])
    assert [t.is_target for t in tracks] == [True, True, False]
    assert [p.sum_of_target_axes_mm for p in points] == [55, 55]
    _, points = followed([scan(6), scan(6)], [stays((1, 1))])
    assert responses(points) == [None, "non-CR/non-PD"]
    assert "measurable" in points[1].reasons["target_response"]
    _, points = followed([scan(), scan()], [()])
    assert responses(points) == [None, None]
    assert points[1].reasons["overall_response"] == "the baseline has no lesions"
    _, points = followed([scan(), scan(12)], [(Match("new", (), (1,)),)])
    assert responses(points) == [None, "PD"]
