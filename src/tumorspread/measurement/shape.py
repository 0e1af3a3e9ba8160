"""Shape of one lesion in 3-D, by the IBSI reference manual (Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145).

The mesh is the half-level surface of the mask by marching cubes, the principal axes those of the voxel centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import marching_cubes, mesh_surface_area

from tumorspread.scan.volume import Triple

Points = NDArray[np.float64]

# A hull of so many vertices has 25 million pairs, 0.1 s; a hull of voxels rarely has a tenth of them.
MOST_VERTICES = 7000


@dataclass(frozen=True)
class LesionShape:
    """The shape of one lesion.

    Attributes:
        mesh_volume_mm3: volume within the mesh (RNU0).
        surface_mm2: area of the mesh (C0JK).
        sphericity: area of the ball of the mesh's volume over the mesh's area (QCFX); 1 for a ball.
        max_3d_mm: largest distance between two vertices of the mesh (L0JK).
        axes_mm: the principal axes, four standard deviations of the voxel centres each, longest first
            (TDIC, P9VJ, 7J51).
        elongation: second over first principal axis (Q3CK); None for one voxel.
        flatness: third over first (N17B); None for one voxel.
    """

    mesh_volume_mm3: float
    surface_mm2: float
    sphericity: float
    max_3d_mm: float
    axes_mm: Triple
    elongation: float | None
    flatness: float | None


def measure_shape(mask: NDArray[np.bool_], spacing_mm: Triple) -> LesionShape:
    """Measure the shape of one lesion.

    Args:
        mask: bool (z, y, x), not empty; outside the array counts as outside the lesion.
        spacing_mm: distance between voxel centres along (z, y, x).

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no shape")
    level = np.pad(mask, 1).astype(np.float32)
    # Where voxels touch by an edge alone, the classic table is nearer to pyradiomics than the one without holes.
    vertices, faces, _, _ = marching_cubes(level, 0.5, spacing=spacing_mm, method="lorensen")
    corners = vertices[faces].astype(np.float64) - vertices.mean(axis=0)
    volume = abs(float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])))) / 6
    surface = float(mesh_surface_area(vertices, faces))
    axes = _principal_axes(mask, spacing_mm)
    return LesionShape(
        mesh_volume_mm3=volume,
        surface_mm2=surface,
        sphericity=float((36 * np.pi * volume**2) ** (1 / 3)) / surface,
        max_3d_mm=_widest(vertices.astype(np.float64)),
        axes_mm=axes,
        elongation=axes[1] / axes[0] if axes[0] else None,
        flatness=axes[2] / axes[0] if axes[0] else None,
    )


def _widest(points: Points) -> float:
    """The largest distance between two points; both lie on the convex hull."""
    hull = points[ConvexHull(points).vertices]
    if len(hull) <= MOST_VERTICES:
        return float(pdist(hull).max())
    return max(float(np.linalg.norm(hull - point, axis=1).max()) for point in hull)


def centre_index(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The centre of mass of a mask that is not empty, in fractional indices (z, y, x)."""
    counts_along = [shadow.sum(axis=1) for shadow in _shadows(mask)]
    return np.array([np.average(np.arange(len(counts)), weights=counts) for counts in counts_along])


def _principal_axes(mask: NDArray[np.bool_], spacing_mm: Triple) -> Triple:
    # The second moments need no list of voxels, which for a lesion of 18 million would be 400 MB.
    shadows = _shadows(mask)
    centre, total = centre_index(mask), int(shadows[0].sum())
    along = [(np.arange(n) - c) * mm for n, c, mm in zip(mask.shape, centre, spacing_mm, strict=True)]
    moments = np.empty((3, 3))
    for axis, shadow in enumerate(shadows):
        following = (axis + 1) % 3
        moments[axis, axis] = shadow.sum(axis=1) @ along[axis] ** 2
        moments[axis, following] = moments[following, axis] = along[axis] @ shadow @ along[following]
    # IBSI's reference values are those of the sample's variance, over n - 1.
    variances = np.linalg.eigvalsh(moments / max(total - 1, 1))[::-1]
    first, second, third = (4 * np.sqrt(np.maximum(variances, 0.0))).tolist()
    # What rounding leaves of an axis that a flat or thin lesion does not have.
    return first, *(axis if axis > 1e-6 * first else 0.0 for axis in (second, third))


def _shadows(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """The counts of voxels by (z, y), (y, x) and (x, z)."""
    numbers = mask.view(np.uint8)
    sums = [np.add.reduce(numbers, axis=axis, dtype=np.uint32).astype(np.float64) for axis in (2, 0, 1)]
    return sums[0], sums[1], sums[2].T
