"""Lungs of a drawn thorax of known volume in every orientation and many a mishap."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import pi

import numpy as np
import pytest

from tumorspread.measurement.lungs import LEFT, RIGHT, segment_lungs
from tumorspread.scan.volume import Reorientation, Volume

SPACING = (4.0, 2.0, 2.0)
EXTENT_MM = (240.0, 260.0, 380.0)
# Centre and radii in mm (z, y, x) from the middle of the scan; x grows to the patient's left.
LEFT_LUNG = (-15.0, 0.0, 68.0), (85.0, 70.0, 48.0)
RIGHT_LUNG = (-15.0, 0.0, -70.0), (90.0, 72.0, 52.0)
LEFT_ML, RIGHT_ML = (4 / 3 * pi * np.prod(radii) / 1000 for _, radii in (LEFT_LUNG, RIGHT_LUNG))


def grid(spacing=SPACING):
    """Millimetres from the middle of the scan along (z, y, x), and the affine."""
    shape = [round(mm / step) for mm, step in zip(EXTENT_MM, spacing, strict=True)]
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)[[2, 1, 0]]
    affine[:3, 3] = [a[0] for a in axes[::-1]]
    return np.meshgrid(*axes, indexing="ij", sparse=True), affine


def ball(points, centre, radii):
    return sum(((p - c) / r) ** 2 for p, c, r in zip(points, centre, radii, strict=True)) <= 1


def thorax(spacing=SPACING, lungs=(LEFT_LUNG, RIGHT_LUNG), extra=(), noise=20.0):
    """A body with lungs, airways, spine, arms and a hollow couch, whose neck ends inside the scan.

    The trachea opens into the room air over the neck and joins the lungs by the bronchi, so that all air
    is one piece in 3-D. `extra` holds (mask of the points, HU) drawn last.
    """
    points, affine = grid(spacing)
    z, y, x = points
    hu = np.full(np.broadcast_shapes(z.shape, y.shape, x.shape), -1000.0, np.float32)
    hu[(x / 145) ** 2 + (y / 98) ** 2 + 0 * z <= 1] = 40
    for side in (-1, 1):
        hu[((x - side * 168) / 18) ** 2 + ((y - 10) / 22) ** 2 + 0 * z <= 1] = 30
    hu[(y > 102) & (y < 126) & (abs(x) < 160) & (z < 500)] = -150
    hu[(y > 106) & (y < 122) & (abs(x) < 156) & (z < 500)] = -985
    hu[(z > 112) & (y < 102) & (0 * x == 0)] = -1000
    hu[(x / 20) ** 2 + ((y - 80) / 14) ** 2 + 0 * z <= 1] = 350
    for lung in lungs:
        hu[ball(points, *lung)] = -850
    hu[(x / 9) ** 2 + ((y - 15) / 9) ** 2 <= np.where(z > 5, 1, 0)] = -995
    for side in (-1, 1):
        bronchus = ((z - 8 + abs(x) * 0.4) / 7) ** 2 + ((y - 15) / 7) ** 2 <= 1
        hu[bronchus & (x * side > 0) & (abs(x) < 32)] = -995
    for mask, value in extra:
        hu[mask(points)] = value
    hu += np.random.default_rng(0).normal(0, noise, hu.shape).astype(np.float32)
    return Volume(np.round(hu).astype(np.int16), affine)


def truth(spacing=SPACING):
    points, _ = grid(spacing)
    return ball(points, *LEFT_LUNG) * LEFT + ball(points, *RIGHT_LUNG) * RIGHT


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def codes(mask):
    return {remark.code for remark in mask.remarks}


def assert_both_lungs(mask, expected, least=0.965):
    for side in (LEFT, RIGHT):
        assert dice(mask.labels == side, expected == side) > least


@pytest.fixture(scope="module")
def scan():
    return thorax()


def test_both_lungs_have_their_place_and_volume(scan):
    mask = segment_lungs(scan)
    assert_both_lungs(mask, truth())
    assert mask.volumes.left_ml == pytest.approx(LEFT_ML, rel=0.03)
    assert mask.volumes.right_ml == pytest.approx(RIGHT_ML, rel=0.03)
    assert mask.volumes.total_ml == pytest.approx(mask.volumes.left_ml + mask.volumes.right_ml)
    assert mask.volumes.left_ml == pytest.approx(np.count_nonzero(mask.labels == LEFT) * scan.voxel_ml)
    assert (mask.labels.shape, mask.labels.dtype) == (scan.shape, np.uint8)
    assert (mask.remarks, mask.volumes.reasons) == ((), {})


def test_the_trachea_the_couch_and_the_room_belong_to_no_lung(scan):
    labels = segment_lungs(scan).labels
    z, y, x = grid()[0]
    assert not labels[(x / 9) ** 2 + ((y - 15) / 9) ** 2 + 0 * z <= np.where(z > 25, 1, 0)].any()
    assert not labels[(abs(y) > 100) & (abs(x) < 500) & (abs(z) < 500)].any()
    assert not labels[:, :, [0, -1]].any()


def test_the_scan_is_left_as_it_was(scan):
    before = scan.voxels.copy()
    segment_lungs(scan)
    assert np.array_equal(scan.voxels, before)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_the_order_of_the_axes_moves_no_lung(scan, axes):
    turn = Reorientation(axes, (axes[0] != 0, axes[1] == 2, axes[2] == 1))
    mask = segment_lungs(turn.apply(scan))
    assert_both_lungs(replace(mask, labels=turn.invert_array(mask.labels)), truth())
    assert mask.remarks == ()


def test_left_is_left_when_the_columns_run_to_the_right(scan):
    mirrored = Reorientation((0, 1, 2), (False, False, True)).apply(scan)
    labels = segment_lungs(mirrored).labels
    assert mirrored.to_world(np.argwhere(labels == LEFT).mean(0))[0] > 40
    assert mirrored.to_world(np.argwhere(labels == RIGHT).mean(0))[0] < -40


def test_an_oblique_scan_has_the_lungs_of_the_straight_one(scan):
    angle = np.radians(12)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = Volume(scan.voxels, turned @ scan.affine)
    assert np.array_equal(segment_lungs(oblique).labels, segment_lungs(scan).labels)


@pytest.mark.parametrize("spacing", [(8.0, 1.5, 1.5), (1.25, 3.0, 3.0), (4.0, 4.2, 4.2), (5.0, 1.1, 2.9)])
def test_any_spacing_gives_the_volumes_of_the_formula(spacing):
    mask = segment_lungs(thorax(spacing))
    assert mask.volumes.left_ml == pytest.approx(LEFT_ML, rel=0.05)
    assert mask.volumes.right_ml == pytest.approx(RIGHT_ML, rel=0.05)
    assert_both_lungs(mask, truth(spacing), least=0.95)


def test_padding_below_air_and_nan_count_as_outside(scan):
    padded = scan.voxels.astype(np.float32)
    z, y, x = grid()[0]
    circle = x**2 + y**2 + 0 * z > 185**2
    padded[circle & (x > 0)] = -3024
    padded[circle & (x < 0)] = np.nan
    assert_both_lungs(segment_lungs(scan.with_voxels(padded)), truth())


def test_a_prone_patient_has_the_same_lungs():
    no_couch = (lambda p: (p[1] > 100) & (abs(p[2]) < 500) & (abs(p[0]) < 500), -1000)
    shell = (lambda p: (p[1] < -102) & (p[1] > -126) & (abs(p[2]) < 160) & (abs(p[0]) < 500), -150)
    foam = (lambda p: (p[1] < -106) & (p[1] > -122) & (abs(p[2]) < 156) & (abs(p[0]) < 500), -985)
    mask = segment_lungs(thorax(extra=[no_couch, shell, foam]))
    assert_both_lungs(mask, truth())
    assert mask.remarks == ()


@pytest.mark.parametrize("noise", [80.0, 200.0])
def test_the_noise_of_a_sharp_kernel_moves_no_lung(noise):
    mask = segment_lungs(thorax(noise=noise))
    assert_both_lungs(mask, truth(), least=0.95)
    assert mask.remarks == ()


def test_a_sheet_over_the_chest_belongs_to_no_lung():
    sheet = (lambda p: (abs((p[2] / 150) ** 2 + (p[1] / 125) ** 2 - 1) < 0.03) & (p[1] < 0) & (abs(p[0]) < 500), -200)
    mask = segment_lungs(thorax(extra=[sheet]))
    assert_both_lungs(mask, truth())
    assert mask.remarks == ()


@pytest.mark.parametrize(("first", "last", "where"), [(0, 40, "(head)"), (20, 60, "(feet)")])
def test_lungs_cut_at_one_end_say_at_which(scan, first, last, where):
    mask = segment_lungs(scan.crop((first, 0, 0), (last, *scan.shape[1:])))
    assert codes(mask) == {"lungs_cut_by_scan"}
    assert where in mask.remarks[0].text
    assert_both_lungs(mask, truth()[first:last])


def test_a_mass_of_6_cm_at_the_chest_wall_behind_belongs_to_its_lung():
    mass = ((-15.0, 45.0, 72.0), (32.0, 32.0, 32.0))
    labels = segment_lungs(thorax(extra=[(lambda p: ball(p, *mass), 40)])).labels
    inside = ball(grid()[0], *mass) & (truth() == LEFT)
    assert (labels[inside] == LEFT).mean() > 0.88
    assert dice(labels == LEFT, truth() == LEFT) > 0.97


def test_the_heart_and_the_dome_of_the_diaphragm_belong_to_no_lung():
    parts = [((-20.0, -35.0, 38.0), (35.0, 40.0, 42.0)), ((-110.0, 0.0, -70.0), (70.0, 50.0, 40.0))]
    labels = segment_lungs(thorax(extra=[(lambda p, b=b: ball(p, *b), 40) for b in parts])).labels
    assert all((labels[ball(grid()[0], *part)] > 0).mean() < 0.08 for part in parts)


def test_lungs_that_touch_in_front_are_told_apart():
    bridge = (lambda p: (abs(p[0]) < 60) & (abs(p[1] + 25) < 5) & (abs(p[2]) < 40), -850)
    mask = segment_lungs(thorax(extra=[bridge]))
    assert_both_lungs(mask, truth(), least=0.94)
    assert codes(mask) == {"lungs_touch"}


def test_air_on_both_sides_of_the_spine_that_no_erosion_parts_has_a_total_only():
    mask = segment_lungs(thorax(lungs=[((-15.0, 0.0, 0.0), (85.0, 55.0, 80.0))]))
    assert codes(mask) == {"lungs_not_separated"}
    assert (mask.volumes.left_ml, mask.volumes.right_ml) == (None, None)
    assert set(mask.volumes.reasons) == {"left_ml", "right_ml"}
    assert mask.volumes.total_ml == pytest.approx(4 / 3 * pi * 85 * 55 * 80 / 1000, rel=0.05)


def test_tumours_inside_and_at_the_wall_belong_to_the_lung():
    inside = ((0.0, -10.0, -75.0), (18.0, 18.0, 18.0))
    at_wall = ((-15.0, 0.0, 110.0), (9.0, 9.0, 9.0))
    tumours = [(lambda p, t=t: ball(p, *t), 40) for t in (inside, at_wall)]
    labels = segment_lungs(thorax(extra=tumours)).labels
    points, _ = grid()
    assert (labels[ball(points, *inside)] == RIGHT).all()
    assert (labels[ball(points, *at_wall) & (truth() == LEFT)] == LEFT).mean() > 0.75


def test_a_collapsed_lung_is_missing_with_its_reason():
    mask = segment_lungs(thorax(lungs=[RIGHT_LUNG]))
    assert codes(mask) == {"one_lung_found"}
    assert mask.volumes.left_ml is None
    assert mask.volumes.reasons == {"left_ml": "no left lung was found in this scan"}
    assert mask.volumes.right_ml == mask.volumes.total_ml == pytest.approx(RIGHT_ML, rel=0.03)


def test_lungs_cut_above_and_below_carry_the_remark(scan):
    slab = scan.crop((10, 0, 0), (26, *scan.shape[1:]))
    mask = segment_lungs(slab)
    assert codes(mask) == {"lungs_cut_by_scan"}
    assert "(feet, head)" in mask.remarks[0].text
    assert_both_lungs(mask, truth()[10:26])


def test_a_crop_through_a_lung_keeps_what_is_inside(scan):
    # From the spine to the middle of the right lung, with no outside air at the side that is cut.
    first, last = 60, 105
    mask = segment_lungs(scan.crop((0, 0, first), (*scan.shape[:2], last)))
    assert {"one_lung_found", "lungs_cut_by_scan"} <= codes(mask)
    assert dice(mask.labels == RIGHT, truth()[:, :, first:last] == RIGHT) > 0.95
    assert not (mask.labels == LEFT).any()


def test_a_single_slice_has_its_lungs(scan):
    mask = segment_lungs(scan.crop((26, 0, 0), (27, *scan.shape[1:])))
    assert_both_lungs(mask, truth()[26:27], least=0.95)
    assert codes(mask) == {"lungs_cut_by_scan", "lung_volume_implausible"}


def test_lungs_of_a_rabbit_are_called_implausible():
    small = [((0.0, 0.0, x), (34.0, 30.0, 30.0)) for x in (-60.0, 60.0)]
    mask = segment_lungs(thorax(lungs=small))
    assert codes(mask) == {"lung_volume_implausible"}
    assert mask.volumes.left_ml == pytest.approx(4 / 3 * pi * 34 * 30 * 30 / 1000, rel=0.08)


@pytest.mark.parametrize(
    "draw",
    [
        lambda scan: thorax(lungs=[]).voxels,
        lambda scan: thorax(lungs=[], extra=[(lambda p: ball(p, (-60, -40, 50), (35, 30, 40)), -995)]).voxels,
        lambda scan: np.full(scan.shape, -1000, np.int16),
        lambda scan: np.full(scan.shape, 40, np.int16),
    ],
    ids=["a body without lungs", "a stomach full of gas", "room air", "tissue throughout"],
)
def test_without_lungs_there_is_no_mask_but_a_reason(scan, draw):
    mask = segment_lungs(scan.with_voxels(draw(scan)))
    assert codes(mask) == {"lungs_not_found"}
    assert not mask.labels.any()
    assert mask.labels.shape == scan.shape
    assert (mask.volumes.left_ml, mask.volumes.right_ml, mask.volumes.total_ml) == (None, None, None)
    assert set(mask.volumes.reasons) == {"left_ml", "right_ml", "total_ml"}


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: (hu + 1024).astype(np.uint16),
        lambda hu: np.clip((hu + 1000) / 8, 0, 255).astype(np.uint8),
        lambda hu: np.clip((hu + 1000) / 1400, 0, 1).astype(np.float32),
        lambda hu: hu < -500,
    ],
    ids=["stored values without their intercept", "grey values", "a share of a window", "a mask"],
)
def test_values_that_are_not_hu_are_refused(scan, change):
    mask = segment_lungs(scan.with_voxels(change(scan.voxels.astype(np.float32) + 40)))
    assert codes(mask) == {"lungs_not_found"}
    assert "not the HU of a chest" in mask.remarks[0].text
    assert not mask.labels.any()


def test_a_scan_of_one_voxel_has_no_lungs():
    mask = segment_lungs(Volume(np.full((1, 1, 1), -850, np.int16), np.eye(4)))
    assert codes(mask) == {"lungs_not_found"}
    assert mask.labels.shape == (1, 1, 1)
