"""Where a lung tumour may be."""

from __future__ import annotations

import numpy as np

from tumorspread.measurement.room import below_lungs, distance_to_lungs

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
