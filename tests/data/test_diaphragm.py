"""A raised diaphragm: the lung loses what the belly gains, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.data.diaphragm import LEAST_HEIGHT, raise_diaphragm
from tumorspread.data.hosts import IN_BOX, TUMOUR
from tumorspread.scan.volume import Volume

DOME_MM, HEIGHT_MM = 60, 200


@pytest.fixture(params=[1.0, 2.5], ids=["1 mm", "2.5 mm"])
def chest(request):
    """Two lungs, 200 mm high, flat-bottomed at 60 mm; HU are heights: each voxel says where it came from."""
    spacing = request.param
    slices = int((DOME_MM + HEIGHT_MM + 20) / spacing)
    grid = Volume.upright(np.zeros((slices, 40, 120), np.int16), (spacing, 3.0, 3.0))
    heights = np.arange(slices) * spacing
    lung = (heights >= DOME_MM) & (heights < DOME_MM + HEIGHT_MM)
    labels = np.zeros(grid.shape, np.uint8)
    labels[lung, 8:32, 10:50] = 2
    labels[lung, 8:32, 70:110] = 1
    voxels = np.broadcast_to(heights[:, None, None], grid.shape).astype(np.int16)
    return grid.with_voxels(voxels.copy()), grid.with_voxels(labels)


@pytest.mark.parametrize("side", [1, 2])
def test_the_dome_rises_as_far_as_asked_and_the_other_lung_stays(chest, side):
    scan, labels = chest
    moved, marked = raise_diaphragm(scan, labels, side, 40.0)
    x = 90 if side == 1 else 30
    base = np.flatnonzero(marked.voxels[:, 20, x])[0] * scan.spacing_mm[0]
    assert base == pytest.approx(DOME_MM + 40, abs=scan.spacing_mm[0])
    assert moved.voxels[round(base / scan.spacing_mm[0]), 20, x] == pytest.approx(DOME_MM, abs=3)
    other = slice(10, 50) if side == 1 else slice(70, 110)
    untouched = np.s_[:, :, :36] if side == 1 else np.s_[:, :, 84:]
    assert np.array_equal(marked.voxels[untouched], labels.voxels[untouched])
    assert np.array_equal(moved.voxels[untouched], scan.voxels[untouched])
    assert (marked.voxels[:, :, other] > 0).sum() == pytest.approx((labels.voxels[:, :, other] > 0).sum(), rel=0.02)


def test_heights_keep_their_order_and_the_top_of_the_lung_its_place(chest):
    scan, labels = chest
    moved, marked = raise_diaphragm(scan, labels, 2, 75.0)
    assert (np.diff(moved.voxels.astype(int), axis=0) >= 0).all()
    assert marked.voxels.any(axis=(1, 2)).nonzero()[0][-1] == labels.voxels.any(axis=(1, 2)).nonzero()[0][-1]
    assert set(np.unique(marked.voxels)) == {0, 1, 2}


def test_a_lung_keeps_enough_of_its_height(chest):
    scan, labels = chest
    _, marked = raise_diaphragm(scan, labels, 2, 500.0)
    left_mm = (marked.voxels[:, 20, 30] == 2).sum() * scan.spacing_mm[0]
    assert left_mm == pytest.approx(LEAST_HEIGHT * HEIGHT_MM, abs=2 * scan.spacing_mm[0])


def test_a_tumour_and_what_stands_in_a_box_go_along(chest):
    scan, labels = chest
    voxels = labels.voxels.copy()
    low = round(DOME_MM / scan.spacing_mm[0])
    voxels[low : low + 4, 18:22, 28:32] = TUMOUR
    voxels[low : low + 4, 18:22, 15:20] += IN_BOX
    _, marked = raise_diaphragm(scan, labels.with_voxels(voxels), 2, 40.0)
    for where in (marked.voxels == TUMOUR, marked.voxels == 2 + IN_BOX):
        assert where.nonzero()[0][0] * scan.spacing_mm[0] == pytest.approx(DOME_MM + 40, abs=2 * scan.spacing_mm[0])


def test_without_a_dome_in_the_scan_nothing_moves(chest):
    scan, labels = chest
    low = round(DOME_MM / scan.spacing_mm[0])
    cut = scan.crop([low, 0, 0], scan.shape), labels.crop([low, 0, 0], scan.shape)
    for one, other in zip(raise_diaphragm(*cut, 2, 40.0), cut, strict=True):
        assert np.array_equal(one.voxels, other.voxels)
    empty = labels.with_voxels(np.zeros_like(labels.voxels))
    assert np.array_equal(raise_diaphragm(scan, empty, 1, 40.0)[0].voxels, scan.voxels)


def test_float_scans_are_not_rounded(chest):
    scan, labels = chest
    moved, _ = raise_diaphragm(scan.with_voxels(scan.voxels.astype(np.float32)), labels, 2, 33.3)
    assert moved.voxels.dtype == np.float32
    assert (moved.voxels % 1 > 0.05).any()
