"""Which lesion is which, on blocks whose overlap is known."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.followup.matching import NEAR_MM, Match, match_lesions

SHAPE = (12, 40, 60)
ONE_MM = (1.0, 1.0, 1.0)


def blocks(**places):
    """A label map: n1=(z, y, x, edge) is a cube with label 1."""
    labels = np.zeros(SHAPE, np.int32)
    for name, (z, y, x, edge) in places.items():
        labels[z : z + edge, y : y + edge, x : x + edge] = int(name[1:])
    return labels


def match(before, after, spacing=ONE_MM, **options):
    ids = options.pop("ids", np.unique(before[before > 0]).tolist())
    return match_lesions(before, after, spacing, ids_before=ids, **options)


def test_lesions_that_overlap_stay_whatever_their_numbers():
    before = blocks(n1=(2, 2, 2, 6), n2=(2, 20, 40, 5))
    after = blocks(n1=(3, 21, 40, 6), n2=(2, 3, 2, 5))
    assert match(before, after) == (Match("stays", (1,), (2,)), Match("stays", (2,), (1,)))


def test_two_that_grow_together_merged_and_one_that_parts_split():
    two, one = blocks(n1=(2, 5, 5, 5), n2=(2, 5, 12, 5)), blocks(n1=(2, 5, 5, 5))
    one[2:7, 5:10, 5:17] = 1
    assert match(two, one) == (Match("merged", (1, 2), (1,)),)
    assert match(one, two) == (Match("split", (1,), (1, 2)),)


def test_two_that_become_two_others_regrouped():
    before, after = np.zeros(SHAPE, np.int32), np.zeros(SHAPE, np.int32)
    before[2:6, 5:10, 5:15], before[2:6, 10:15, 5:15] = 1, 2
    after[2:6, 5:15, 5:10], after[2:6, 5:15, 10:15] = 1, 2
    assert match(before, after) == (Match("regrouped", (1, 2), (1, 2)),)


def test_a_rim_shared_with_a_neighbour_is_no_match():
    before = blocks(n1=(2, 5, 5, 10))
    after = blocks(n1=(2, 5, 14, 10))  # A tenth in common, and 0 mm apart: near, so still the same.
    assert match(before, after) == (Match("stays", (1,), (1,)),)
    both = after.copy()
    both[2:12, 5:15, 5:13] = 2  # Now another fills its place: the neighbour is new.
    assert match(before, both) == (Match("stays", (1,), (2,)), Match("new", (), (1,)))


@pytest.mark.parametrize("spacing", [ONE_MM, (1.0, 1.0, 0.5), (2.5, 1.0, 2.0)])
def test_what_shares_nothing_is_the_same_up_to_eight_millimetres_of_gap(spacing):
    before = blocks(n1=(2, 5, 5, 5))
    for gap in range(1, 20):
        after = blocks(n1=(2, 5, 10 + gap, 5))
        mm = (gap + 1) * spacing[2]  # Between the centres of the outermost voxels.
        kinds = [m.kind for m in match(before, after, spacing)]
        assert kinds == (["stays"] if mm <= NEAR_MM else ["gone", "new"]), gap


def test_near_pairs_are_one_to_one_and_nearest_in_all():
    before = blocks(n1=(2, 5, 5, 4), n2=(2, 5, 16, 4))
    after = blocks(n1=(2, 5, 10, 4))
    assert match(before, after) == (Match("stays", (1,), (1,)), Match("gone", (2,), ()))


def test_a_lesion_of_one_voxel_is_matched():
    before, after = np.zeros(SHAPE, np.int32), np.zeros(SHAPE, np.int32)
    before[5, 20, 30] = after[5, 20, 30] = 1
    assert match(before, after) == (Match("stays", (1,), (1,)),)


def test_outside_the_other_scan_is_neither_gone_nor_new():
    before, after = blocks(n1=(2, 5, 5, 5)), blocks(n1=(2, 25, 45, 5))
    assert match(before, after, outside_before=[1], outside_after=[1]) == (
        Match("not_covered", (1,), ()),
        Match("not_covered", (), (1,)),
    )


def test_a_lesion_lost_on_the_way_is_gone_and_not_forgotten():
    empty = np.zeros(SHAPE, np.int32)
    assert match(empty, empty, ids=[1, 2]) == (Match("gone", (1,), ()), Match("gone", (2,), ()))
    assert match(empty, blocks(n1=(2, 5, 5, 5))) == (Match("new", (), (1,)),)
    assert match(empty, empty) == ()


def test_every_lesion_of_many_stands_in_one_match():
    rng = np.random.default_rng(3)
    before, after = (np.kron(rng.integers(0, 30, (4, 10, 15)), np.ones((3, 4, 4), np.int64)) for _ in range(2))
    found = match(before, after)
    assert sorted(n for m in found for n in m.before) == np.unique(before[before > 0]).tolist()
    assert sorted(n for m in found for n in m.after) == np.unique(after[after > 0]).tolist()
