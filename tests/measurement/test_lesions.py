"""The pieces of a mask and their measures, however the file was stored."""

from __future__ import annotations

from dataclasses import asdict
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from tumorspread.errors import MaskError
from tumorspread.measurement.lesions import measure_lesions
from tumorspread.measurement.parts import Lungs
from tumorspread.measurement.pieces import label_lesions
from tumorspread.scan.volume import Volume

UPRIGHT = np.array([[0, 0, 0.8, -30], [0, 0.8, 0, -20], [2.5, 0, 0, 100], [0, 0, 0, 1.0]])
NO_LUNGS = Lungs(None, None, None, dict.fromkeys(("left_ml", "right_ml", "total_ml"), "no chest"))
BOTH_LUNGS = Lungs(10.0, 20.0, 30.0)
ORIENTATIONS = [
    np.column_stack([axes, flips]) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)
]


def volume(voxels, affine=UPRIGHT):
    return Volume(np.asarray(voxels), affine)


def blobs(shape=(16, 20, 18), seed=4):
    """A few blobs of many sizes, among them pieces of equal size and single voxels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.6)
    mask = noise > np.quantile(noise, 0.93)
    mask[1, 1, 1] = mask[13, 18, 15] = mask[2, 17, 2] = True
    return mask


def stored(volume, orientation):
    """The same voxels in the world, stored in other axes, turned by nibabel."""
    image = nib.Nifti1Image(volume.voxels.transpose(2, 1, 0).astype(np.int16), volume.affine[:, [2, 1, 0, 3]])
    turned = image.as_reoriented(orientation)
    return Volume(np.asarray(turned.dataobj).transpose(2, 1, 0), turned.affine[:, [2, 1, 0, 3]])


def measured(mask, scan=None, sides=None, lungs=NO_LUNGS):
    lesions = label_lesions(mask)
    return measure_lesions(scan or lesions, lesions, sides, lungs)


def flags(lesion):
    """Its flags but the one that every lesion of a few voxels carries."""
    return tuple(code for code in lesion.flags if code != "too_coarse")


def oblique():
    angle = np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    return turn @ tilt @ UPRIGHT


def test_the_pieces_are_those_of_scipy_and_numbered_by_size():
    mask = blobs()
    ours = label_lesions(volume(mask)).voxels
    theirs, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(ours.ravel())[1:]
    assert len(sizes) == count > 5
    assert (np.diff(sizes) <= 0).all()
    assert len({(int(a), int(b)) for a, b in zip(ours[mask], theirs[mask], strict=True)}) == count
    assert not ours[~mask].any()


@pytest.mark.parametrize("step", [(0, 0, 1), (0, 1, 1), (1, 1, 1), (1, -1, 1)])
def test_voxels_that_touch_by_a_face_an_edge_or_a_corner_are_one_piece(step):
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, 2] = mask[tuple(np.add((2, 2, 2), step))] = True
    assert label_lesions(volume(mask)).voxels.max() == 1
    mask[tuple(np.add((2, 2, 2), step))] = False
    mask[tuple(np.subtract(np.multiply(step, 2), -2))] = True
    assert label_lesions(volume(mask)).voxels.max() == 2


def test_equal_pieces_are_numbered_from_feet_to_head_then_front_to_back_then_right_to_left():
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[4, 0, 0] = mask[1, 4, 0] = mask[1, 0, 4] = mask[1, 0, 0] = 1
    labels = label_lesions(volume(mask)).voxels
    assert [labels[p] for p in ((1, 0, 0), (1, 0, 4), (1, 4, 0), (4, 0, 0))] == [1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64, np.uint64])
def test_a_mask_of_any_type_is_labelled(dtype):
    assert label_lesions(volume(blobs().astype(dtype))).voxels.dtype == np.uint16


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan, np.inf])
def test_values_other_than_0_and_1_are_refused(value):
    mask = np.zeros((4, 4, 4), np.float32)
    mask[1, 1, 1] = value
    with pytest.raises(MaskError, match="other than 0 and 1"):
        label_lesions(volume(mask))


def test_an_empty_mask_has_no_lesions():
    assert measured(volume(np.zeros((4, 5, 6), np.uint8))) == ()


def test_a_full_mask_is_one_lesion_that_the_scan_cuts():
    (lesion,) = measured(volume(np.ones((4, 5, 6), np.uint8)))
    assert lesion.voxel_count == 120
    assert lesion.volume_ml == pytest.approx(120 * 2.5 * 0.8 * 0.8 / 1000)
    assert lesion.centroid_mm == pytest.approx((-30 + 2.5 * 0.8, -20 + 2 * 0.8, 100 + 1.5 * 2.5))
    assert flags(lesion) == ("cut_by_scan_edge",)


def test_a_single_voxel_is_measured():
    mask = np.zeros((4, 5, 6), bool)
    mask[2, 3, 1] = True
    (lesion,) = measured(volume(mask), volume(np.full((4, 5, 6), 33, np.int16)))
    assert (lesion.voxel_count, lesion.mean_hu, flags(lesion)) == (1, 33.0, ("single_slice",))
    assert lesion.centroid_mm == pytest.approx((-30 + 0.8, -20 + 2.4, 105))
    assert lesion.long_axis_mm == pytest.approx(0.8)
    assert lesion.axial_slice == 2


def test_volume_centroid_and_mean_are_those_of_numpy():
    mask, rng = blobs(), np.random.default_rng(0)
    scan = volume(rng.integers(-900, 300, mask.shape).astype(np.int16), oblique())
    labels = label_lesions(scan.with_voxels(mask))
    for lesion in measure_lesions(scan, labels, None, NO_LUNGS):
        inside = labels.voxels == lesion.id
        assert lesion.volume_ml == pytest.approx(inside.sum() * abs(np.linalg.det(scan.affine)) / 1000)
        centre = np.append(np.argwhere(inside).mean(axis=0), 1)
        assert lesion.centroid_mm == pytest.approx((scan.affine @ centre)[:3])
        assert lesion.mean_hu == pytest.approx(scan.voxels[inside].mean())


@pytest.mark.parametrize("affine", [UPRIGHT, oblique()], ids=["upright", "oblique"])
def test_the_lesions_are_the_same_in_all_48_ways_to_store_the_scan(affine):
    mask = volume(blobs(), affine)
    scan = volume(np.random.default_rng(1).integers(-900, 300, mask.shape), affine)
    sides = np.where(np.indices(mask.shape)[2] > 8, 1, 2).astype(np.uint8)
    first = measured(mask, scan, sides, BOTH_LUNGS)
    assert len(ORIENTATIONS) == 48
    for orientation in ORIENTATIONS:
        turned = stored(mask.with_voxels(sides), orientation)
        lesions = label_lesions(stored(mask, orientation))
        again = measure_lesions(stored(scan, orientation), lesions, turned.voxels.astype(np.uint8), BOTH_LUNGS)
        assert [flat(a) for a in again] == [pytest.approx(flat(b), abs=1e-4) for b in first]
        assert [(a.side, a.flags, a.reasons) for a in again] == [(b.side, b.flags, b.reasons) for b in first]


def flat(lesion):
    """All numbers of a lesion but the slice, which counts along the file's own axis."""
    names = (
        "id",
        "voxel_count",
        "volume_ml",
        "long_axis_mm",
        "short_axis_mm",
        "lung_share_percent",
        "mean_hu",
    )
    ends = np.ravel([lesion.long_axis_ends_mm, lesion.short_axis_ends_mm])
    return np.array([*(getattr(lesion, n) for n in names), *ends, *lesion.centroid_mm], float)


@pytest.mark.parametrize("affine", [UPRIGHT, oblique()], ids=["upright", "oblique"])
def test_the_axial_slice_counts_along_the_files_own_head_foot_axis_to_where_the_axes_are(affine):
    mask = volume(blobs(), affine)
    seen = set()
    for orientation in ORIENTATIONS:
        turned = stored(mask, orientation)
        axis = int(np.abs(turned.affine[2, :3] / np.linalg.norm(turned.affine[:3, :3], axis=0)).argmax())
        for lesion in measured(turned):
            for point in (*lesion.long_axis_ends_mm, *lesion.short_axis_ends_mm):
                index = np.linalg.solve(turned.affine, [*point, 1])[axis]
                assert index == pytest.approx(lesion.axial_slice, abs=1e-3)
            seen.add((axis, bool(turned.affine[2, axis] < 0)))
    assert seen == {(axis, flipped) for axis in range(3) for flipped in (False, True)}


def test_the_ends_in_the_world_are_as_far_apart_as_the_axes_are_long_and_at_right_angles():
    for lesion in measured(volume(blobs(), oblique())):
        long, short = (np.subtract(*ends) for ends in (lesion.long_axis_ends_mm, lesion.short_axis_ends_mm))
        assert np.linalg.norm(long) == pytest.approx(lesion.long_axis_mm)
        assert np.linalg.norm(short) == pytest.approx(lesion.short_axis_mm)
        assert abs(long @ short) < 1e-6 * (1 + lesion.long_axis_mm**2)


def test_five_thousand_specks_are_all_measured():
    mask = np.zeros((40, 100, 100), np.uint8)
    mask[::2, ::4, ::10] = 1
    sides = np.ones(mask.shape, np.uint8)
    lesions = measured(volume(mask), sides=sides, lungs=BOTH_LUNGS)
    assert len(lesions) == 20 * 25 * 10
    assert {lesion.voxel_count for lesion in lesions} == {1}
    assert [lesion.id for lesion in lesions] == list(range(1, len(lesions) + 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_a_lesion_at_any_face_of_the_scan_is_flagged_as_cut(axis, end):
    mask = np.zeros((6, 7, 8), bool)
    mask[2:4, 2:4, 2:4] = True
    assert flags(measured(volume(mask))[0]) == ()
    face = [slice(2, 4)] * 3
    face[axis] = slice(0, 4) if end == 0 else slice(2, None)
    mask[tuple(face)] = True
    assert flags(measured(volume(mask))[0]) == ("cut_by_scan_edge",)


def lesion_between(sides, lungs=BOTH_LUNGS, spacing=2.0):
    """A lesion of 2x2x2 voxels in the middle of a scan with the given sides."""
    mask = np.zeros(sides.shape, bool)
    mask[tuple(slice(n // 2 - 1, n // 2 + 1) for n in sides.shape)] = True
    affine = np.diag([spacing] * 3 + [1.0])[[2, 1, 0, 3]]
    return measured(volume(mask, affine), sides=sides, lungs=lungs)[0]


def half_spaces(left, right, shape=(12, 12, 60)):
    """Left lung from column `left` on, right lung up to column `right`."""
    x = np.indices(shape)[2]
    return np.where(x >= left, 1, np.where(x <= right, 2, 0)).astype(np.uint8)


def test_a_lesion_belongs_to_the_lung_that_holds_most_of_it():
    lesion = lesion_between(half_spaces(25, 5))
    assert (lesion.side, flags(lesion), lesion.reasons) == ("left", (), {})
    assert lesion.lung_share_percent == pytest.approx(100 * 8 * 8 / 1000 / 10)
    assert lesion_between(half_spaces(58, 40)).lung_share_percent == pytest.approx(100 * 8 * 8 / 1000 / 20)


def test_a_lesion_that_touches_a_lung_belongs_to_it_though_it_lies_beside_it():
    # The lesion ends with column 30.
    assert (lesion_between(half_spaces(31, 5)).side, flags(lesion_between(half_spaces(31, 5)))) == ("left", ())


def test_a_lesion_away_from_the_lungs_belongs_to_none_and_says_so():
    lesion = lesion_between(half_spaces(33, 5))
    assert (lesion.side, lesion.lung_share_percent, flags(lesion)) == (None, None, ("outside_lungs",))
    assert "outside the lungs" in lesion.reasons["side"]
    assert "outside the lungs" in lesion.reasons["lung_share_percent"]


def test_a_lesion_half_in_one_lung_and_half_in_the_other_belongs_to_none():
    lesion = lesion_between(half_spaces(30, 29))
    assert (lesion.side, flags(lesion)) == (None, ())
    assert "both lungs alike" in lesion.reasons["side"]


def test_without_lungs_the_side_is_none_for_the_reason_of_the_lungs():
    (lesion,) = measured(volume(np.pad(np.ones((2, 2, 2), bool), 2)))
    assert (lesion.side, flags(lesion), lesion.reasons["side"]) == (None, (), "no chest")


def test_lungs_that_were_not_told_apart_give_no_side_but_still_an_outside():
    reasons = dict.fromkeys(("left_ml", "right_ml"), "not told apart")
    lesion = lesion_between(half_spaces(50, 5), Lungs(None, None, 30.0, reasons))
    assert (lesion.side, lesion.reasons["side"], flags(lesion)) == (None, "not told apart", ("outside_lungs",))


def test_a_lesion_larger_than_its_lung_has_no_share_of_it():
    lesion = lesion_between(half_spaces(25, 5), Lungs(0.05, 0.05, 0.1))
    assert lesion.lung_share_percent is None
    assert "collapsed" in lesion.reasons["lung_share_percent"]


def test_one_lung_alone_still_gives_the_side_of_what_lies_in_it():
    lungs = Lungs(10.0, None, 10.0, {"right_ml": "no right lung was found"})
    assert lesion_between(half_spaces(25, -1), lungs).side == "left"


def test_padding_counts_as_air_in_the_mean():
    mask, scan = np.zeros((4, 4, 4), bool), np.full((4, 4, 4), 40, np.int16)
    mask[1, 1, 1:3] = True
    scan[1, 1, 1] = -3024
    assert measured(volume(mask), volume(scan))[0].mean_hu == pytest.approx((40 - 1024) / 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.float32])
def test_a_scan_of_any_type_has_a_mean(dtype):
    mask = np.pad(np.ones((2, 2, 2), bool), 1)
    assert measured(volume(mask), volume(np.full((4, 4, 4), 77, dtype)))[0].mean_hu == 77.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_inside_a_lesion_leaves_its_mean_out(value):
    mask, scan = np.zeros((5, 5, 9), bool), np.full((5, 5, 9), 40, np.float32)
    mask[1:3, 1:3, 1:3] = mask[1, 1, 7] = True
    scan[1, 1, 1] = value
    broken, sound = measured(volume(mask), volume(scan))
    assert broken.mean_hu is None
    assert "not numbers" in broken.reasons["mean_hu"]
    assert sound.mean_hu == 40.0
    assert not any(isinstance(v, float) and np.isnan(v) for v in asdict(broken).values())
