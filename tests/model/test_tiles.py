"""Tiles: where they lie, how their answers are blended."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from tumorspread.model import tiles
from tumorspread.model.engine import TorchEngine
from tumorspread.model.tiles import (
    MOST_VOXELS,
    MOST_VOXELS_FINE,
    START_VOXELS,
    most_voxels_of,
    plan_window,
    slide,
    tile_places,
)
from tumorspread.model.unet import UNet, UNetConfig

CPU = torch.device("cpu")


@given(
    shape=st.tuples(*[st.integers(16, 70)] * 3),
    window=st.tuples(*[st.sampled_from([8, 16])] * 3),
    overlap=st.floats(0, 0.8),
)
def test_tiles_cover_every_voxel_stay_inside_and_overlap_as_asked(shape, window, overlap):
    covered = np.zeros(shape, int)
    starts = [set(), set(), set()]
    shared = tuple(round(edge * overlap) for edge in window)
    for place in tile_places(shape, window, shared):
        assert all(s.start >= 0 and s.stop <= n for s, n in zip(place, shape, strict=True))
        covered[place] += 1
        for axis in range(3):
            starts[axis].add(place[axis].start)
    assert covered.min() >= 1
    for axis in range(3):
        steps = np.diff(sorted(starts[axis]))
        assert (steps <= max(1, window[axis] - shared[axis])).all()


class Local(torch.nn.Module):
    """A network whose answer at a voxel depends on that voxel alone: tiling must not change it."""

    def forward(self, x):
        return 3 * x + 0.5


class Place(torch.nn.Module):
    """A network that answers by the place in its window: shows the blending weights."""

    def forward(self, x):
        ramp = torch.linspace(-4, 4, x.shape[-1])
        return ramp.expand_as(x)


@pytest.mark.parametrize("shape", [(20, 33, 41), (9, 40, 17), (16, 16, 16), (3, 5, 2)])
@pytest.mark.parametrize("tile", [(16, 16, 16), (16, 16)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_a_network_that_looks_at_one_voxel_gives_the_same_in_tiles(shape, tile, overlap):
    scan = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    expected = 1 / (1 + np.exp(-(3 * scan + 0.5)))
    found = slide(TorchEngine(Local(), CPU), scan, tile, overlap=overlap)
    assert found.shape == shape
    assert np.allclose(found, expected, atol=1e-6)


def test_a_whole_scan_in_one_tile_is_the_network_itself():
    torch.manual_seed(0)
    network = UNet(UNetConfig(dims=3, widths=(4, 8))).eval()
    scan = np.random.default_rng(0).uniform(-1, 1, (16, 24, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(scan)[None, None]).sigmoid()[0, 0].numpy()
    assert np.allclose(slide(TorchEngine(network, CPU), scan, scan.shape, overlap=0.5), expected, atol=1e-6)


def test_blending_agrees_with_monai_on_the_same_tiles():
    """Edges that are a multiple of the step give MONAI's tiles; its Gaussian is an eighth of the edge too."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(dims=3, widths=(4, 8))).eval()
    scan = np.random.default_rng(0).uniform(-1, 1, (32, 40, 24)).astype(np.float32)
    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(scan)[None, None], (16, 16, 16), 1, lambda x: network(x).sigmoid(), overlap=0.5,
            mode="gaussian", sigma_scale=0.125,
        )[0, 0].numpy()  # fmt: skip
    found = slide(TorchEngine(network, CPU), scan, (16, 16, 16), overlap=0.5)
    assert np.abs(found - expected).max() < 2e-3


def test_the_middle_of_a_tile_outweighs_its_border():
    """Two windows that half overlap: where one is at its right border and the other in its middle, the middle wins."""
    found = slide(TorchEngine(Place(), CPU), np.zeros((16, 16, 24), np.float32), (16, 16, 16), overlap=0.5)[8, 8]
    middle_of_second = 1 / (1 + np.exp(-np.linspace(-4, 4, 16)[7]))
    assert abs(found[15] - middle_of_second) < 0.05


@pytest.mark.parametrize("tile", [(16, 16, 16), (16, 16)])
def test_mirrored_predictions_turn_with_the_scan(tile):
    """With all flips averaged, the flipped scan's answer is the flipped answer; without, it is not."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(dims=len(tile), widths=(4, 8))).eval()
    scan = np.random.default_rng(0).uniform(-1, 1, (16, 16, 16)).astype(np.float32)
    turned = np.ascontiguousarray(scan[:, :, ::-1])
    for mirror in (True, False):
        first, second = (slide(TorchEngine(network, CPU), s, tile, overlap=0, mirror=mirror) for s in (scan, turned))
        assert np.allclose(first[:, :, ::-1], second, atol=1e-5) == mirror


def test_progress_counts_every_tile():
    calls = []
    slide(TorchEngine(Local(), CPU), np.zeros((20, 20, 20), np.float32), (16, 16, 16), overlap=0,
          progress=lambda done, total: calls.append((done, total)))  # fmt: skip
    assert calls[-1] == (8, 8)


@given(
    shape=st.tuples(*[st.integers(5, 300)] * 3),
    tile=st.tuples(*[st.sampled_from([16, 32, 80])] * 3),
    overlap=st.floats(0, 0.9),
)
def test_a_planned_window_costs_no_more_than_the_tile_and_keeps_to_its_bounds(shape, tile, overlap):
    shared = tuple(round(edge * overlap) for edge in tile)
    window = plan_window(shape, tile, shared, 16)
    assert all(edge % 16 == 0 and edge >= least for edge, least in zip(window, tile, strict=True))
    assert math.prod(window) <= max(MOST_VOXELS, math.prod(tile))

    def seen(edges):
        padded = tuple(max(n, edge) for n, edge in zip(shape, edges, strict=True))
        return len(list(tile_places(padded, edges, shared))) * (math.prod(edges) + START_VOXELS)

    assert seen(window) <= seen(tile)


def test_fine_voxels_may_be_seen_in_larger_windows_and_no_chest_at_2_mm_is():
    assert most_voxels_of((138, 144, 160)) == most_voxels_of((200, 200, 200)) == MOST_VOXELS == most_voxels_of((5, 5))
    assert most_voxels_of((275, 320, 384)) == MOST_VOXELS_FINE
    assert most_voxels_of((200, 250, 400)) == 2_500_000


def test_a_scan_in_fine_voxels_is_seen_in_its_larger_windows(monkeypatch):
    monkeypatch.setattr(tiles, "MOST_VOXELS", 4_000)
    monkeypatch.setattr(tiles, "MOST_VOXELS_FINE", 20_000)
    scan = np.random.default_rng(0).uniform(-1, 1, (48, 64, 64)).astype(np.float32)
    seen = []
    found = slide(TorchEngine(Local(), CPU), scan, (16, 16, 16), overlap=0.5, grow=16,
                  progress=lambda done, total: seen.append(total))  # fmt: skip
    fewer = []
    slide(TorchEngine(Local(), CPU), scan, (16, 16, 16), overlap=0.5, grow=16, most_voxels=10_000,
          progress=lambda done, total: fewer.append(total))  # fmt: skip
    assert seen[-1] < fewer[-1]
    assert np.allclose(found, 1 / (1 + np.exp(-(3 * scan + 0.5))), atol=1e-6)


def test_a_chest_is_seen_in_one_window_where_it_fits_and_in_few_where_not():
    assert plan_window((96, 112, 128), (80, 80, 80), (40, 40, 40), 16) == (96, 112, 128)
    window = plan_window((150, 170, 180), (80, 80, 80), (40, 40, 40), 16)
    assert len(list(tile_places((150, 170, 180), window, (40, 40, 40)))) <= 8


@pytest.mark.parametrize("start_voxels", [0, 85_000, 200_000])
def test_whatever_a_machine_takes_to_start_a_window_it_chooses_the_same_ones(monkeypatch, start_voxels):
    # The same scan must give the same mask on every machine; `bench/tile_cost.py` measured 85,000 on one.
    chests = list(product(range(80, 209, 32), range(96, 161, 16), range(128, 193, 32)))
    chosen = [plan_window(chest, (80, 80, 80), (40, 40, 40), 16) for chest in chests]
    monkeypatch.setattr(tiles, "START_VOXELS", start_voxels)
    assert [plan_window(chest, (80, 80, 80), (40, 40, 40), 16) for chest in chests] == chosen


def test_a_window_that_grew_gives_the_same_of_a_network_that_looks_at_one_voxel():
    scan = np.random.default_rng(0).uniform(-1, 1, (40, 50, 33)).astype(np.float32)
    found = slide(TorchEngine(Local(), CPU), scan, (16, 16, 16), overlap=0.5, grow=16)
    assert np.allclose(found, 1 / (1 + np.exp(-(3 * scan + 0.5))), atol=1e-6)
