"""Burden and spread by formula on lesions made by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from tumorspread.measurement.parts import Lesion, Lobe, LungPart, Lungs, Zone
from tumorspread.measurement.spread import measure_spread, sum_burden

ZONES = tuple(LungPart("zone", f"{side}_{zone}", 400.0) for side in ("left", "right") for zone in get_args(Zone))
LOBES = tuple(LungPart("lobe", name, 500.0) for name in get_args(Lobe))
LUNGS = Lungs(1000.0, 1500.0, 2500.0, parts=(*ZONES, *LOBES))
WITHOUT_LOBES = {"lobes_involved": "needs a lobe mask"}
NO_SATELLITES = {"satellite_ids": "the lobe of the dominant lesion, or of another in its lung, is unknown"}
NOT_SEPARATED = Lungs(
    None, None, 2500.0, dict.fromkeys(("left_ml", "right_ml"), "the two lungs could not be told apart")
)
NO_LUNGS = Lungs(None, None, None, dict.fromkeys(("left_ml", "right_ml", "total_ml"), "no air was found"))
ORIGIN = (0.0, 0.0, 0.0)


def lesion(number, volume_ml, side="left", centroid_mm=ORIGIN, long_axis_mm=10.0):
    segment = (ORIGIN, ORIGIN)
    made = Lesion(number, 1, volume_ml, long_axis_mm, segment, 5.0, segment, 0, centroid_mm, side, None, None)
    lobe = f"{side}_upper" if side else None
    return replace(made, recist_measurable=long_axis_mm >= 10, zone="upper", lobe=lobe)


LESIONS = (
    lesion(1, 60.0, "right", (-60.0, 0.0, 0.0), 52.0),
    lesion(2, 30.0, "left", (60.0, 0.0, 50.0), 40.0),
    lesion(3, 10.0, "right", (-60.0, 40.0, 30.0), 21.5),
)


def test_the_burden_sums_volumes_and_long_axes_and_divides_by_both_lungs():
    burden = sum_burden(LESIONS, LUNGS)
    assert (burden.count, burden.volume_ml) == (3, 100.0)
    assert burden.sum_of_long_axes_mm == pytest.approx(52 + 40 + 21.5)
    assert burden.lung_fraction_percent == pytest.approx(100 * 100 / 2500)
    assert burden.reasons == {}


def test_a_lesion_outside_the_lungs_is_no_share_of_them():
    outside = replace(LESIONS[1], flags=("outside_lungs",))
    burden = sum_burden((LESIONS[0], outside, LESIONS[2]), LUNGS)
    assert burden.volume_ml == 100.0
    assert burden.lung_fraction_percent == pytest.approx(100 * 70 / 2500)


def test_the_burden_of_no_lesion_is_nought_and_not_unknown():
    burden = sum_burden((), LUNGS)
    assert (burden.count, burden.volume_ml, burden.sum_of_long_axes_mm) == (0, 0, 0)
    assert burden.lung_fraction_percent == 0.0
    assert burden.reasons == {"sum_of_target_axes_mm": "no lesion was found"}


def test_without_lungs_the_burden_has_no_fraction_for_the_reason_of_the_lungs():
    burden = sum_burden(LESIONS, NO_LUNGS)
    assert (burden.volume_ml, burden.lung_fraction_percent) == (100.0, None)
    assert burden.reasons == {"lung_fraction_percent": "no air was found"}


def test_more_tumour_than_lung_has_no_fraction():
    burden = sum_burden(LESIONS, Lungs(30.0, 40.0, 70.0))
    assert burden.lung_fraction_percent is None
    assert "collapsed" in burden.reasons["lung_fraction_percent"]


def test_lungs_that_were_not_told_apart_still_give_the_fraction_of_both():
    assert sum_burden(LESIONS, NOT_SEPARATED).lung_fraction_percent == pytest.approx(4.0)


def test_each_side_has_its_lesions_and_its_share_of_its_own_lung():
    spread = measure_spread(LESIONS, LUNGS)
    assert (spread.left.count, spread.left.volume_ml) == (1, 30.0)
    assert (spread.right.count, spread.right.volume_ml) == (2, 70.0)
    assert spread.left.lung_fraction_percent == pytest.approx(100 * 30 / 1000)
    assert spread.right.lung_fraction_percent == pytest.approx(100 * 70 / 1500)
    assert (spread.sides_involved, spread.reasons) == (2, {})


@pytest.mark.parametrize(("sides", "involved"), [("ll", 1), ("lr", 2), ("rr", 1)])
def test_the_lungs_with_a_lesion_are_counted(sides, involved):
    names = {"l": "left", "r": "right"}
    lesions = [lesion(i, 5.0, names[s]) for i, s in enumerate(sides, 1)]
    assert measure_spread(lesions, LUNGS).sides_involved == involved


def test_a_lesion_of_unknown_side_counts_on_neither():
    spread = measure_spread((lesion(1, 5.0, None),), LUNGS)
    assert (spread.left.count, spread.right.count, spread.sides_involved) == (0, 0, 0)
    assert spread.dominant_share_percent == 100.0


def test_the_dominant_lesion_is_the_first_and_its_share_that_of_the_volume():
    spread = measure_spread(LESIONS, LUNGS)
    assert (spread.dominant_id, spread.dominant_share_percent) == (1, pytest.approx(60.0))


def test_distances_run_between_centroids():
    spread = measure_spread(LESIONS, LUNGS)
    assert spread.largest_distance_mm == pytest.approx(np.hypot(120, 50))
    assert spread.mean_distance_to_dominant_mm == pytest.approx((np.hypot(120, 50) + 50) / 2)


def test_the_distances_of_many_lesions_are_those_of_scipy():
    points = np.random.default_rng(2).uniform(-150, 150, (300, 3))
    lesions = [lesion(i, 400.0 - i, centroid_mm=tuple(p.tolist())) for i, p in enumerate(points, 1)]
    assert all(a.volume_ml > b.volume_ml for a, b in pairwise(lesions))
    spread = measure_spread(lesions, LUNGS)
    assert spread.largest_distance_mm == pytest.approx(pdist(points).max())
    mean = np.linalg.norm(points[1:] - points[0], axis=1).mean()
    assert spread.mean_distance_to_dominant_mm == pytest.approx(mean)


def test_one_lesion_has_no_distances_and_says_why():
    spread = measure_spread(LESIONS[:1], LUNGS)
    assert (spread.largest_distance_mm, spread.mean_distance_to_dominant_mm) == (None, None)
    assert spread.reasons == dict.fromkeys(
        ("largest_distance_mm", "mean_distance_to_dominant_mm"), "needs two lesions or more"
    )
    assert (spread.dominant_id, spread.sides_involved) == (1, 1)


def test_two_lesions_at_one_place_are_nought_apart_and_not_unknown():
    spread = measure_spread((lesion(1, 2.0), lesion(2, 1.0)), LUNGS)
    assert (spread.largest_distance_mm, spread.reasons) == (0.0, {})


def test_no_lesion_involves_no_side_and_gives_a_reason_for_every_missing_number():
    spread = measure_spread((), LUNGS)
    assert (spread.left.count, spread.right.volume_ml, spread.sides_involved) == (0, 0, 0)
    assert spread.left.lung_fraction_percent == 0.0
    assert spread.reasons == dict.fromkeys(
        (
            *("dominant_id", "dominant_share_percent", "largest_distance_mm"),
            *("mean_distance_to_dominant_mm", "satellite_ids"),
        ),
        "no lesion was found",
    )
    assert (spread.zones_involved, spread.lobes_involved) == (0, 0)


@pytest.mark.parametrize("lungs", [NO_LUNGS, NOT_SEPARATED], ids=["no lungs", "not separated"])
def test_without_two_known_lungs_the_sides_are_none_for_the_reason_of_the_lungs(lungs):
    spread = measure_spread([lesion(1, 5.0, None), lesion(2, 4.0, None)], lungs)
    assert (spread.left, spread.right, spread.sides_involved) == (None, None, None)
    sides = dict.fromkeys(("left", "right", "sides_involved", "zones_involved"), lungs.reasons["left_ml"])
    assert spread.reasons == sides | WITHOUT_LOBES | NO_SATELLITES
    assert spread.dominant_share_percent == pytest.approx(100 * 5 / 9)


def test_one_lung_that_was_not_found_keeps_its_lesions_but_has_no_fraction():
    lungs = Lungs(1000.0, None, 1000.0, {"right_ml": "no right lung was found"})
    spread = measure_spread(LESIONS, lungs)
    assert spread.right.volume_ml == 70.0
    assert spread.right.lung_fraction_percent is None
    assert spread.right.reasons == {"lung_fraction_percent": "no right lung was found"}
    assert spread.left.lung_fraction_percent == pytest.approx(3.0)


@pytest.mark.parametrize("lungs", [LUNGS, NO_LUNGS, NOT_SEPARATED])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_whatever_is_none_has_its_reason_and_whatever_has_a_reason_is_none(lungs, count):
    spread, burden = measure_spread(LESIONS[:count], lungs), sum_burden(LESIONS[:count], lungs)
    for found in filter(None, (spread, burden, spread.left, spread.right)):
        values = {name: value for name, value in vars(found).items() if name != "reasons"}
        assert {name for name, value in values.items() if value is None} == set(found.reasons)


def test_targets_are_the_two_longest_measurable_lesions():
    lesions = [lesion(i, 9.0 - i, long_axis_mm=mm) for i, mm in enumerate((12.0, 9.9, 30.0, 12.0, 25.0), 1)]
    burden = sum_burden(lesions, LUNGS)
    assert (burden.target_ids, burden.sum_of_target_axes_mm) == ((3, 5), 55.0)
    assert sum_burden(lesions[:2], LUNGS).target_ids == (1,)
    assert sum_burden([lesions[0], lesions[3], lesions[1]], LUNGS).target_ids == (1, 4)


def test_without_a_measurable_lesion_there_is_no_target_and_no_sum():
    burden = sum_burden([lesion(1, 0.2, long_axis_mm=9.9)], LUNGS)
    assert (burden.target_ids, burden.sum_of_target_axes_mm) == ((), None)
    assert burden.reasons == {"sum_of_target_axes_mm": "no lesion is measurable by RECIST 1.1"}


def test_a_lesion_counts_in_its_zone_and_its_lobe():
    lesions = [
        replace(lesion(1, 60.0, "right"), zone="lower", lobe="right_middle"),
        replace(lesion(2, 30.0, "right"), zone="lower", lobe="right_lower"),
        replace(lesion(3, 10.0, "left"), zone="upper", lobe="left_upper"),
    ]
    spread = measure_spread(lesions, LUNGS)
    parts = {(part.kind, part.name): part for part in spread.parts}
    assert len(parts) == 11
    zone, lobe = parts["zone", "right_lower"], parts["lobe", "right_lower"]
    assert (zone.count, zone.volume_ml, zone.lung_fraction_percent) == (2, 90.0, pytest.approx(22.5))
    assert (lobe.count, lobe.volume_ml, lobe.lung_fraction_percent) == (1, 30.0, pytest.approx(6.0))
    assert sum(part.count for part in spread.parts if part.kind == "lobe") == 3
    assert (spread.zones_involved, spread.lobes_involved) == (2, 3)


def test_a_lesion_without_a_zone_leaves_the_counts_of_its_lung_open():
    lesions = [lesion(1, 9.0, "right"), replace(lesion(2, 5.0, "left"), zone=None, lobe=None)]
    spread = measure_spread(lesions, LUNGS)
    for part in spread.parts:
        unknown = part.name.startswith("left")
        assert (part.count is None, part.volume_ml is None, part.lung_fraction_percent is None) == (unknown,) * 3
        assert unknown == ("of lesion 2 is unknown" in part.reasons.get("count", ""))
    assert (spread.zones_involved, spread.lobes_involved) == (None, None)
    assert spread.reasons["zones_involved"] == "the zone of lesion 2 is unknown"


def test_a_lesion_of_unknown_side_leaves_the_counts_of_all_parts_open():
    spread = measure_spread([replace(lesion(1, 9.0, None), zone=None)], LUNGS)
    assert [part.count for part in spread.parts] == [None] * 11


def test_a_lesion_outside_the_lungs_is_in_no_part_and_no_satellite():
    outside = replace(lesion(2, 5.0, None), zone=None, flags=("outside_lungs",))
    spread = measure_spread([lesion(1, 9.0, "right"), outside], LUNGS)
    assert [part.count for part in spread.parts if part.name == "right_upper"] == [1, 1]
    assert (spread.zones_involved, spread.lobes_involved, spread.satellite_ids) == (1, 1, ())
    spread = measure_spread([outside, lesion(1, 4.0, "right")], LUNGS)
    assert spread.satellite_ids is None
    assert "outside the lungs" in spread.reasons["satellite_ids"]


def test_satellites_are_the_others_in_the_lobe_of_the_largest():
    lesions = [lesion(1, 9.0, "right"), lesion(2, 5.0, "right"), lesion(3, 4.0, "left")]
    assert measure_spread(lesions, LUNGS).satellite_ids == (2,)
    unknown = [lesions[0], replace(lesions[1], lobe=None)]
    spread = measure_spread(unknown, LUNGS)
    assert spread.satellite_ids is None
    assert "lobe" in spread.reasons["satellite_ids"]
    # One in the other lung cannot be a satellite, whatever its lobe.
    assert measure_spread([lesions[0], replace(lesions[2], lobe=None)], LUNGS).satellite_ids == ()
    assert measure_spread([replace(lesions[0], lobe=None)], LUNGS).satellite_ids == ()
