"""Registration: ways that are known by formula, and a real patient at two dates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.followup import alignment
from tumorspread.followup.registration import register, unregistered
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.scan.read import read, read_mask
from tumorspread.scan.volume import Volume

SHIFT_MM = np.array([6.0, -9.0, 14.0])


def lungs_of(scan):
    return scan.with_voxels(segment_lungs(scan).labels)


def overlap(one, other):
    one, other = one.voxels > 0, other.voxels > 0
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.fixture(scope="module")
def chest():
    return make_phantom(5, PhantomConfig(spacing_mm=(3.0, 2.5, 2.5), tumours=(0, 0))).scan


def turned(scan, degrees=0.0):
    """The scan as if the patient had been moved and turned about the long axis: same voxels, another place."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    motion = np.eye(4)
    motion[:2, :2] = [[c, -s], [s, c]]
    motion[:3, 3] = SHIFT_MM
    return Volume(scan.voxels, motion @ scan.affine)


@pytest.mark.parametrize("degrees", [0.0, 7.0])
def test_a_patient_that_was_moved_is_found_to_a_millimetre(chest, degrees):
    later = turned(chest, degrees)
    lungs = lungs_of(chest)
    found = register(later, chest, later.with_voxels(lungs.voxels), lungs)
    inside = np.argwhere(lungs.voxels > 0)[::301]
    errors = np.linalg.norm(found.map_points(later.to_world(inside)) - chest.to_world(inside), axis=1)
    assert np.median(errors) < 0.7
    assert np.percentile(errors, 95) < 2.0
    assert found.dice_after > 0.97
    assert found.remarks == ()


def test_scans_are_registered_alike_each_time(chest, monkeypatch):
    monkeypatch.setattr(alignment, "LEVELS", ((4, 4),))
    later, lungs = turned(chest, 7.0), lungs_of(chest)
    one, other = (register(later, chest, later.with_voxels(lungs.voxels), lungs) for _ in range(2))
    place = later.to_world((30.0, 40.0, 40.0))
    assert one.map_points(place) == pytest.approx(other.map_points(place), abs=1e-6)


@pytest.mark.parametrize("part", [slice(0, 30), slice(38, None)], ids=["bases", "apices"])
@pytest.mark.parametrize("shift_mm", [(0.0, 0.0, 0.0), (15.0, -12.0, 70.0)], ids=["as it lay", "moved"])
def test_a_scan_of_part_of_the_lungs_is_not_stretched_over_all_of_them(chest, part, shift_mm):
    lungs = lungs_of(chest)
    first = part.start or 0
    cut = [v.crop((first, 0, 0), (part.stop or v.shape[0], *v.shape[1:])) for v in (chest, lungs)]
    motion = np.eye(4)
    motion[:3, 3] = shift_mm
    piece, piece_lungs = (Volume(v.voxels, motion @ v.affine) for v in cut)
    found = register(piece, chest, piece_lungs, lungs)
    inside = piece.to_world(np.argwhere(piece_lungs.voxels > 0)[::201])
    errors = np.linalg.norm(found.map_points(inside) - (inside - shift_mm), axis=1)
    assert np.median(errors) < 1.5
    assert np.percentile(errors, 95) < 5.0
    assert found.dice_after > 0.95
    assert found.remarks == ()


def test_flipped_storage_of_a_scan_changes_nothing(chest):
    lungs = lungs_of(chest)
    affine = chest.affine.copy()
    affine[:3, 3] = chest.to_world((chest.shape[0] - 1, 0, 0))
    affine[:, 0] *= -1
    flipped = Volume(np.ascontiguousarray(chest.voxels[::-1]), affine)
    found = register(flipped, chest, flipped.with_voxels(np.ascontiguousarray(lungs.voxels[::-1])), lungs)
    points = chest.to_world(np.argwhere(lungs.voxels > 0)[::301])
    assert np.percentile(np.linalg.norm(found.map_points(points) - points, axis=1), 95) < 1.0


def test_the_way_back_is_the_inverse_of_the_way_there(chest):
    later = turned(chest, 5.0)
    lungs = lungs_of(chest)
    found = register(later, chest, later.with_voxels(lungs.voxels), lungs)
    points = later.to_world(np.argwhere(lungs.voxels > 0)[::301])
    assert np.linalg.norm(found.map_back(found.map_points(points)) - points, axis=1).max() < 0.1


def test_unregistered_leaves_every_point_and_voxel_where_it_is(chest):
    way = unregistered()
    assert np.array_equal(way.map_points([[1.0, 2.0, 3.0]]), [[1.0, 2.0, 3.0]])
    lungs = lungs_of(chest)
    assert np.array_equal(way.bring(lungs, lungs).voxels, lungs.voxels)
    # Interpolation in floating point, cut to integers.
    assert np.abs(way.bring_scan(chest, chest).voxels.astype(int) - chest.voxels).max() <= 1


def test_two_scans_that_are_no_patient_s_are_flagged(chest):
    random = np.random.default_rng(0)
    lungs = lungs_of(chest)
    speck = np.zeros(chest.shape, np.uint8)
    speck[2:6, 4:9, 4:9] = 1
    noise = chest.with_voxels(random.normal(0, 30, chest.shape).astype(np.int16))
    found = register(noise, chest, chest.with_voxels(speck), lungs)
    assert "registration_poor" in [remark.code for remark in found.remarks]


def test_neither_scans_nor_lungs_is_an_error(chest):
    with pytest.raises(ValueError, match="two scans, or the lungs of both"):
        register(chest, None, None, lungs_of(chest))


@pytest.mark.real
def test_a_real_patient_s_lungs_and_vessels_meet_after_registration(shared_data):
    pair = []
    for name in ("baseline", "followup"):
        scan = read(shared_data / "scans" / f"elastix_rightlung_{name}.nii.gz")
        drawn = read_mask(shared_data / "scans" / f"elastix_rightlung_{name}_mask.nii.gz", scan)
        depth = ndimage.distance_transform_edt(drawn.voxels > 0, sampling=scan.spacing_mm)
        vessels = scan.with_voxels(((scan.voxels > -400) & (depth > 3)).astype(np.uint8))
        pair.append((scan, lungs_of(scan), drawn, vessels))
    (a, lungs_a, drawn_a, vessels_a), (b, lungs_b, drawn_b, vessels_b) = pair
    there, back = register(b, a, lungs_b, lungs_a), register(a, b, lungs_a, lungs_b)
    apart = unregistered()
    # The drawn outlines played no part; `make bench-registration` prints 0.70 to 0.99 and 0.10 to 0.75.
    assert overlap(there.bring(drawn_a, b), drawn_b) > 0.97 > 0.75 > overlap(apart.bring(drawn_a, b), drawn_b)
    assert overlap(there.bring(vessels_a, b), vessels_b) > 0.65 > 0.2 > overlap(apart.bring(vessels_a, b), vessels_b)
    points = b.to_world(np.argwhere(drawn_b.voxels > 0)[::197])
    errors = np.linalg.norm(back.map_points(there.map_points(points)) - points, axis=1)
    assert np.median(errors) < 2.5
    assert np.percentile(errors, 95) < 6.0
