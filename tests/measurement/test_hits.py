from __future__ import annotations

import numpy as np
import pytest

from tumorspread.errors import MaskError
from tumorspread.measurement.hits import compare_lesions
from tumorspread.measurement.pieces import label_lesions
from tumorspread.scan.volume import Reorientation, Volume

SHAPE, SPACING = (20, 30, 40), (2.0, 1.0, 0.5)  # a voxel is 1 mm3


def volume(*boxes: tuple[slice, slice, slice]) -> Volume:
    voxels = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        voxels[box] = 1
    return Volume.upright(voxels, SPACING)


def box(z: int, y: int, x: int, size: int = 4) -> tuple[slice, slice, slice]:
    return slice(z, z + size), slice(y, y + size), slice(x, x + size)


def compare(found: Volume, reference: Volume):
    return compare_lesions(label_lesions(found), reference)


def test_a_hit_a_miss_and_a_false_alarm_are_told_apart():
    found = volume(box(2, 2, 2), box(2, 20, 30, 3))
    reference = volume(box(3, 2, 2), box(14, 20, 30, 5))
    result = compare(found, reference)
    missed, hit = result.reference_lesions
    assert (missed.is_hit, missed.covered_percent, missed.volume_ml, missed.partner_ids) == (False, 0.0, 0.125, ())
    assert (hit.is_hit, hit.covered_percent, hit.partner_ids) == (True, 75.0, (1,))
    same, alone = result.found_lesions
    assert (same.is_hit, same.covered_percent, same.partner_ids) == (True, 75.0, (2,))
    assert (alone.is_hit, alone.volume_ml) == (False, 0.027)
    counts = result.metrics.lesions_reference, result.metrics.lesions_found, result.metrics.false_positives
    assert counts == (2, 1, 1)
    assert result.metrics.dice == pytest.approx(2 * 48 / (64 + 27 + 64 + 125))


def test_less_than_a_tenth_is_a_miss_but_no_false_alarm():
    result = compare(volume(box(5, 5, 5, 1)), volume(box(4, 4, 4, 3)))
    assert not result.reference_lesions[0].is_hit
    assert result.found_lesions[0].is_hit


def test_one_lesion_may_meet_two_with_the_larger_overlap_first():
    found = volume((slice(2, 6), slice(2, 6), slice(2, 20)))
    result = compare(found, volume(box(2, 2, 2, 3), box(2, 2, 12, 4)))
    assert result.found_lesions[0].partner_ids == (1, 2)
    assert [match.covered_percent for match in result.reference_lesions] == [100.0, 100.0]


def test_empty_masks_have_no_lesions_and_no_dice():
    result = compare(volume(), volume())
    assert result.reference_lesions == result.found_lesions == ()
    assert result.metrics.dice is None


def test_the_answer_does_not_depend_on_how_both_are_stored():
    turn = Reorientation((2, 0, 1), (True, False, True))
    found, reference = volume(box(2, 2, 2), box(2, 20, 30, 3)), volume(box(3, 2, 2), box(14, 20, 30, 5))
    plain, turned = compare(found, reference), compare(turn.apply(found), turn.apply(reference))
    assert turned.reference_lesions == plain.reference_lesions
    assert turned.found_lesions == plain.found_lesions


def test_a_reference_of_another_grid_is_refused():
    other = Volume.upright(np.zeros((20, 30, 41), np.uint8), SPACING)
    with pytest.raises(MaskError, match="grid"):
        compare(volume(), other)


def test_a_reference_with_other_values_is_refused():
    with pytest.raises(MaskError):
        compare(volume(), volume().with_voxels(np.full(SHAPE, 3, np.uint8)))
