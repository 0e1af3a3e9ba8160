"""What counts as one lesion: dust, and touching lesions divided at their necks."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.measurement.pieces import DUST_MM3, drop_unknown, dust_remark, label_lesions
from tumorspread.scan.volume import Reorientation, Volume

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.8, 0.8), (0.7, 0.7, 0.7)]


def solids(*balls, spacing=(1.0, 1.0, 1.0), reach_mm=30):
    """The union of balls, each (centre z, y, x in mm, radius in mm), about the middle of the grid."""
    axes = [np.arange(-reach_mm, reach_mm + s / 2, s) for s in spacing]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    union = np.zeros(z.shape, bool)
    for (cz, cy, cx), radius in balls:
        union |= (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    return Volume.upright(union.astype(np.uint8), spacing)


def count(mask, **options):
    return int(label_lesions(mask, **options).voxels.max())


def test_dust_is_what_has_less_volume_than_stated():
    mask = np.zeros((9, 9, 20), np.uint8)
    mask[1, 1, 1] = 1  # 8 mm3
    mask[4, 4, 5:7] = 1  # 16 mm3
    mask[2:6, 2:6, 12:16] = 1  # 512 mm3
    volume = Volume.upright(mask, (2.0, 2.0, 2.0))
    assert [count(volume, dust_mm3=limit) for limit in (0, 8, 8.1, 16, 17, 512, 513)] == [3, 3, 2, 2, 1, 1, 0]
    kept = label_lesions(volume, dust_mm3=DUST_MM3)
    (remark,) = dust_remark(volume, kept, DUST_MM3)
    assert (remark.code, "1 piece of the mask below 14.1 mm3, 0.008 mL" in remark.text) == ("dust_left_out", True)
    assert dust_remark(volume, label_lesions(volume), 0.0) == ()


def test_a_ball_of_3_mm_is_no_dust():
    assert 4 / 3 * np.pi * 1.5**3 == pytest.approx(DUST_MM3, abs=0.05)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_two_balls_that_hardly_touch_are_two_when_split_and_one_else(spacing):
    mask = solids(((0, 0, -9.5), 10), ((0, 0, 9.5), 10), spacing=spacing)
    assert count(mask) == 1
    labels = label_lesions(mask, split=True).voxels
    assert labels.max() == 2
    # The cut is the plane half way, to within a layer of voxels.
    x = (np.arange(mask.shape[2]) - (mask.shape[2] - 1) / 2) * spacing[2]
    sides = [np.unique(labels[:, :, s][labels[:, :, s] > 0]) for s in (x < -1.5 * spacing[2], x > 1.5 * spacing[2])]
    assert [len(s) for s in sides] == [1, 1]
    assert sides[0] != sides[1]
    assert (labels > 0).sum() == mask.voxels.sum()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    "balls",
    [
        [((0, 0, 0), 14)],
        [((0, 0, -4), 10), ((0, 0, 4), 10)],  # a long body without a neck
        [((0, 0, 0), 10), ((0, 0, 9.5), 1.2)],  # a spicule
        [((0, 0, 0), 12), ((0, 5, 9), 6)],  # a lobule that lies half inside
    ],
)
def test_a_body_without_a_neck_stays_one(balls, spacing):
    assert count(solids(*balls, spacing=spacing), split=True) == 1


def test_an_ellipsoid_a_torus_and_a_plate_stay_one():
    z, y, x = np.mgrid[-20:21, -25:26, -25:26].astype(float)
    for solid in (
        (z / 8) ** 2 + (y / 12) ** 2 + (x / 24) ** 2 <= 1,
        (np.hypot(y, x) - 15) ** 2 + z**2 <= 36,
        (abs(z) < 3) & (abs(y) < 20) & (abs(x) < 22),
    ):
        assert count(Volume.upright(solid, (1.0, 1.0, 1.0)), split=True) == 1


def test_three_in_a_chain_are_three_and_numbered_by_size():
    mask = solids(((0, 0, -20), 8), ((0, 0, -4.5), 9), ((0, 0, 10.5), 7))
    labels = label_lesions(mask, split=True).voxels
    sizes = np.bincount(labels.ravel())[1:]
    assert len(sizes) == 3
    assert (np.diff(sizes) <= 0).all()
    middle = [n // 2 for n in labels.shape]
    places = [labels[middle[0], middle[1], middle[2] + dx] for dx in (-20, -4, 10)]
    assert places == [2, 1, 3]


def test_a_split_does_not_depend_on_how_the_scan_was_stored():
    mask = solids(((0, 0, -9.5), 10), ((2, 1, 9.5), 8))
    first = label_lesions(mask, split=True)
    turn = Reorientation((2, 0, 1), (True, False, True))
    again = label_lesions(turn.apply(mask), split=True)
    assert np.array_equal(turn.apply_array(first.voxels), again.voxels)


def test_nothing_to_split_is_nothing():
    empty = Volume.upright(np.zeros((4, 4, 4), np.uint8), (1.0, 1.0, 1.0))
    assert count(empty, split=True) == 0
    one = np.zeros((4, 4, 4), np.uint8)
    one[1, 2, 3] = 1
    assert count(empty.with_voxels(one), split=True) == 1
    assert count(empty.with_voxels(np.ones((4, 4, 4), np.uint8)), split=True) == 1


def test_what_nobody_knows_counts_neither_for_nor_against():
    shape = (4, 12, 12)
    truth, unknown, found = (np.zeros(shape, bool) for _ in range(3))
    unknown[:, :5, :5] = True
    found[0, 3:7, 1] = True  # reaches into the unknown, touches no tumour: goes whole
    truth[2, 4:7, 8] = True
    truth[2, 2, 2:4] = True  # a tumour within the unknown counts
    found[2, 2, 2:9] = True  # touches that tumour: its part in the unknown goes, save the tumour
    found[0, 10, 10] = True  # false, and far from it: stays
    kept = drop_unknown(found, truth, unknown)
    assert np.argwhere(kept).tolist() == [[0, 10, 10], [2, 2, 2], [2, 2, 3], *([2, 2, x] for x in range(5, 9))]
    assert np.array_equal(drop_unknown(found, truth, np.zeros(shape, bool)), found)
