"""Where a lung tumour may be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chests import chest_with_a_dome

from tumorspread.measurement.room import MARGIN_MM, Room, below_lungs, boxed, distance_to_lungs, find_room, near_lungs

SPACING = (5.0, 2.0, 2.0)
# On the axis of the chest, half in the dome.
MASS_MM = (95.0, 100.0, 100.0)


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


@pytest.mark.parametrize("spacing_mm", [(1.0, 0.7, 0.7), (2.5, 0.6, 0.6), (2.0, 2.0, 2.0), (5.0, 1.1, 1.1)])
def test_in_fine_voxels_what_is_near_the_lungs_is_known_to_a_step_of_the_distances_and_else_exactly(spacing_mm):
    sides = np.zeros([round(mm / step) + 1 for mm, step in zip((60, 120, 160), spacing_mm, strict=True)], np.uint8)
    z, y, x = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(sides.shape, spacing_mm, strict=True)), indexing="ij")
    for side, centre in ((1, 115.0), (2, 45.0)):
        sides[(z - 30) ** 2 + (y - 60) ** 2 + (x - centre) ** 2 < 20**2] = side
    exact_mm = distance_to_lungs(sides, spacing_mm)
    fine = any(mm <= 1 for mm in spacing_mm)
    for limit_mm, near in zip((25.0, 15.0), near_lungs(sides, spacing_mm, (25.0, 15.0)), strict=True):
        assert near.shape == sides.shape
        assert near.flags["C_CONTIGUOUS"]
        wrong = near != (exact_mm <= limit_mm)
        assert wrong.any() == fine
        assert (abs(exact_mm[wrong] - limit_mm) <= 2.0).all()


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


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (5.0, 1.5, 1.5)])
def test_a_mass_on_the_diaphragm_is_kept_and_the_dome_of_the_liver_is_not(spacing_mm):
    sides, dome, _ = chest_with_a_dome(spacing_mm)
    room = find_room(sides, distance_to_lungs(sides, spacing_mm) <= MARGIN_MM, spacing_mm)
    assert room.below[dome].all()
    assert not room.holds(np.flatnonzero(dome))
    # Its lowest 20 mm lie in the liver.
    sides, _, ball = chest_with_a_dome(spacing_mm, MASS_MM)
    room = find_room(sides, distance_to_lungs(sides, spacing_mm) <= MARGIN_MM, spacing_mm)
    assert room.below[ball].mean() > 0.85
    assert room.holds(np.flatnonzero(ball))


def test_of_a_large_piece_at_the_edge_of_the_scan_what_lies_within_it_is_asked():
    sides, _, ball = chest_with_a_dome((2.0, 2.0, 2.0), MASS_MM)
    half = slice(None), slice(None), slice(50, None)
    sides, ball = sides[half], ball[half]
    room = find_room(sides, distance_to_lungs(sides, (2.0, 2.0, 2.0)) <= MARGIN_MM, (2.0, 2.0, 2.0))
    assert room.holds(np.flatnonzero(ball))


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (5.0, 1.5, 1.5)])
def test_what_is_liver_and_mass_in_one_is_kept_where_enough_of_it_rises_above_lung(spacing_mm):
    sides, dome, ball = chest_with_a_dome(spacing_mm, (85.0, 100.0, 145.0), 22.0, depth_mm=20.0)
    room = find_room(sides, distance_to_lungs(sides, spacing_mm) <= MARGIN_MM, spacing_mm)
    assert not room.holds(np.flatnonzero(dome))
    both = np.flatnonzero(dome | ball)
    assert room.hangs_below(both)
    assert room.holds(both)
    sides, dome, ball = chest_with_a_dome(spacing_mm, (85.0, 100.0, 145.0), 14.0, depth_mm=20.0)
    room = find_room(sides, distance_to_lungs(sides, spacing_mm) <= MARGIN_MM, spacing_mm)
    assert not room.holds(np.flatnonzero(dome | ball))


def test_a_piece_in_its_box_is_the_piece_and_the_box_ends_with_the_array():
    mask = np.zeros((5, 6, 7), bool)
    mask[0, 2, 3] = mask[1, 4, 6] = True
    box, inside = boxed(np.flatnonzero(mask), mask.shape, (1, 1, 1))
    assert box == (slice(0, 3), slice(1, 6), slice(2, 7))
    assert np.array_equal(inside, mask[box])
    assert np.count_nonzero(inside) == 2


def test_a_small_piece_of_which_a_tenth_is_as_dense_as_bone_is_no_tumour_also_in_a_crop():
    lungs = np.ones((1, 10, 10), bool)
    room = Room(lungs, ~lungs, lungs, (1.0, 1.0, 1.0), np.zeros_like(lungs))
    piece = np.arange(20, 30)
    assert room.holds(piece)
    room.dense[0, 2, :1] = True
    assert room.is_bone(piece)
    assert not room.holds(piece)
    cropped = room.crop((slice(0, 1), slice(2, 4), slice(0, 10)))
    assert cropped.is_bone(np.arange(10))
    assert not cropped.is_bone(np.arange(1, 10))
    assert replace(room, dense=None).holds(piece)
    # As much, of 7 mm a voxel, is more than 2 mL.
    assert replace(room, spacing_mm=(7.0, 7.0, 7.0)).holds(piece)
