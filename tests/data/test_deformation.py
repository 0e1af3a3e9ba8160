"""A deformed chest: smooth, without folds, labels and values together, and another one each time."""

import numpy as np
import pytest

from tumorspread.data import deformation
from tumorspread.data.deformation import SHIFT_MM, STRETCH, deform
from tumorspread.scan.volume import Volume

SPACING_MM = (3.0, 2.0, 2.0)
SHAPE = (60, 90, 100)


def ramps() -> tuple[Volume, Volume, Volume]:
    """Scans whose values are the place of each voxel in mm along z, y, x: what they become says where it came from."""
    places = np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)), indexing="ij")
    z, y, x = (Volume.upright(place.astype(np.float32), SPACING_MM) for place in places)
    return z, y, x


def origins(seed: int) -> np.ndarray:
    """(3, *SHAPE) mm: where each voxel of the deformed chest came from."""
    none = np.zeros(SHAPE, np.uint8)
    return np.stack([deform(r, r.with_voxels(none), np.random.default_rng(seed))[0].voxels for r in ramps()])


@pytest.mark.parametrize("seed", range(4))
def test_every_voxel_comes_from_nearby_and_nothing_folds(seed):
    found, were = origins(seed), np.stack([r.voxels for r in ramps()])
    shift = found - were
    assert np.abs(shift).max() <= SHIFT_MM + 1e-3
    assert np.abs(shift).max() > 0.3 * SHIFT_MM
    steps = np.stack([np.gradient(found, s, axis=a + 1) for a, s in enumerate(SPACING_MM)], axis=1)
    inner = steps[:, :, 6:-6, 6:-6, 6:-6]  # the border repeats what lies beyond it
    assert np.linalg.det(np.moveaxis(inner, (0, 1), (-2, -1))).min() > 0.2


def test_the_bend_is_that_of_a_cubic_b_spline_between_its_knots(monkeypatch):
    """Oracle: scipy's own spline of the same knots."""
    from scipy.interpolate import BSpline

    step = 2.0
    weights = deformation._spline_weights(120, step)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    coefficients = np.random.default_rng(1).normal(size=weights.shape[1])
    knots = (np.arange(-3, len(coefficients) + 3)) * deformation.KNOT_MM
    spline = BSpline(knots[: len(coefficients) + 4], coefficients, 3)
    np.testing.assert_allclose(weights @ coefficients, spline(np.arange(120) * step), atol=1e-9)


def test_labels_go_where_their_voxels_go():
    grid = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)), indexing="ij"))
    ball = np.linalg.norm(grid - np.array([90.0, 90.0, 100.0])[:, None, None, None], axis=0) < 35
    scan = Volume.upright(np.where(ball, 40, -850).astype(np.int16), SPACING_MM)
    bent, labels = deform(scan, scan.with_voxels(5 * ball.astype(np.uint8)), np.random.default_rng(3))
    seen, said = bent.voxels > -405, labels.voxels == 5
    assert set(np.unique(labels.voxels)) == {0, 5}
    assert 2 * np.count_nonzero(seen & said) / (np.count_nonzero(seen) + np.count_nonzero(said)) > 0.98
    assert bent.voxels.dtype == np.int16
    assert np.count_nonzero(seen ^ ball) > 0.02 * np.count_nonzero(ball)
    np.testing.assert_array_equal(bent.affine, labels.affine)


def test_axes_are_stretched_each_by_itself_and_the_same_seed_gives_the_same_chest():
    scan = Volume.upright(np.random.default_rng(0).normal(size=(12, 14, 16)).astype(np.float32), SPACING_MM)
    labels = scan.with_voxels(np.zeros(scan.shape, np.uint8))
    chests = [deform(scan, labels, np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    factors = np.array([np.array(c.spacing_mm) / SPACING_MM for c in chests])
    assert ((factors >= STRETCH[0]) & (factors <= STRETCH[1])).all()
    assert len(np.unique(factors[0].round(6))) == 3
    np.testing.assert_array_equal(chests[0].voxels, chests[1].voxels)
    assert not np.array_equal(chests[0].voxels, chests[2].voxels)
