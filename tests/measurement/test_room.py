"""Where a lung tumour may be."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.measurement.room import lung_room

SPACING = (5.0, 2.0, 2.0)


def lungs_with_a_notch():
    """Two boxes; the left one has a notch, as where a mass replaces lung at the wall."""
    sides = np.zeros((20, 60, 80), np.uint8)
    sides[5:15, 15:45, 50:70] = 1
    sides[5:15, 15:45, 10:30] = 2
    sides[8:12, 25:35, 60:70] = 0
    return sides


def test_a_notch_belongs_to_the_room_and_the_margin_is_in_mm():
    room = lung_room(lungs_with_a_notch(), SPACING, margin_mm=10.0)
    assert room[10, 30, 65]
    # 10 mm are two slices and five pixels.
    assert room[3, 30, 60]
    assert not room[2, 30, 60]
    assert room[10, 10, 60]
    assert not room[10, 9, 60]


def test_what_lies_between_the_lungs_beyond_the_margin_is_no_room():
    room = lung_room(lungs_with_a_notch(), SPACING, margin_mm=6.0)
    assert not room[10, 30, 40]
    assert room[10, 30, 32]


@pytest.mark.parametrize("margin_mm", [0.0, 8.0])
def test_all_of_the_lungs_is_in_it_and_without_lungs_there_is_none(margin_mm):
    sides = lungs_with_a_notch()
    assert lung_room(sides, SPACING, margin_mm)[sides > 0].all()
    assert not lung_room(np.zeros_like(sides), SPACING, margin_mm).any()
