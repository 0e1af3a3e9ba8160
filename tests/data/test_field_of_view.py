"""A smaller field of view: a part of the same chest, voxel for voxel."""

import numpy as np
import pytest

from tumorspread.data.field_of_view import LEAST_MM, narrow_field
from tumorspread.data.hosts import IN_BOX
from tumorspread.measurement.lungs import LEFT, RIGHT
from tumorspread.scan.volume import Volume

SPACING_MM = (3.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def chest():
    """Two boxes of lung, every voxel of the scan with a value of its own."""
    labels = np.zeros((90, 120, 160), np.uint8)
    labels[10:80, 30:100, 90:140] = LEFT
    labels[10:80, 30:100, 20:70] = RIGHT
    labels[40:50, 40:50, 30:40] = RIGHT + IN_BOX
    scan = Volume.upright(np.arange(labels.size, dtype=np.int32).reshape(labels.shape), SPACING_MM)
    return scan, scan.with_voxels(labels)


@pytest.mark.parametrize("seed", range(20))
def test_a_part_of_the_scan_stays_where_it_was_in_the_patient(chest, seed):
    scan, labels = chest
    part, sides = narrow_field(scan, labels, np.random.default_rng(seed))
    z, y, x = np.unravel_index(int(part.voxels[0, 0, 0]), scan.shape)
    dz, dy, dx = part.shape
    np.testing.assert_array_equal(part.voxels, scan.voxels[z : z + dz, y : y + dy, x : x + dx])
    np.testing.assert_array_equal(sides.voxels, labels.voxels[z : z + dz, y : y + dy, x : x + dx])
    np.testing.assert_allclose(part.to_world((0, 0, 0)), scan.to_world((z, y, x)))
    np.testing.assert_array_equal(part.affine, sides.affine)
    for now, whole, spacing in zip(part.shape, scan.shape, SPACING_MM, strict=True):
        assert now * spacing >= min(LEAST_MM, whole * spacing)


def test_one_lung_alone_is_as_likely_as_both(chest):
    scan, labels = chest
    shown = []
    for seed in range(90):
        _, sides = narrow_field(scan, labels, np.random.default_rng(seed))
        sizes = [np.count_nonzero(sides.voxels % IN_BOX == side) for side in (LEFT, RIGHT)]
        shown.append("both" if min(sizes) else ("left" if sizes[0] else "right"))
    assert all(20 <= shown.count(kind) <= 40 for kind in ("both", "left", "right"))


def test_the_border_often_runs_through_the_lung_and_keeps_a_part_of_it(chest):
    scan, labels = chest
    cut_below = 0
    for seed in range(40):
        _, sides = narrow_field(scan, labels, np.random.default_rng(seed))
        levels = np.flatnonzero((sides.voxels > 0).any(axis=(1, 2)))
        assert len(levels) >= 0.15 * 70
        cut_below += int(levels[0] == 0)
    assert cut_below > 20


def test_a_scan_without_lungs_is_left_as_it_is(chest):
    scan, labels = chest
    none = labels.with_voxels(np.zeros(labels.shape, np.uint8))
    part, sides = narrow_field(scan, none, np.random.default_rng(0))
    assert part is scan
    assert sides is none


def test_a_scan_smaller_than_the_least_is_kept_whole_along_that_axis(chest):
    scan, labels = chest
    thin, sides = scan.crop([30, 0, 0], [50, 120, 160]), labels.crop([30, 0, 0], [50, 120, 160])
    part, _ = narrow_field(thin, sides, np.random.default_rng(3))
    assert part.shape[0] == 20
