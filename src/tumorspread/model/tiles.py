"""The tiles that a scan is seen in: where they lie, what lies beyond the scan, how their answers are blended."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tumorspread.model.preprocess import OUTSIDE


def tile_places(
    shape: tuple[int, ...], window: tuple[int, ...], overlap: float
) -> Iterator[tuple[slice, slice, slice]]:
    """Windows that cover `shape` evenly, none hanging over, with at least `overlap` in common."""
    starts = []
    for edge, size in zip(shape, window, strict=True):
        step = max(1, round(size * (1 - overlap)))
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
