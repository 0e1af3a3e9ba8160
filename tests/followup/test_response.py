"""RECIST 1.1 by the letter: Eisenhauer et al. 2009, section 4.3 and tables 1 and 2."""

from __future__ import annotations

from itertools import product
from math import pi

import pytest

from tumorspread.followup.response import TargetSum, overall_response, target_response, volume_response

OTHERS = ("CR", "non-CR/non-PD", "NE", "none")


def sums(*numbers):
    """The sum at each time; None where no target could be evaluated, (n,) where only some were, n mm together."""
    return [_sum(n) for n in numbers]


def _sum(number):
    evaluated = number[0] if isinstance(number, tuple) else number or 0
    return TargetSum(evaluated, number is None or evaluated > 0, number is not None and not isinstance(number, tuple))


@pytest.mark.parametrize(
    ("over_time", "response"),
    [
        # 30 % below the baseline.
        ((100, 70), "PR"),
        ((100, 70.1), "SD"),
        ((100, 69), "PR"),
        # 20 % above the smallest, and 5 mm: both, and at the border.
        ((100, 120), "PD"),
        ((100, 119.9), "SD"),
        ((20, 24.9), "SD"),
        ((20, 25), "PD"),
        ((25, 30), "PD"),
        ((24, 28.8), "SD"),
        ((60, 65), "SD"),
        # The nadir counts, not the scan before, nor the baseline alone.
        ((100, 50, 60), "PD"),
        ((100, 50, 59), "PR"),
        ((100, 50, 56, 60), "PD"),
        ((100, 80, 71, 85.2), "PD"),
        ((100, 130, 110), "SD"),
        ((100, 130, 60), "PR"),
        # The baseline is a nadir, too.
        ((50, 55, 60), "PD"),
        # All gone, and back again.
        ((100, 0), "CR"),
        ((100, 0, 0), "CR"),
        ((100, 0, 12), "PD"),
        ((100, 0, 4), "PR"),
        # Not evaluated: never a response; a nadir that is unknown is left out.
        ((100, None), "NE"),
        # But what could be evaluated may be progression by itself, as in the appendix: 50 mm, then two of three 80 mm.
        ((50, (80,)), "PD"),
        ((50, (59.9,)), "NE"),
        ((50, (30,)), "NE"),
        ((100, None, 60), "PR"),
        ((100, 50, None, 60), "PD"),
        # Unchanged.
        ((100, 100), "SD"),
    ],
)
def test_targets_by_section_4_3_1(over_time, response):
    assert target_response(sums(*over_time)) == response


def test_targets_that_are_there_with_no_length_are_not_gone():
    assert target_response([TargetSum(30.0, True), TargetSum(0.0, True)]) == "PR"


@pytest.mark.parametrize(
    ("targets", "others", "overall"),
    [
        ("CR", "CR", "CR"),
        ("CR", "none", "CR"),
        ("CR", "non-CR/non-PD", "PR"),
        ("CR", "NE", "PR"),
        *product(["PR"], OTHERS, ["PR"]),
        *product(["SD"], OTHERS, ["SD"]),
        *product(["NE"], OTHERS, ["NE"]),
        *product(["PD"], OTHERS, ["PD"]),
    ],
)
def test_table_1_without_new_lesions(targets, others, overall):
    assert overall_response(targets, others, has_new=False) == overall


@pytest.mark.parametrize("targets", ["CR", "PR", "SD", "NE", "PD", None])
def test_others_that_progress_or_a_new_lesion_are_progression_whatever_else(targets):
    assert overall_response(targets, "PD", has_new=False) == "PD"
    for others in (*OTHERS, "PD"):
        assert overall_response(targets, others, has_new=True) == "PD"


@pytest.mark.parametrize(
    ("others", "overall"),
    [("CR", "CR"), ("non-CR/non-PD", "non-CR/non-PD"), ("NE", "NE"), ("none", None)],
)
def test_table_2_where_there_are_no_targets(others, overall):
    assert overall_response(None, others, has_new=False) == overall


def ball_ml(diameter_mm):
    return pi * diameter_mm**3 / 6000


@pytest.mark.parametrize(
    ("diameters", "response"),
    [
        ((30, 30, 21.01), "SD"),
        ((30, 30, 20.99), "PR"),
        ((30, 30, 36.01), "PD"),
        ((30, 30, 35.99), "SD"),
        ((30, 20, 24.01), "PD"),
        ((30, 20, 20.5), "PR"),
        ((30, 30, 0), "CR"),
        ((0, 0, 0), "SD"),
    ],
)
def test_volumes_follow_the_diameters_of_a_ball(diameters, response):
    assert volume_response(*(ball_ml(d) for d in diameters)) == response
