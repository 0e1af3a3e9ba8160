"""Boxes apart from each other that hold all of a mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tumorspread.measurement.regions import find_regions


def blobs(shape, count, seed):
    mask = np.zeros(shape, bool)
    random = np.random.default_rng(seed)
    for _ in range(count):
        start = [int(random.integers(0, n)) for n in shape]
        mask[tuple(slice(a, a + int(random.integers(1, 9))) for a in start)] = True
    return mask


@given(st.tuples(*[st.integers(1, 70)] * 3), st.integers(0, 12), st.integers(0, 1000))
def test_boxes_hold_all_do_not_overlap_and_part_no_piece(shape, count, seed):
    mask = blobs(shape, count, seed)
    boxes = find_regions(mask)
    held = np.zeros(shape, int)
    for box in boxes:
        held[box] += 1
    assert held.max(initial=0) <= 1
    assert (held[mask] == 1).all()
    whole = ndimage.label(mask, np.ones((3, 3, 3)))[1]
    assert sum(ndimage.label(mask[box], np.ones((3, 3, 3)))[1] for box in boxes) == whole


def test_two_far_apart_have_a_box_each_and_no_mask_has_none():
    mask = np.zeros((40, 80, 80), bool)
    assert find_regions(mask) == []
    mask[2:5, 3:6, 3:6] = mask[30:33, 60:70, 70:80] = True
    boxes = find_regions(mask)
    assert len(boxes) == 2
    assert sum(np.prod([s.stop - s.start for s in box]) for box in boxes) < 0.05 * mask.size


@pytest.mark.parametrize("fill", ["specks", "full"])
def test_many_specks_and_a_full_mask_are_one_box(fill):
    mask = np.ones((80, 96, 96), bool)
    if fill == "specks":
        mask[:] = False
        mask[::20, ::20, ::20] = True
    boxes = find_regions(mask)
    assert len(boxes) == 1
    assert [(s.start, s.stop) for s in boxes[0]] == [(0, n) for n in mask.shape]
