"""Where a lung tumour may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorspread.measurement.room import below_lungs, distance_to_lungs, find_room

SPACING = (5.0, 2.0, 2.0)


def lungs_with_a_notch():
    """Two boxes; the left one has a notch, as where a mass replaces lung at the wall."""
    sides = np.zeros((20, 60, 80), np.uint8)
    sides[5:15, 15:45, 50:70] = 1
    sides[5:15, 15:45, 10:30] = 2
    sides[8:12, 25:35, 60:70] = 0
    return sides


def test_a_notch_belongs_to_the_room_and_the_margin_is_in_mm():
    room = distance_to_lungs(lungs_with_a_notch(), SPACING) <= 10.0
    assert room[10, 30, 65]
    # 10 mm are two slices and five pixels.
    assert room[3, 30, 60]
    assert not room[2, 30, 60]
    assert room[10, 10, 60]
    assert not room[10, 9, 60]


def test_what_lies_between_the_lungs_beyond_the_margin_is_no_room():
    room = distance_to_lungs(lungs_with_a_notch(), SPACING) <= 6.0
    assert not room[10, 30, 40]
    assert room[10, 30, 32]


def test_all_of_the_lungs_is_at_no_distance_and_without_lungs_all_is_far():
    sides = lungs_with_a_notch()
    assert (distance_to_lungs(sides, SPACING)[sides > 0] == 0).all()
    assert np.isinf(distance_to_lungs(np.zeros_like(sides), SPACING)).all()


def test_the_distance_from_a_lung_of_one_voxel_is_that_between_the_voxels():
    sides = np.zeros((7, 9, 11), np.uint8)
    sides[3, 4, 5] = 2
    z, y, x = np.meshgrid(*(np.arange(n) for n in sides.shape), indexing="ij")
    expected = np.sqrt((5.0 * (z - 3)) ** 2 + (2.0 * (y - 4)) ** 2 + (2.0 * (x - 5)) ** 2)
    assert np.allclose(distance_to_lungs(sides, SPACING), expected, atol=1e-4)


@given(
    spots=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 19), st.integers(0, 23)), min_size=1, max_size=4),
    reach_mm=st.floats(0.5, 60),
)
def test_within_reach_the_distance_is_that_without_and_beyond_it_is_none_that_lies_within(spots, reach_mm):
    sides = np.zeros((12, 20, 24), np.uint8)
    for side, spot in enumerate(spots):
        sides[spot] = 1 + side % 2
    whole, near = distance_to_lungs(sides, SPACING), distance_to_lungs(sides, SPACING, reach_mm)
    assert np.array_equal(near[whole <= reach_mm], whole[whole <= reach_mm])
    assert (near[whole > reach_mm] > reach_mm).all()
    assert np.isinf(distance_to_lungs(np.zeros_like(sides), SPACING, reach_mm)).all()


@given(st.integers(0, 2**32 - 1))
def test_below_the_lungs_is_what_no_lung_was_met_on_the_way_up_to(seed):
    sides = (np.random.default_rng(seed).random((6, 5, 7)) > 0.8).astype(np.uint8)
    met = np.logical_or.accumulate(sides > 0, axis=0)
    hull = ~below_lungs(sides[:1])[0]
    assert np.array_equal(below_lungs(sides), ~(met | hull))


def test_what_has_lung_beneath_is_not_below_the_lungs():
    sides = lungs_with_a_notch()  # slices 5 to 14, the notch in 8 to 11
    below = below_lungs(sides)
    assert below[:5].all()
    assert not below[5:, 15:45, 50:70].any()  # the lung, its notch, and all above it
    assert below[:, :15].all()
    assert below[19, 30, 40]


def test_where_the_scan_ends_within_the_lungs_they_go_on_beneath():
    sides = lungs_with_a_notch()[9:]  # the lowest slice shows lung about the notch
    below = below_lungs(sides)
    assert not below[:, 15:45, 50:70].any()
    assert below[:, 30, 40].all()
    assert below_lungs(np.zeros_like(sides)).all()


def chest_with_a_dome(spacing_mm, mass_mm=None):
    """A lung 150 mm wide over the dome of the liver, and on its axis a ball of 60 mm, so far up.

    Returns:
        The sides, the top of the dome as a network might mark it, and the ball.
    """
    shape = tuple(int(200 / mm) for mm in spacing_mm)
    z, y, x = (np.arange(n).reshape([-1 if i == axis else 1 for i in range(3)]) * spacing_mm[axis]
               for axis, n in enumerate(shape))  # fmt: skip
    axis_mm = np.hypot(y - 100, x - 100)
    liver = np.hypot(axis_mm, z - 20) < 65
    ball = np.zeros(shape, bool) if mass_mm is None else np.sqrt((z - mass_mm) ** 2 + axis_mm**2) < 30
    lung = (axis_mm < 75) & (z > 40) & ~liver & ~ball
    return lung.astype(np.uint8), liver & (z > 35) & (axis_mm < 45), ball


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (5.0, 1.5, 1.5)])
def test_a_mass_on_the_diaphragm_is_kept_and_the_dome_of_the_liver_is_not(spacing_mm):
    sides, dome, _ = chest_with_a_dome(spacing_mm)
    room = find_room(sides, distance_to_lungs(sides, spacing_mm), spacing_mm)
    assert room.below[dome].all()
    assert not room.holds(np.flatnonzero(dome))
    # Its lowest 20 mm lie in the liver.
    sides, _, ball = chest_with_a_dome(spacing_mm, mass_mm=95.0)
    room = find_room(sides, distance_to_lungs(sides, spacing_mm), spacing_mm)
    assert room.below[ball].mean() > 0.85
    assert room.holds(np.flatnonzero(ball))


def test_of_a_large_piece_at_the_edge_of_the_scan_what_lies_within_it_is_asked():
    sides, _, ball = chest_with_a_dome((2.0, 2.0, 2.0), mass_mm=95.0)
    half = slice(None), slice(None), slice(50, None)
    sides, ball = sides[half], ball[half]
    room = find_room(sides, distance_to_lungs(sides, (2.0, 2.0, 2.0)), (2.0, 2.0, 2.0))
    assert room.holds(np.flatnonzero(ball))
