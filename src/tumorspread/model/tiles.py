"""The tiles that a scan is seen in: where they lie, what lies beyond the scan, how their answers are blended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from tumorspread.model.engine import Engine
from tumorspread.model.preprocess import OUTSIDE

Progress = Callable[[int, int], None]

# Voxels of one forward pass: small tiles are batched up to it, since every layer costs a fixed time a call. A
# level of 32 channels is then 128 MB in float32.
BATCH_VOXELS = 1_000_000
# Of a window that grows, at the most: it decides how much memory the network takes. A scan in fine voxels, whose own
# arrays take more, may have windows of an eighth of it, up to the second: what neighbours have in common is seen twice.
MOST_VOXELS, MOST_VOXELS_FINE, FINE_PARTS = 1_500_000, 4_000_000, 8
# What one more window costs beside its voxels, in voxels: the fixed time of the layers. Not measured on each machine: 0
# to 200,000 choose the same windows for every chest of `bench/tile_cost.py`, and a plan that hung on a clock would
# change the mask.
START_VOXELS = 30_000


def slide(
    engine: Engine,
    prepared: NDArray[np.float32],
    tile: tuple[int, ...],
    *,
    overlap: float,
    grow: int | None = None,
    mirror: bool = False,
    most_voxels: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Tumour probabilities of a prepared scan, from overlapping tiles blended with Gaussian weights.

    Args:
        engine: the network.
        prepared: (z, y, x), values in -1..1.
        tile: edges of the window, (z, y, x), or (y, x) for a 2-D network, which sees slice by slice.
        overlap: share of a tile's edge that neighbours have in common.
        grow: edges that are multiples of this may be taken in place of the tile's, where fewer and larger windows take
            less time; see `plan_window`. None keeps the tile, and so do the whole slices of a 2-D network.
        mirror: average over all flips of a tile, at 4 (2-D) or 8 (3-D) times the cost.
        most_voxels: of one forward pass, where the tile itself has no more; None leaves it to `most_voxels_of`.
        progress: called with (tiles done, tiles in all).

    Returns:
        Array of the shape of `prepared`, 0..1.
    """
    window = (1, *tile) if len(tile) == 2 else tile
    shared = tuple(round(edge * overlap) for edge in window)
    most = most_voxels_of(prepared.shape) if most_voxels is None else min(most_voxels, most_voxels_of(prepared.shape))
    if grow is not None and len(tile) == 3:
        window = plan_window(prepared.shape, window, shared, grow, most)
    padded = pad(prepared, window)
    blend = blend_weights(window)
    total = np.zeros(padded.shape, np.float32)
    weight = np.zeros(padded.shape, np.float32)
    places = list(tile_places(padded.shape, window, shared))
    batch = max(1, min(most, BATCH_VOXELS) // math.prod(window))
    for start in range(0, len(places), batch):
        group = places[start : start + batch]
        tiles = np.stack([padded[p] for p in group])
        tiles = tiles if len(tile) == 2 else tiles[:, None]
        for place, probability in zip(group, _answer(engine, tiles, mirror).reshape(-1, *window), strict=True):
            total[place] += probability * blend
            weight[place] += blend
        if progress is not None:
            progress(start + len(group), len(places))
    total /= weight
    return total[tuple(slice(edge) for edge in prepared.shape)]


def most_voxels_of(shape: tuple[int, ...]) -> int:
    """How many voxels a window may have that looks at a scan of this shape, on whatever machine."""
    return max(MOST_VOXELS, min(MOST_VOXELS_FINE, math.prod(shape) // FINE_PARTS))


def plan_window(
    shape: tuple[int, ...],
    tile: tuple[int, ...],
    shared: tuple[int, ...],
    multiple: int,
    most_voxels: int = MOST_VOXELS,
) -> tuple[int, ...]:
    """The window that looks at all of `shape` in the least time.

    What neighbours have in common is seen twice, so few large windows cost less than many small ones: the chest that
    27 tiles of 80 voxels an edge see 6 times over is seen once. The network answers alike: it was trained on tiles, but
    what tells it anything about a voxel lies nearer than a tile's edge.

    Args:
        shape: (z, y, x) of the scan.
        tile: the smallest window, that of the training.
        shared: voxels that neighbours have in common at the least, along each axis.
        multiple: of which every edge must be one.
        most_voxels: of the window.

    Returns:
        Edges (z, y, x) of at most `most_voxels`; the tile itself where nothing larger is allowed.
    """
    choices = []
    for edge, least, common in zip(shape, tile, shared, strict=True):
        most = 1 + max(0, math.ceil((edge - least) / max(1, least - common)))
        grown = {n: multiple * math.ceil((edge + (n - 1) * common) / n / multiple) for n in range(1, most + 1)}
        choices.append([(n, max(least, size)) for n, size in grown.items()])
    cost = {}
    for axes in product(*choices):
        counts, window = zip(*axes, strict=True)
        if math.prod(window) <= max(most_voxels, math.prod(tile)):
            cost[window] = math.prod(counts) * (math.prod(window) + START_VOXELS)
    return min(cost, key=lambda window: (cost[window], window))


def tile_places(
    shape: tuple[int, ...], window: tuple[int, ...], shared: tuple[int, ...]
) -> Iterator[tuple[slice, slice, slice]]:
    """Windows that cover `shape` evenly, none hanging over, with at least `shared` voxels in common along each axis."""
    starts = []
    for edge, size, common in zip(shape, window, shared, strict=True):
        step = max(1, size - common)
        count = 1 + math.ceil((edge - size) / step)
        starts.append([round(i * (edge - size) / max(1, count - 1)) for i in range(count)])
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                yield slice(z, z + window[0]), slice(y, y + window[1]), slice(x, x + window[2])


def pad(prepared: NDArray[np.float32], window: tuple[int, ...]) -> NDArray[np.float32]:
    """The scan with air behind its far faces where it is smaller than the window."""
    missing = [(0, max(0, size - edge)) for edge, size in zip(prepared.shape, window, strict=True)]
    return np.pad(prepared, missing, constant_values=OUTSIDE) if any(m for _, m in missing) else prepared


def blend_weights(window: tuple[int, ...]) -> NDArray[np.float32]:
    """A Gaussian of an eighth of the edge (as nnU-Net's), never below 1e-3 so that no voxel is divided by 0."""
    weights = np.ones((), np.float32)
    for edge in window:
        at = np.arange(edge) - (edge - 1) / 2
        line = np.exp(-0.5 * (at / (edge / 8)) ** 2) if edge > 1 else np.ones(1)
        weights = np.multiply.outer(weights, line)
    return np.asarray(np.maximum(weights / weights.max(), 1e-3), np.float32)


def _answer(engine: Engine, tiles: NDArray[np.float32], mirror: bool) -> NDArray[np.float32]:
    """The probabilities of tiles (n, 1, *edges), or their mean over all flips."""
    if not mirror:
        return engine(tiles)
    space = range(2, tiles.ndim)
    flips = [axes for n in range(len(space) + 1) for axes in combinations(space, n)]
    turned = (np.flip(engine(np.ascontiguousarray(np.flip(tiles, axes))), axes) for axes in flips)
    return np.asarray(sum(turned) / np.float32(len(flips)), np.float32)
