"""A volume: voxels and where they are.

The one place that says what the axes mean. Arrays are (z, y, x); the world is LPS in mm, as in DICOM
(x to the patient's left, y to the back, z to the head); an index names the centre of its voxel.
Every step here that moves voxels has its exact inverse beside it.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tumorspread.errors import GeometryError

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]

# Two grids are one when no corner is further apart than this share of the smallest voxel edge.
SAME_GRID_TOLERANCE = 0.05
# Largest cosine between two axes that still counts as a right angle (0.06 degrees).
ORTHOGONAL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Remark:
    """Something the reader of a result must know: a stable code for machines, plain words for people."""

    code: str
    text: str


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a regular grid in the world.

    Attributes:
        voxels: array (z, y, x). CT in HU, masks in {0, 1}, label maps in 0..n, probabilities in 0..1.
        affine: (4, 4) matrix from homogeneous index (z, y, x, 1) to LPS mm (x, y, z, 1).
        remarks: what the reader of the file noticed and the user must be told (lossy compression, ...).

    Raises:
        GeometryError: the array is not three-dimensional or empty, or the affine is not finite, singular or
            sheared. Spacing and axes of such a grid are not defined, so nothing could be measured on it.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    remarks: tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        _check_grid(self.voxels.shape, affine)
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)

    @classmethod
    def upright(cls, voxels: NDArray[Any], spacing_mm: Triple, *, centred: bool = False) -> Volume:
        """A volume whose axes (z, y, x) run to the head, the back and the left.

        Args:
            voxels: array (z, y, x).
            spacing_mm: distance between voxel centres along (z, y, x).
            centred: put the middle of the grid at the origin, not the centre of voxel 0.
        """
        affine = np.zeros((4, 4))
        affine[[2, 1, 0], [0, 1, 2]] = spacing_mm
        affine[3, 3] = 1
        if centred:
            affine[:3, 3] = -affine[:3, :3] @ ((np.array(voxels.shape) - 1) / 2)
        return cls(voxels, affine)

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        z, y, x = self.voxels.shape
        return z, y, x

    @property
    def spacing_mm(self) -> Triple:
        """Distance between neighbouring voxel centres along (z, y, x), in mm."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def directions(self) -> NDArray[np.float64]:
        """(3, 3) unit vectors of the array axes in LPS, one a column, in the order (z, y, x)."""
        return np.asarray(self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0))

    def to_world(self, index_zyx: ArrayLike) -> NDArray[np.float64]:
        """LPS points in mm, shape (..., 3), of (fractional) indices of shape (..., 3)."""
        index = np.asarray(index_zyx, dtype=np.float64)
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Fractional indices (z, y, x), shape (..., 3), of LPS points in mm. Inverse of `to_world`."""
        offset = np.asarray(points_mm, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(offset @ np.linalg.inv(self.affine[:3, :3]).T)

    def with_voxels(self, voxels: NDArray[Any]) -> Volume:
        """The same grid with other voxels.

        Raises:
            GeometryError: the array's shape is not this grid's.
        """
        if voxels.shape != self.voxels.shape:
            raise GeometryError(f"array of shape {voxels.shape} does not fit the grid {self.voxels.shape}")
        return replace(self, voxels=voxels)

    def same_grid(self, other: Volume) -> bool:
        """Whether every voxel of `other` lies where the voxel of the same index lies here."""
        if self.shape != other.shape:
            return False
        ends = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        apart = np.linalg.norm(self.to_world(ends) - other.to_world(ends), axis=1).max()
        return bool(apart <= SAME_GRID_TOLERANCE * min(self.spacing_mm))

    def crop(self, start_zyx: Sequence[int], stop_zyx: Sequence[int]) -> Volume:
        """The box from `start_zyx` (inside) to `stop_zyx` (outside), in place in the world; a view.

        Raises:
            GeometryError: the box is empty or leaves the grid.
        """
        if any(a < 0 or b > n or a >= b for a, b, n in zip(start_zyx, stop_zyx, self.shape, strict=True)):
            box = f"{tuple(start_zyx)}..{tuple(stop_zyx)}"
            raise GeometryError(f"box {box} is not inside the grid {self.shape}")
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(start_zyx)
        (z0, y0, x0), (z1, y1, x1) = start_zyx, stop_zyx
        return replace(self, voxels=self.voxels[z0:z1, y0:y1, x0:x1], affine=affine)


@dataclass(frozen=True)
class Reorientation:
    """A permutation of the array axes followed by flips. Moves no voxel in the world.

    Attributes:
        axes: the axis of the source that becomes axis 0, 1, 2.
        flips: which of the new axes then run backwards.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def to_canonical(cls, volume: Volume) -> Reorientation:
        """The one after which the axes point nearest to head (z), back (y) and left (x)."""
        cosines = volume.directions[::-1]  # rows: world z, y, x; columns: array axes
        axes = max(permutations(range(3)), key=lambda p: sum(abs(cosines[i, p[i]]) for i in range(3)))
        flips = [bool(cosines[i, axes[i]] < 0) for i in range(3)]
        return cls((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.flips[axis])

    def apply(self, volume: Volume) -> Volume:
        """The volume with its axes turned, every voxel where it was in the world; a view."""
        affine = volume.affine[:, [*self.axes, 3]].copy()
        shape = [volume.shape[a] for a in self.axes]
        for axis in self._flipped_axes:
            affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
            affine[:3, axis] *= -1
        return replace(volume, voxels=self.apply_array(volume.voxels), affine=affine)

    def apply_array(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """`apply` for the bare array; a view."""
        return np.flip(voxels.transpose(self.axes), self._flipped_axes)

    def apply_box(self, box: tuple[slice, ...], shape: Shape) -> tuple[slice, slice, slice]:
        """Where a box of an array of that shape lies after `apply_array`."""
        z, y, x = (
            slice(shape[a] - box[a].stop, shape[a] - box[a].start) if flip else box[a]
            for a, flip in zip(self.axes, self.flips, strict=True)
        )
        return z, y, x

    def invert_array(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """The bare array back in the axes it came in. Inverse of `apply_array`; a view."""
        return np.flip(voxels, self._flipped_axes).transpose(np.argsort(self.axes))


def _check_grid(shape: tuple[int, ...], affine: NDArray[np.float64]) -> None:
    if len(shape) != 3:
        raise GeometryError(f"expected an image with 3 dimensions, found {len(shape)} (shape {shape})")
    if 0 in shape:
        raise GeometryError(f"the image is empty (shape {shape})")
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise GeometryError("the image's affine is not a 4x4 matrix of finite numbers; its place is unknown")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (spacing < 1e-6).any():
        raise GeometryError("the voxel spacing is zero along an axis; volumes and lengths are undefined")
    cosines = (affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing)
    if np.abs(cosines - np.eye(3)).max() > ORTHOGONAL_TOLERANCE:
        raise GeometryError(
            "the image's axes are not at right angles (sheared affine, perhaps an uncorrected gantry tilt); "
            "resample it to an orthogonal grid first"
        )


def sparse_zeros(shape: Shape, dtype: DTypeLike) -> NDArray[Any]:
    """Zeros of which only the pages that are written to take memory, as most of a mask's never are.

    `np.zeros` asks Linux for pages of 2 MiB, eight slices of a mask: one row written in each takes all of it.
    """
    if sys.platform != "linux":
        return np.zeros(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype).reshape(shape)
