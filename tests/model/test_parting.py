"""A tumour parted from the liver that it touches."""

from __future__ import annotations

import numpy as np
import pytest
from tests.chests import chest_with_a_dome

from tumorspread.measurement.room import MARGIN_MM, distance_to_lungs, find_room
from tumorspread.model.candidates import find_pieces
from tumorspread.model.parting import part_from_below

SPACING = (2.0, 2.0, 2.0)


def liver_and_mass(between):
    """A mass of 11 mL on the flank of the dome; what lies between has this probability, the rest 0.99."""
    sides, dome, ball = chest_with_a_dome(SPACING, (90.0, 100.0, 150.0), 14.0, depth_mm=20.0)
    room = find_room(sides, distance_to_lungs(sides, SPACING) <= MARGIN_MM, SPACING)
    probability = np.where(dome | ball, 0.99, 0).astype(np.float32)
    bridge = np.zeros_like(dome)
    bridge[30:42, 45:55, 69:72] = True
    probability[bridge & ~ball] = between
    return room, probability, dome & ~ball, ball


@pytest.mark.parametrize("between", [0.6, 0.8, 0.9])
def test_a_mass_is_parted_where_the_network_is_less_sure(between):
    room, probability, liver, ball = liver_and_mass(between)
    labels, pieces = find_pieces(probability, 0.5, room)
    assert [(piece.is_inside, piece.hangs_below) for piece in pieces] == [(False, True), (True, False)]
    assert [piece.voxels for piece in pieces] == [np.count_nonzero(labels == n) for n in (1, 2)]
    assert (labels[ball] == 2).mean() > 0.98
    assert (labels[liver] == 1).mean() > 0.98
    assert np.array_equal(labels > 0, probability > 0.5)


def test_where_it_is_as_sure_in_between_nothing_is_parted():
    room, probability, *_ = liver_and_mass(0.99)
    _, pieces = find_pieces(probability, 0.5, room)
    assert [piece.is_inside for piece in pieces] == [False]


def test_liver_alone_and_a_part_too_small_are_no_parts():
    room, probability, liver, ball = liver_and_mass(0.6)
    assert part_from_below(np.flatnonzero(liver), np.where(liver, 0.99, 0), room) is None
    less = np.where(ball & ~np.roll(ball, 4, axis=0), 0.99, np.where(ball, 0.6, probability)).astype(np.float32)
    assert part_from_below(np.flatnonzero(less > 0.5), less, room) is None


def test_where_all_parts_have_lung_beneath_none_is_parted_from_the_others():
    room, _, _, ball = liver_and_mass(0.6)
    halves = np.where(ball, 0.99, 0).astype(np.float32)
    halves[:, 50] = 0.6
    assert part_from_below(np.flatnonzero(halves), halves, room) is None
