"""How far lesions lie from one another, surface to surface."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tumorspread.measurement.surface import surface_points
from tumorspread.scan.volume import Triple

Points = NDArray[np.float64]


def nearest_lesions(
    labels: NDArray[np.integer], boxes: Mapping[int, tuple[slice, ...]], spacing_mm: Triple
) -> dict[int, tuple[int, float] | None]:
    """For each lesion the one that comes nearest, and the gap between their half-level surfaces.

    Args:
        labels: label map, n in lesion n, (z, y, x).
        boxes: of the lesions by id.
        spacing_mm: distance between voxel centres along (z, y, x).

    Returns:
        (id, gap in mm, 0 where they touch) by lesion; None for an only lesion. Of equal gaps the lesion that comes
        first in `boxes`.
    """
    ids = list(boxes)
    if len(ids) < 2:
        return dict.fromkeys(ids)
    spheres = [_sphere(box, spacing_mm) for box in boxes.values()]
    centres, radii = np.array([s[0] for s in spheres]), np.array([s[1] for s in spheres])

    @cache
    def surface(index: int) -> tuple[Points, cKDTree]:
        box = boxes[ids[index]]
        start = np.array([b.start for b in box]) * np.asarray(spacing_mm)
        points = surface_points(labels[box] == ids[index], spacing_mm) + start
        return points, cKDTree(points)

    nearest: dict[int, tuple[int, float] | None] = {}
    for index in range(len(ids)):
        # No pair of points is nearer than the balls around the two lesions; most lesions need no closer look.
        least = np.linalg.norm(centres - centres[index], axis=1) - radii - radii[index]
        least[index] = np.inf
        best = (np.inf, -1, np.inf)
        for other in np.argsort(least, kind="stable").tolist():
            if least[other] > best[0] or other == index:
                break
            apart, gap = _gap(surface(index), surface(other), spacing_mm)
            best = min(best, (apart, other, gap))
        nearest[ids[index]] = (ids[best[1]], best[2])
    return nearest


def _sphere(box: tuple[slice, ...], spacing_mm: Triple) -> tuple[Points, float]:
    """Centre and radius, mm, of the ball around the voxel centres of a box."""
    ends = np.array([[b.start, b.stop - 1] for b in box]) * np.asarray(spacing_mm)[:, None]
    return ends.mean(axis=1), float(np.linalg.norm(np.ptp(ends, axis=1)) / 2)


def _gap(one: tuple[Points, cKDTree], other: tuple[Points, cKDTree], spacing_mm: Triple) -> tuple[float, float]:
    """Distance of the two nearest voxel centres, and what of it lies between the surfaces, half a voxel off each."""
    (points, _), (others, tree) = (one, other) if len(one[0]) <= len(other[0]) else (other, one)
    apart, found = tree.query(points)
    first = int(apart.argmin())
    distance = float(apart[first])
    steps = float(np.linalg.norm((points[first] - others[found[first]]) / spacing_mm))
    return distance, distance * max(0.0, 1 - 1 / steps)
