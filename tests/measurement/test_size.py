"""The axes of a lesion against formulas, a search over the whole contour, and shapes that have no middle."""

from __future__ import annotations

import contourpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tumorspread.measurement.size import measure_axes

SPACINGS = ((1.0, 1.0), (0.7, 0.7), (0.5, 1.3), (2.0, 0.6))


def ellipse(radii_mm, angle, spacing, shift=(0.0, 0.0)):
    """A filled ellipse turned by `angle`, its first axis along the rows at 0."""
    half = [int(np.ceil(max(radii_mm) / s)) + 3 for s in spacing]
    row, column = np.mgrid[-half[0] : half[0] + 1, -half[1] : half[1] + 1].astype(float)
    y, x = (row - shift[0]) * spacing[0], (column - shift[1]) * spacing[1]
    c, s = np.cos(angle), np.sin(angle)
    return ((y * c + x * s) / radii_mm[0]) ** 2 + ((x * c - y * s) / radii_mm[1]) ** 2 <= 1


def contour_mm(plane, spacing):
    """Corners of the half-level contours of a mask, by another library, in mm; one array a piece."""
    lines = contourpy.contour_generator(z=np.pad(plane, 1).astype(float)).lines(0.5)
    return [(line[:, ::-1] - 1) * spacing for line in lines]


def widest(points):
    """The largest distance between any two points, without a convex hull."""
    return max(float(np.linalg.norm(points - point, axis=1).max()) for point in points)


def widest_across(lines, direction):
    """The longest chord at right angles to `direction`: all segments between contour points, cut at many places."""
    along = direction / np.linalg.norm(direction)
    across = np.array([-along[1], along[0]])
    points = np.concatenate(lines)
    first, second = (points[i] for i in np.indices((len(points), len(points))).reshape(2, -1))
    # In steps, since a vertex may be missed by rounding, and at the vertices, where the longest chord may be.
    places = np.concatenate([points @ along, np.linspace(*np.quantile(points @ along, (0, 1)), 50)])
    best = 0.0
    for place in places:
        before, after = first @ along - place, second @ along - place
        cut = (before <= 0) & (after >= 0) & (after > before)
        share = (-before[cut] / (after[cut] - before[cut]))[:, None]
        reach = (first[cut] * (1 - share) + second[cut] * share) @ across
        best = max(best, float(np.ptp(reach))) if reach.size else best
    return best


def check_ends(axes, spacing):
    """Both axes have their length, and stand at right angles."""
    long, short = (np.diff(ends, axis=0)[0] * spacing for ends in (axes.long_ends, axes.short_ends))
    assert np.linalg.norm(long) == pytest.approx(axes.long_mm)
    assert np.linalg.norm(short) == pytest.approx(axes.short_mm)
    assert abs(long @ short) <= 1e-7 * axes.long_mm * max(axes.short_mm, 1)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("degrees", [0, 17, 45, 70, 90, 133])
@pytest.mark.parametrize("ratio", [1.0, 0.7, 0.45])
def test_the_axes_of_an_ellipse_are_its_diameters_within_a_pixel(spacing, degrees, ratio):
    short_mm = 10 * max(spacing)  # ten pixels across at least
    for shift in ((0.0, 0.0), (0.3, 0.45)):
        plane = ellipse((short_mm / ratio / 2, short_mm / 2), np.radians(degrees), spacing, shift)
        axes = measure_axes(plane[None], spacing)
        assert axes.long_mm == pytest.approx(short_mm / ratio, abs=max(spacing) + 1e-6)
        assert axes.short_mm == pytest.approx(short_mm, abs=max(spacing) + 1e-6)
        check_ends(axes, spacing)


def test_the_axes_of_an_ellipsoid_lie_in_its_equator():
    z, y, x = np.mgrid[-12:13, -30:31, -30:31]
    mask = (z / 9.3) ** 2 + (y / 14) ** 2 + (x / 23) ** 2 <= 1
    axes = measure_axes(mask, (0.8, 0.8))
    assert axes.slice_index == 12
    assert axes.long_mm == pytest.approx(2 * 23 * 0.8, abs=0.8 + 1e-6)
    assert axes.short_mm == pytest.approx(2 * 14 * 0.8, abs=0.8 + 1e-6)


def test_ellipses_come_out_half_a_pixel_too_long_and_no_more():
    """The longest of many diameters of a digital outline is on the long side; between centres it would be short."""
    rng = np.random.default_rng(8)
    errors = []
    for _ in range(80):
        radii = rng.uniform(4, 12, 2)
        plane = ellipse(radii, rng.uniform(0, np.pi), (1.0, 1.0), rng.uniform(-0.5, 0.5, 2))
        errors.append(measure_axes(plane[None], (1.0, 1.0)).long_mm - 2 * radii.max())
    assert 0.3 < np.mean(errors) < 0.55
    assert -0.5 < min(errors) < max(errors) < 1.0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    smooth=st.sampled_from([0.0, 0.7, 1.5]),
    spacing=st.sampled_from(SPACINGS),
)
def test_any_blob_has_the_axes_that_a_search_over_its_whole_contour_finds(seed, size, smooth, spacing):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(size), smooth)
    plane = noise >= np.quantile(noise, 0.6)
    axes = measure_axes(plane[None], spacing)
    lines = contour_mm(plane, spacing)
    assert axes.long_mm == pytest.approx(widest(np.concatenate(lines)), abs=1e-9)
    check_ends(axes, spacing)
    direction = np.diff(axes.long_ends, axis=0)[0] * spacing
    assert axes.short_mm == pytest.approx(widest_across(lines, direction), abs=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_one_pixel_is_as_long_as_its_longer_edge_and_as_wide_as_the_other(spacing):
    axes = measure_axes(np.ones((1, 1, 1), bool), spacing)
    assert (axes.long_mm, axes.slice_index) == (pytest.approx(max(spacing)), 0)
    assert axes.short_mm == pytest.approx(min(spacing))
    assert np.allclose(axes.long_ends.mean(axis=0), 0)


@pytest.mark.parametrize("count", [2, 7])
def test_a_row_of_pixels_is_as_long_as_the_row_and_one_pixel_wide(count):
    mask = np.zeros((3, 4, 9), bool)
    mask[1, 2, :count] = True
    axes = measure_axes(mask, (0.5, 0.8))
    assert (axes.slice_index, axes.long_mm) == (1, pytest.approx(count * 0.8))
    assert axes.short_mm == pytest.approx(0.5)
    ends = np.array([[2, -0.5], [2, count - 0.5]])
    assert np.allclose(axes.long_ends[axes.long_ends[:, 1].argsort()], ends)


def test_a_column_is_the_row_turned():
    mask = np.zeros((1, 9, 4), bool)
    mask[0, 2:, 3] = True
    axes = measure_axes(mask, (0.5, 0.8))
    assert axes.long_mm == pytest.approx(7 * 0.5)
    assert axes.short_mm == pytest.approx(0.8)


def test_a_rectangle_has_the_diagonal_of_its_contour():
    axes = measure_axes(np.ones((1, 5, 11), bool), (1.0, 1.0))
    # The contour cuts the corners: from (0, -0.5) to (4, 10.5), and from (-0.5, 0) to (4.5, 10) is shorter.
    assert axes.long_mm == pytest.approx(np.hypot(4, 11))
    check_ends(axes, (1.0, 1.0))


def test_an_l_is_measured_from_tip_to_tip_across_its_hollow():
    mask = np.zeros((1, 12, 12), bool)
    mask[0, :, 0] = mask[0, -1, :] = True
    axes = measure_axes(mask, (1.0, 1.0))
    assert axes.long_mm == pytest.approx(widest(np.concatenate(contour_mm(mask[0], (1.0, 1.0)))))
    assert axes.long_mm > np.hypot(11, 11)
    # From the corner of the L to its hypotenuse.
    assert axes.short_mm == pytest.approx(11.5 / np.sqrt(2) + np.sqrt(0.5) / 2, abs=0.6)


def test_pieces_of_one_slice_are_one_lesion_when_they_join_in_another():
    mask = np.zeros((2, 3, 9), bool)
    mask[0, 1, [0, 8]] = True
    mask[1, 1, :] = True
    assert measure_axes(mask, (1.0, 1.0)).long_mm == pytest.approx(9.0)
    assert measure_axes(mask, (1.0, 1.0)).slice_index == 0


def test_a_mask_that_touches_every_border_is_closed_there():
    mask = np.ones((3, 6, 6), bool)
    axes = measure_axes(mask, (1.0, 1.0))
    assert axes.long_mm == pytest.approx(np.hypot(5, 6))
    assert axes.long_ends.min() >= -0.5
    assert axes.long_ends.max() <= 5.5


def test_of_equal_slices_the_first_is_taken():
    mask = np.zeros((5, 8, 8), bool)
    mask[1, 2:4, 2:7] = mask[3, 5:7, 1:6] = True
    assert measure_axes(mask, (0.9, 0.9)).slice_index == 1


def test_a_longer_diameter_in_a_smaller_slice_wins():
    mask = np.zeros((2, 20, 20), bool)
    mask[0, 4:14, 4:14] = True
    mask[1, 10, :] = True
    axes = measure_axes(mask, (1.0, 1.0))
    assert (axes.slice_index, axes.long_mm, axes.short_mm) == (1, pytest.approx(20), pytest.approx(1))


@pytest.mark.parametrize("turn", [lambda m: m[:, ::-1], lambda m: m[:, :, ::-1], lambda m: m.swapaxes(1, 2)])
def test_a_mirrored_or_turned_lesion_has_the_same_lengths(turn):
    plane = ellipse((9.0, 5.0), 0.4, (1.0, 1.0), (0.2, 0.3))
    before, after = (measure_axes(m, (1.0, 1.0)) for m in (plane[None], turn(plane[None])))
    assert after.long_mm == pytest.approx(before.long_mm)
    assert after.short_mm == pytest.approx(before.short_mm)


def test_an_empty_mask_has_no_axes():
    with pytest.raises(ValueError, match="empty"):
        measure_axes(np.zeros((2, 3, 3), bool), (1.0, 1.0))
