"""Shape against the IBSI phantom, formulas, and pyradiomics."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import marching_cubes

from tumorspread.measurement.radiomics import first_order_features, shape_features
from tumorspread.measurement.shape import measure_shape
from tumorspread.measurement.size import measure_axes

# Made by tools/pyradiomics_shapes.py.
PYRADIOMICS = Path(__file__).with_name("pyradiomics_shapes.csv")

# The digital phantom of the IBSI reference manual (Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145, chapter 5):
# 4 slices of 4 by 5 voxels, 0 is outside the region of interest; and the reference values, as printed.
IBSI_SPACING_MM = (2.0, 2.0, 2.0)
IBSI_VALUES = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
IBSI_MASK = IBSI_VALUES > 0
# To the digits that the manual prints. Volume and area make a sphericity of (36 pi 556^2)^(1/3) / 388 = 0.843.
IBSI_SHAPE = {
    "volume_mesh": 556, "volume_voxel_counting": 592, "surface_area": 388, "surface_to_volume_ratio": 0.698,
    "compactness_1": 0.0411, "compactness_2": 0.599, "spherical_disproportion": 1.19, "sphericity": 0.843,
    "asphericity": 0.186, "maximum_3d_diameter": 13.1, "major_axis_length": 11.4, "minor_axis_length": 9.31,
    "least_axis_length": 8.54, "elongation": 0.816, "flatness": 0.749,
}  # fmt: skip
IBSI_FIRST_ORDER = {
    "mean": 2.15, "variance": 3.05, "skewness": 1.08, "excess_kurtosis": -0.355, "median": 1, "minimum": 1,
    "percentile_10": 1, "percentile_90": 4, "maximum": 6, "interquartile_range": 3, "range": 5,
    "mean_absolute_deviation": 1.55, "robust_mean_absolute_deviation": 1.11, "median_absolute_deviation": 1.15,
    "coefficient_of_variation": 0.812, "quartile_coefficient_of_dispersion": 0.6, "energy": 567,
    "root_mean_square": 2.77,
}  # fmt: skip


def printed(value: float, like: float) -> float:
    """The value rounded to the digits of a printed one, which are three or all before the point."""
    digits = 3 if abs(like) < 100 else len(str(int(abs(like))))
    return float(f"{value:.{digits}g}")


@pytest.mark.parametrize("name", IBSI_SHAPE)
def test_shape_features_are_those_that_ibsi_prints(name):
    shape = measure_shape(IBSI_MASK, IBSI_SPACING_MM)
    value = shape_features(shape, IBSI_MASK.sum() * 8.0)[name]
    assert printed(value, IBSI_SHAPE[name]) == IBSI_SHAPE[name]


@pytest.mark.parametrize("name", IBSI_FIRST_ORDER)
def test_first_order_features_are_those_that_ibsi_prints(name):
    value = first_order_features(IBSI_VALUES[IBSI_MASK].astype(float))[name]
    assert printed(value, IBSI_FIRST_ORDER[name]) == IBSI_FIRST_ORDER[name]


def test_every_feature_has_a_reference_value():
    shape = measure_shape(IBSI_MASK, IBSI_SPACING_MM)
    assert set(shape_features(shape, 592.0)) == set(IBSI_SHAPE)
    assert set(first_order_features(IBSI_VALUES[IBSI_MASK].astype(float))) == set(IBSI_FIRST_ORDER)


def ellipsoid(radii_mm, spacing_mm):
    axes = [np.arange(-int(r / s) - 2, int(r / s) + 3) * s for r, s in zip(radii_mm, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return (z / radii_mm[0]) ** 2 + (y / radii_mm[1]) ** 2 + (x / radii_mm[2]) ** 2 <= 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.8, 0.8), (0.6, 1.0, 0.8)])
def test_an_ellipsoid_has_the_shape_of_its_formulas(spacing):
    radii = (12.0, 18.0, 24.0)
    shape = measure_shape(ellipsoid(radii, spacing), spacing)
    assert shape.mesh_volume_mm3 == pytest.approx(4 / 3 * np.pi * np.prod(radii), rel=0.02)
    assert shape.max_3d_mm == pytest.approx(48, abs=max(spacing))
    # Four standard deviations of a solid ellipsoid are 2 / sqrt(5) of its diameter.
    assert shape.axes_mm == pytest.approx([2 * r * 2 / np.sqrt(5) for r in (24, 18, 12)], rel=0.02)
    assert (shape.elongation, shape.flatness) == (pytest.approx(18 / 24, abs=0.01), pytest.approx(12 / 24, abs=0.01))
    # Knud Thomsen's formula, good to 1 %; the steps of a mesh of voxels make its area larger, never smaller.
    p = 1.6075
    pairs = [(radii[i] * radii[j]) ** p for i, j in ((0, 1), (0, 2), (1, 2))]
    smooth = 4 * np.pi * (sum(pairs) / 3) ** (1 / p)
    assert 1.02 * smooth < shape.surface_mm2 < 1.15 * smooth


@pytest.mark.parametrize("turn", [lambda m: m[::-1], lambda m: m[:, ::-1, ::-1], lambda m: m[:, :, ::-1]])
def test_a_mirrored_lesion_has_the_same_shape(turn):
    mask = np.random.default_rng(3).random((6, 7, 8)) > 0.4
    first, again = measure_shape(mask, (2.0, 1.0, 0.7)), measure_shape(turn(mask), (2.0, 1.0, 0.7))
    assert again.max_3d_mm == pytest.approx(first.max_3d_mm, rel=1e-5)
    assert again.axes_mm == pytest.approx(first.axes_mm)


def test_one_voxel_is_an_octahedron_without_axes():
    shape = measure_shape(np.ones((1, 1, 1), bool), (3.0, 2.0, 1.0))
    assert shape.mesh_volume_mm3 == pytest.approx(6 / 6)
    assert shape.max_3d_mm == pytest.approx(3)
    assert (shape.axes_mm, shape.elongation, shape.flatness) == ((0, 0, 0), None, None)
    assert "elongation" not in shape_features(shape, 6.0)


def test_a_row_of_voxels_is_neither_broad_nor_high():
    shape = measure_shape(np.ones((1, 1, 9), bool), (1.0, 1.0, 1.0))
    assert (shape.elongation, shape.flatness) == (0, 0)
    assert shape.max_3d_mm == pytest.approx(9)


def test_equal_values_have_no_skewness_and_a_mean_of_0_no_ratio():
    assert not {"skewness", "excess_kurtosis"} & set(first_order_features(np.full(5, 3.0)))
    assert not {"coefficient_of_variation"} & set(first_order_features(np.array([-1.0, 1.0])))


def test_an_empty_mask_has_no_shape():
    with pytest.raises(ValueError, match="empty"):
        measure_shape(np.zeros((2, 2, 2), bool), (1.0, 1.0, 1.0))


@pytest.mark.real
def test_the_shapes_of_real_tumours_are_those_of_pyradiomics(shared_data):
    folder = shared_data / "lesion_masks"
    packed = np.load(folder / "msd_task06.npz")
    with PYRADIOMICS.open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(packed.files)
    assert len(rows) == 70
    beyond = 0
    for name, row in rows.items():
        shape_zyx = tuple(int(row[f"shape_{axis}"]) for axis in "zyx")
        spacing = tuple(float(row[f"spacing_{axis}"]) for axis in "zyx")
        mask = np.unpackbits(packed[name], count=int(np.prod(shape_zyx))).reshape(shape_zyx).astype(bool)
        shape = measure_shape(mask, spacing)
        ours = {
            "MeshVolume": shape.mesh_volume_mm3,
            "SurfaceArea": shape.surface_mm2,
            "Sphericity": shape.sphericity,
            "Maximum3DDiameter": shape.max_3d_mm,
            "Elongation": shape.elongation,
            "Flatness": shape.flatness,
        }
        for feature, value in ours.items():
            # Where voxels touch by an edge alone, marching cubes may join or part them; without, all is equal.
            doubtful = 4 * edge_contacts(mask) / mask.sum()
            limit = 1e-5 if not doubtful else max(0.005, doubtful)
            assert value == pytest.approx(float(row[feature]), rel=limit, abs=1e-5), (name, feature)
            beyond += abs(value - float(row[feature])) > 0.005 * float(row[feature])
        check_long_axis(measure_axes(mask, spacing[1:]).long_mm, mask, spacing, float(row["Maximum2DDiameterSlice"]))
    assert beyond <= 8  # of 420 numbers


def edge_contacts(mask):
    """Squares of four voxels of which only two that lie across from each other are inside."""
    count = 0
    for axis in range(3):
        m = np.moveaxis(np.pad(mask, 1), axis, 0)
        a, b, c, d = m[:, :-1, :-1], m[:, 1:, 1:], m[:, :-1, 1:], m[:, 1:, :-1]
        count += int(((a == b) & (c == d) & (a != c)).sum())
    return count


def check_long_axis(long_mm, mask, spacing, theirs_mm):
    """Ours is the longest pair of mesh vertices within a slice; theirs may also lie in a plane between two slices.

    The vertices between two slices come from voxels of both, so that their distance is no diameter in any slice.
    """
    vertices = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5, spacing=spacing)[0]
    planes = vertices[:, 0] / spacing[0]
    in_slice = np.abs(planes - np.round(planes)) < 0.01
    widest = {True: 0.0, False: 0.0}
    for plane in np.unique(np.round(2 * planes)):
        points = vertices[np.round(2 * planes) == plane, 1:].astype(float)
        within = bool(in_slice[np.round(2 * planes) == plane].all())
        widest[within] = max(widest[within], *(np.linalg.norm(points - p, axis=1).max() for p in points))
    assert long_mm == pytest.approx(widest[True], rel=1e-4)
    assert max(widest.values()) == pytest.approx(theirs_mm, rel=1e-4)
