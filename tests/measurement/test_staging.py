"""T and M1a by the table of the classification, border by border."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tumorspread.measurement.parts import Lesion
from tumorspread.measurement.staging import CAVEAT, propose_stage

SEGMENT = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))


def lesion(number, size_mm, side="right", lobe="right_upper", error=None, flags=()):
    made = Lesion(number, 9, 1.0 / number, size_mm, SEGMENT, 5.0, SEGMENT, 0, SEGMENT[0], side, None, None, flags)
    return replace(made, lobe=lobe, long_axis_mm_error=error)


@pytest.mark.parametrize(
    ("size_mm", "category"),
    [
        (3, "T1a"), (10, "T1a"), (10.01, "T1b"), (20, "T1b"), (20.01, "T1c"), (30, "T1c"), (30.01, "T2a"),
        (40, "T2a"), (40.01, "T2b"), (50, "T2b"), (50.01, "T3"), (70, "T3"), (70.01, "T4"), (150, "T4"),
    ],
)  # fmt: skip
def test_size_alone_gives_t_and_a_border_belongs_to_the_lower_category(size_mm, category):
    stage = propose_stage([lesion(1, size_mm)])
    assert (stage.t, stage.t_possible, stage.m, stage.size_mm) == (category, (category,), None, size_mm)
    assert f"{size_mm:.1f} mm" in stage.t_rule
    assert category in stage.t_rule
    assert stage.caveat == CAVEAT


SAME_LOBE = lesion(2, 8)
OTHER_LOBE = lesion(2, 8, lobe="right_lower")
OTHER_LUNG = lesion(2, 8, "left", "left_upper")


@pytest.mark.parametrize("size_mm", [9, 25, 45, 65])
def test_a_nodule_in_the_same_lobe_is_t3(size_mm):
    stage = propose_stage([lesion(1, size_mm), SAME_LOBE])
    assert (stage.t, stage.m) == ("T3", None)
    assert "same lobe (lesion 2)" in stage.t_rule


def test_a_nodule_in_the_same_lobe_of_a_tumour_above_70_mm_is_t4():
    assert propose_stage([lesion(1, 71), SAME_LOBE]).t == "T4"


@pytest.mark.parametrize("size_mm", [9, 45, 80])
def test_a_nodule_in_another_lobe_of_the_same_lung_is_t4(size_mm):
    stage = propose_stage([lesion(1, size_mm), OTHER_LOBE])
    assert (stage.t, stage.t_possible, stage.m) == ("T4", ("T4",), None)
    assert "another lobe of the same lung (lesion 2)" in stage.t_rule


def test_a_nodule_in_the_other_lung_is_m1a_and_leaves_t_alone():
    stage = propose_stage([lesion(1, 25), OTHER_LUNG])
    assert (stage.t, stage.m) == ("T1c", "M1a")
    assert "other lung (lesion 2)" in stage.m_rule


def test_rules_add_up():
    stage = propose_stage([lesion(1, 25), replace(SAME_LOBE, id=2), replace(OTHER_LUNG, id=3)])
    assert (stage.t, stage.m) == ("T3", "M1a")
    stage = propose_stage([lesion(1, 25), SAME_LOBE, replace(OTHER_LOBE, id=3)])
    assert stage.t == "T4"


@pytest.mark.parametrize("size_mm", [9, 45, 65])
@pytest.mark.parametrize("which", ["primary", "nodule", "both"])
def test_without_lobes_a_nodule_in_the_same_lung_is_t3_or_t4_and_nobody_knows(size_mm, which):
    primary, nodule = lesion(1, size_mm), SAME_LOBE
    primary = primary if which == "nodule" else replace(primary, lobe=None)
    nodule = nodule if which == "primary" else replace(nodule, lobe=None)
    stage = propose_stage([primary, nodule])
    assert (stage.t, stage.t_possible) == (None, ("T3", "T4"))
    assert "lobe" in stage.reasons["t"]


def test_without_lobes_size_alone_still_gives_t4():
    assert propose_stage([lesion(1, 71, lobe=None), replace(SAME_LOBE, lobe=None)]).t == "T4"


def test_without_lobes_the_other_lung_is_still_the_other_lung():
    stage = propose_stage([lesion(1, 25, lobe=None), replace(OTHER_LUNG, lobe=None)])
    assert (stage.t, stage.m) == ("T1c", "M1a")


@pytest.mark.parametrize("unknown", [0, 1])
def test_an_unknown_side_leaves_t_and_m_open(unknown):
    lesions = [lesion(1, 25), SAME_LOBE]
    lesions[unknown] = replace(lesions[unknown], side=None, lobe=None)
    stage = propose_stage(lesions)
    assert (stage.t, stage.m) == (None, None)
    assert stage.t_possible[0] == "T1c"
    assert stage.t_possible[-1] == "T4"
    assert "side" in stage.reasons["m"]


def test_one_lesion_of_unknown_side_has_its_t_by_size():
    assert propose_stage([lesion(1, 25, side=None, lobe=None)]).t == "T1c"


def test_an_error_bar_across_a_border_leaves_both_categories_possible():
    stage = propose_stage([lesion(1, 29.5, error=1.0)])
    assert (stage.t, stage.t_possible, stage.size_mm_error) == ("T1c", ("T1c", "T2a"), 1.0)
    assert propose_stage([lesion(1, 25, error=1.0)]).t_possible == ("T1c",)
    assert propose_stage([lesion(1, 5, error=6.0)]).t_possible == ("T1a", "T1b")


def test_a_primary_that_the_scan_cuts_has_no_t():
    stage = propose_stage([lesion(1, 45, flags=("cut_by_scan_edge",))])
    assert (stage.t, stage.t_possible) == (None, ("T2b", "T3", "T4"))
    assert "cuts" in stage.reasons["t"]


@pytest.mark.parametrize(("volume_ml", "t"), [(0.0141, "T3"), (0.0140, "T1b")])
def test_what_is_smaller_than_a_ball_of_3_mm_is_no_nodule(volume_ml, t):
    # pi / 6 * 27 mm3 = 14.137; the dust rule says 14.1.
    stage = propose_stage([lesion(1, 15), replace(SAME_LOBE, volume_ml=volume_ml)])
    assert stage.t == t
    assert ("lesion 2 below a ball of 3 mm: not counted" in stage.t_rule) == (t == "T1b")


def test_a_speck_in_the_other_lung_is_no_m1a():
    assert propose_stage([lesion(1, 15), replace(OTHER_LUNG, volume_ml=0.001)]).m is None


OUTSIDE = replace(lesion(2, 8, None, None), flags=("outside_lungs",))


def test_a_lesion_outside_the_lungs_is_no_nodule_and_no_m1a():
    stage = propose_stage([lesion(1, 15), OUTSIDE])
    assert (stage.t, stage.t_possible, stage.m) == ("T1b", ("T1b",), None)
    for rule in (stage.t_rule, stage.m_rule):
        assert "lesion 2 outside the lungs: not counted" in rule
    stage = propose_stage([lesion(1, 15), OUTSIDE, replace(OTHER_LUNG, id=3), replace(SAME_LOBE, id=4)])
    assert (stage.t, stage.m) == ("T3", "M1a")


def test_a_dominant_lesion_outside_the_lungs_leaves_everything_open():
    stage = propose_stage([replace(OUTSIDE, id=1, long_axis_mm=45.0), SAME_LOBE])
    assert (stage.t, stage.t_possible, stage.m, stage.size_mm, stage.size_plane) == (None, (), None, None, None)
    assert set(stage.reasons) == {"t", "m", "size_mm", "size_mm_error", "size_plane"}
    assert "outside the lungs" in stage.t_rule


@pytest.mark.parametrize(
    ("size_mm", "category"),
    [(10, "T1a"), (10.01, "T1b"), (20, "T1b"), (20.01, "T1c"), (30, "T1c"), (30.01, "T2a"), (40, "T2a"),
     (40.01, "T2b"), (50, "T2b"), (50.01, "T3"), (70, "T3"), (70.01, "T4")],
)  # fmt: skip
@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_the_plane_that_shows_the_greatest_dimension_gives_t(size_mm, category, plane):
    primary = replace(lesion(1, 9.0), longest_diameter_mm=size_mm, longest_diameter_plane=plane)
    stage = propose_stage([primary])
    assert (stage.t, stage.size_mm, stage.size_plane) == (category, size_mm, plane)
    assert f"{size_mm:.1f} mm in the {plane} plane (axial 9.0 mm)" in stage.t_rule


def test_no_lesion_has_no_stage_and_says_why():
    stage = propose_stage([])
    assert (stage.t, stage.m, stage.size_mm, stage.t_possible) == (None, None, None, ())
    assert stage.reasons["t"] == "no lesion was found"
    assert all(word in stage.caveat for word in ("Invasion", "lymph nodes", "distant metastases"))
