"""Slices of a tilted gantry: the world is the same after they were brought upright, or they are refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation

from tumorspread.errors import GeometryError
from tumorspread.scan.dicom import read_dicom
from tumorspread.scan.dicom_gate import Stack
from tumorspread.scan.dicom_tilt import AIR_HU, stand_upright

SPACING = np.array([3.0, 0.8, 0.6])


def make_stack(rotation: np.ndarray, lean_mm: tuple[float, float]) -> Stack:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation * SPACING, (10, -20, 30)
    return Stack((), affine, lean_mm)


def sample(stack: Stack, shape, field) -> np.ndarray:
    """The field of the world at the pixels of the slices that lean."""
    z, y, x = np.indices(shape).reshape(3, -1)
    lean = np.stack([z * 0, z * stack.lean_mm[0], z * stack.lean_mm[1]])
    local = np.stack([z, y, x]) * SPACING[:, None] + lean
    directions = stack.affine[:3, :3] / SPACING
    return field(directions @ local + stack.affine[:3, 3:]).reshape(shape)


def at_voxels(volume, field) -> np.ndarray:
    index = np.indices(volume.shape).reshape(3, -1)
    return field(volume.affine[:3, :3] @ index + volume.affine[:3, 3:]).reshape(volume.shape)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), down=st.floats(-2, 2), across=st.floats(-2, 2))
def test_a_linear_field_of_the_world_is_the_same_at_every_voxel_that_a_slice_covers(seed, down, across):
    """Linear interpolation is exact for it; half a pixel inside the edge, where no air is mixed in."""
    slope = np.array([3.0, -2.0, 1.5])
    shape = (12, 20, 26)

    def field(points):
        return slope @ points

    stack = make_stack(Rotation.random(rng=seed).as_matrix(), (down, across))
    volume = stand_upright(sample(stack, shape, field).astype(np.float32), stack)
    expected = at_voxels(volume, field)
    z, y, x = np.indices(volume.shape)
    first = np.linalg.inv(stack.affine) @ volume.affine[:, 3]
    pixels = [y + first[1] - z * down / SPACING[1], x + first[2] - z * across / SPACING[2]]
    inside = np.all([(p >= 0) & (p <= n - 1) for p, n in zip(pixels, shape[1:], strict=True)], axis=0)
    outside = np.any([(p <= -1) | (p >= n) for p, n in zip(pixels, shape[1:], strict=True)], axis=0)
    assert inside.sum() >= 0.8 * np.prod([shape[0], shape[1] - 1, shape[2] - 1])
    assert np.allclose(volume.voxels[inside], expected[inside], atol=2e-3)
    assert (volume.voxels[outside] == AIR_HU).all()


@pytest.mark.parametrize(("down", "across"), [(2, 0), (-3, 0), (1, -2)])
def test_slices_that_lean_by_whole_pixels_keep_their_values(down, across):
    voxels = np.random.default_rng(3).integers(-1000, 3000, (6, 9, 11)).astype(np.int16)
    stack = make_stack(np.eye(3), (down * SPACING[1], across * SPACING[2]))
    volume = stand_upright(voxels, stack)
    assert volume.voxels.dtype == np.int16
    assert volume.shape == (6, 9 + 5 * abs(down), 11 + 5 * abs(across))
    for z, plane in enumerate(voxels):
        y, x = (step * z - min(step * 5, 0) for step in (down, across))
        assert np.array_equal(volume.voxels[z, y : y + 9, x : x + 11], plane)
    assert (volume.voxels != AIR_HU).sum() == (voxels != AIR_HU).sum()


def test_a_ball_keeps_its_volume_and_its_place():
    centre, radius = np.array([33.0, 0.0, 55.0]), 12.0

    def field(points):
        return 1000 * np.clip(radius - np.linalg.norm(points - centre[:, None], axis=0) + 0.5, 0, 1) - 1000

    stack = make_stack(np.fliplr(np.eye(3)), (3.0 * np.tan(np.radians(18)), 0.0))
    ball = stand_upright(np.rint(sample(stack, (17, 80, 90), field)).astype(np.int16), stack)
    weight = ball.voxels.clip(-1000).astype(float) + 1000
    index = np.indices(ball.shape).reshape(3, -1)
    points = ball.affine[:3, :3] @ index + ball.affine[:3, 3:]
    volume = weight.sum() / 1000 * SPACING.prod()
    assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    assert np.allclose(points @ weight.ravel() / weight.sum(), centre, atol=0.05)


def test_an_upright_stack_is_left_as_it_is():
    voxels, stack = np.zeros((3, 4, 5), np.int16), make_stack(np.eye(3), (0.0, 0.0))
    volume = stand_upright(voxels, stack)
    assert volume.voxels is voxels
    assert volume.remarks == ()


def lean(slices):
    for number, dataset in enumerate(slices):
        dataset.ImagePositionPatient[1] += number * 2.5 * np.tan(np.radians(15))


def test_a_series_that_leans_is_resampled_and_says_so_or_is_refused_by_option(series, truth_hu):
    folder = series(lean)
    volume = read_dicom(folder)
    assert [remark.code for remark in volume.remarks] == ["gantry_tilt_resampled"]
    assert "15.00 degrees" in volume.remarks[0].text
    assert np.allclose(volume.to_world((0, 0, 0)), (-30, -40, -50))
    assert np.array_equal(volume.voxels[0, :36, :34], truth_hu(6)[0])
    assert volume.shape[1] == 36 + int(np.ceil(5 * 2.5 * np.tan(np.radians(15)) / 0.8))
    with pytest.raises(GeometryError, match=r"series: the slices lean by 15.00 degrees.*slice_00.dcm.*--tilt resample"):
        read_dicom(folder, tilt="refuse")


def test_a_tilted_head_ct_of_the_wheel_stands_upright_or_is_refused_by_its_angle(tmp_path):
    """Two slices of a real tilted CT, the second one table step (3 mm) up."""
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("J2K_pixelrep_mismatch.dcm"))
    dataset.save_as(tmp_path / "low.dcm")
    dataset.SOPInstanceUID = generate_uid()
    dataset.ImagePositionPatient[2] += 3
    dataset.save_as(tmp_path / "high.dcm")
    with pytest.raises(GeometryError, match=r"22\.0\d degrees"):
        read_dicom(tmp_path, tilt="refuse")
    volume = read_dicom(tmp_path)
    assert "22.0" in volume.remarks[0].text
    step = volume.affine[:3, 0]
    assert np.linalg.norm(step) == pytest.approx(3 * np.cos(np.radians(22)), rel=1e-3)
