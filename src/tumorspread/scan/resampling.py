"""Another number of voxels over the same extent, and back.

Both grids share their outer faces, so the step is separable, has an exact inverse in shape and place, and
a target spacing is met to within half a voxel over the whole extent. An axis that shrinks is averaged over
the area of each new voxel (no aliasing), one that grows is interpolated linearly: OpenCV does both at 50 to
200 times the speed of order-3 splines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorspread.scan.pages import walk
from tumorspread.scan.volume import Shape, Triple, Volume


@dataclass(frozen=True)
class Resampling:
    """From a grid of one shape to a grid of another with the same outer faces.

    Attributes:
        source: shape (z, y, x) before.
        target: shape (z, y, x) after.
    """

    source: Shape
    target: Shape

    @classmethod
    def to_spacing(cls, volume: Volume, spacing_mm: Triple) -> Resampling:
        """The one whose voxels come nearest to `spacing_mm` (z, y, x); at least one voxel an axis."""
        extents = zip(volume.shape, volume.spacing_mm, spacing_mm, strict=True)
        z, y, x = (max(1, round(n * old / new)) for n, old, new in extents)
        return cls(volume.shape, (z, y, x))

    @classmethod
    def to_plane(cls, volume: Volume, size_yx: tuple[int, int]) -> Resampling:
        """The one that gives every slice the size `size_yx` and keeps the number of slices."""
        return cls(volume.shape, (volume.shape[0], *size_yx))

    def apply(self, volume: Volume) -> Volume:
        """The volume on the new grid, as float32."""
        voxels = np.empty(self.target, np.float32)
        for z, plane in enumerate(resample_planes(volume.voxels, self.target)):
            voxels[z] = plane
        step = np.array(self.source) / np.array(self.target)
        change = np.diag([*step, 1.0])
        change[:3, 3] = (step - 1) / 2
        return Volume(voxels, volume.affine @ change, volume.remarks)

    def invert_planes(self, voxels: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """The slices, first to last, of an array of shape `target` brought back to shape `source`.

        One slice at a time, so that a caller who thresholds them never holds the full volume as float.
        """
        return resample_planes(voxels, self.source)


def resample_planes(voxels: NDArray[Any], shape: Shape) -> Iterator[NDArray[np.float32]]:
    """The slices (y, x), float32, of `voxels` (z, y, x) resampled to `shape` over the same extent."""
    smaller_first = shape[1] * shape[2] <= voxels.shape[1] * voxels.shape[2]
    if not smaller_first:
        for plane in _mix_planes((np.asarray(p, np.float32) for p in walk(voxels)), len(voxels), shape[0]):
            yield _resize_plane(plane, shape[1:])
        return
    planes = (_resize_plane(np.asarray(p, np.float32), shape[1:]) for p in walk(voxels))
    yield from _mix_planes(planes, len(voxels), shape[0])


def _mix_planes(planes: Iterator[NDArray[np.float32]], count: int, target: int) -> Iterator[NDArray[np.float32]]:
    """The z step as a running sum: each new plane is a weighted mean of neighbouring old ones."""
    held: dict[int, NDArray[np.float32]] = {}
    for weights in _axis_weights(count, target):
        first, last = min(weights), max(weights)
        while not held or max(held) < last:
            held[max(held, default=-1) + 1] = next(planes)
        for index in [i for i in held if i < first]:
            del held[index]
        if len(weights) == 1:
            yield held[first]
        else:
            yield np.asarray(sum(np.float32(w) * held[i] for i, w in weights.items()), np.float32)


def _axis_weights(count: int, target: int) -> Iterator[dict[int, float]]:
    """For each of `target` samples, the old samples it mixes and their weights (which sum to 1)."""
    step = count / target
    for k in range(target):
        if step > 1:
            low, high = k * step, (k + 1) * step
            inside = range(int(low), min(count, int(np.ceil(high - 1e-9))))
            overlaps = {i: (min(i + 1, high) - max(i, low)) / step for i in inside}
            yield {i: w for i, w in overlaps.items() if w > 1e-9}
        else:
            at = min(max((k + 0.5) * step - 0.5, 0.0), count - 1.0)
            low_index, part = int(at), at - int(at)
            yield {low_index: 1 - part, low_index + 1: part} if part > 1e-9 else {low_index: 1.0}


def _resize_plane(plane: NDArray[np.float32], size_yx: tuple[int, int]) -> NDArray[np.float32]:
    for axis in (0, 1):
        if size_yx[axis] != plane.shape[axis]:
            shrinks = size_yx[axis] < plane.shape[axis]
            width, height = (plane.shape[1], size_yx[0]) if axis == 0 else (size_yx[1], plane.shape[0])
            mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            plane = cv2.resize(plane, (width, height), interpolation=mode)
    return plane
