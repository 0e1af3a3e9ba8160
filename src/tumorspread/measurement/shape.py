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


def _principal_axes(mask: NDArray[np.bool_], spacing_mm: Triple) -> Triple:
    centres = np.argwhere(mask) * np.asarray(spacing_mm)
    offsets = centres - centres.mean(axis=0)
    # IBSI's reference values are those of the sample's variance, over n - 1.
    variances = np.linalg.eigvalsh(offsets.T @ offsets / max(len(centres) - 1, 1))[::-1]
    first, second, third = (4 * np.sqrt(np.maximum(variances, 0.0))).tolist()
    # What rounding leaves of an axis that a flat or thin lesion does not have.
    return first, *(axis if axis > 1e-6 * first else 0.0 for axis in (second, third))
