"""From a scan to the network's grid and grey values, and the way back.

Forward: canonical axes, resampling to a spacing (3-D) or slices to a fixed size (2-D), window, scale to -1..1.
Back: a probability or mask on the network's grid lands on the grid of the scan that was read, voxel for voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import RecipeError
from tumorspread.scan.resampling import Resampling, resample_planes
from tumorspread.scan.volume import Reorientation, Triple, Volume, sparse_zeros

# What the network sees outside the scan: the bottom of the window, that is air.
OUTSIDE = -1.0


@dataclass(frozen=True)
class PreprocessConfig:
    """How a scan becomes the network's input.

    Attributes:
        spacing_mm: voxel spacing (z, y, x) to resample to, in mm; 0 keeps the scan's along that axis.
        size_yx: fixed size of every slice in pixels (2-D); where given, `spacing_mm` plays no part.
        window: values mapped to -1 and 1, clipped beyond; HU for `hu`, grey level 0..1 for `gray`.
        intensity: whether the scans are in HU or are plain grey images.
    """

    spacing_mm: Triple = (1.5, 1.5, 1.5)
    size_yx: tuple[int, int] | None = None
    window: tuple[float, float] = (-1000.0, 400.0)
    intensity: Literal["hu", "gray"] = "hu"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not all(s == 0 or 0.05 <= s <= 50 for s in self.spacing_mm):
            raise RecipeError(f"preprocess.spacing_mm {self.spacing_mm}: expected 0 or 0.05 to 50 mm an axis")
        if self.size_yx is not None and not all(8 <= n <= 4096 for n in self.size_yx):
            raise RecipeError(f"preprocess.size_yx {self.size_yx}: expected 8 to 4096 pixels an edge")
        if not self.window[0] < self.window[1]:
            raise RecipeError(f"preprocess.window {self.window}: expected the lower bound first")


@dataclass(frozen=True, eq=False)
class Way:
    """The road a scan took, kept so that it can be walked back.

    Attributes:
        source: the scan as read (its grid is where results belong).
        turn: its axes to canonical.
        step: its canonical grid to the network's.
    """

    source: Volume
    turn: Reorientation
    step: Resampling

    @property
    def target_spacing_mm(self) -> Triple:
        """Distance between voxel centres of the network's grid along (head, back, left)."""
        own = self.turn.apply(self.source).spacing_mm
        z, y, x = (s * a / b for s, a, b in zip(own, self.step.source, self.step.target, strict=True))
        return z, y, x

    @property
    def covered(self) -> tuple[int, int, int]:
        """How many voxels of the network's grid, an odd number, one of the scan's covers along (head, back, left)."""
        z, y, x = (
            2 * math.ceil(max(0.0, b / a - 1) / 2) + 1 for a, b in zip(self.step.source, self.step.target, strict=True)
        )
        return z, y, x

    def to_target(self, index: NDArray[np.integer]) -> tuple[NDArray[np.intp], ...]:
        """Voxels of the network's grid that hold the centres of canonical voxels.

        Args:
            index: (n, 3) indices (z, y, x) in the scan's canonical axes.

        Returns:
            An index into an array of shape `step.target`.
        """
        scale = np.array(self.step.target) / np.array(self.step.source)
        places = np.floor((index + 0.5) * scale).astype(np.intp)
        return tuple(np.minimum(places, np.array(self.step.target) - 1).T)

    def sample(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Labels in the scan's canonical axes at the centres of the network's voxels, nearest voxel."""
        axes = [
            np.minimum(((np.arange(b) + 0.5) * a / b).astype(np.intp), a - 1)
            for a, b in zip(self.step.source, self.step.target, strict=True)
        ]
        return np.ascontiguousarray(labels[np.ix_(*axes)])

    def mask_back(self, probability: NDArray[np.float32], threshold: float) -> Volume:
        """The mask `probability > threshold` on the source grid, as bool voxels.

        The probability is interpolated, then cut, so outlines stay smooth where the source is finer. A grid that
        was not resampled gives the cut of the very voxels.

        Args:
            probability: array of shape `step.target`, 0..1.
            threshold: probabilities above it are tumour.
        """
        mask = sparse_zeros(self.source.shape, bool)
        # Through a view in the canonical axes; rows that stay empty are never touched and take no memory.
        upright = self.turn.apply_array(mask)
        for z, plane in enumerate(self.step.invert_planes(probability)):
            marked = plane > threshold
            rows = np.flatnonzero(marked.any(axis=1))
            if len(rows):
                upright[z, rows[0] : rows[-1] + 1] = marked[rows[0] : rows[-1] + 1]
        return self.source.with_voxels(mask)

    def probability_back(self, probability: NDArray[np.float32]) -> Volume:
        """`probability` interpolated onto the source grid, as float32 (4 bytes a voxel of the scan)."""
        full = np.empty(self.step.source, np.float32)
        for z, plane in enumerate(self.step.invert_planes(probability)):
            full[z] = plane
        return self.source.with_voxels(np.ascontiguousarray(self.turn.invert_array(full)))

    def percent_back(self, probability: NDArray[np.float32]) -> Volume:
        """`probability` on the source grid in whole percent, uint8; rows that are 0 throughout take no memory."""
        percent = sparse_zeros(self.source.shape, np.uint8)
        upright = self.turn.apply_array(percent)
        for z, plane in enumerate(self.step.invert_planes(probability)):
            whole = np.rint(np.clip(plane, 0, 1) * np.float32(100)).astype(np.uint8)
            rows = np.flatnonzero(whole.any(axis=1))
            if len(rows):
                upright[z, rows[0] : rows[-1] + 1] = whole[rows[0] : rows[-1] + 1]
        return self.source.with_voxels(percent)


def plan_way(scan: Volume, config: PreprocessConfig) -> Way:
    """The road from the grid of `scan` to the network's grid."""
    turn = Reorientation.to_canonical(scan)
    canonical = turn.apply(scan)
    if config.size_yx is not None:
        return Way(scan, turn, Resampling.to_plane(canonical, config.size_yx))
    z, y, x = (s or own for s, own in zip(config.spacing_mm, canonical.spacing_mm, strict=True))
    return Way(scan, turn, Resampling.to_spacing(canonical, (z, y, x)))


def prepare_scan(scan: Volume, config: PreprocessConfig) -> tuple[NDArray[np.float32], Way]:
    """The network's input, shape (z, y, x), values in -1..1, and the way back."""
    way = plan_way(scan, config)
    prepared = np.empty(way.step.target, np.float32)
    for z, plane in enumerate(resample_planes(way.turn.apply_array(scan.voxels), way.step.target)):
        prepared[z] = normalise(plane, config.window)
    return prepared, way


def prepare_mask(mask: Volume, config: PreprocessConfig) -> NDArray[np.uint8]:
    """The mask (values 0 and 1) on the network's grid: a voxel is tumour when half of it or more is."""
    way = plan_way(mask, config)
    planes = resample_planes(way.turn.apply_array(mask.voxels), way.step.target)
    return np.stack([(plane >= 0.5).astype(np.uint8) for plane in planes])


def normalise(values: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    """Values of the window to -1..1, clipped beyond."""
    low, high = window
    scaled = (np.asarray(values, np.float32) - low) * np.float32(2 / (high - low)) - 1
    return np.clip(scaled, -1, 1, out=scaled)
