"""Thin things: vessels, bronchi, spicules, scars, and sheets such as fissures; drawn with partial volume.

A strand thinner than a voxel is still seen, fainter: all of this is drawn on a finer grid and averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tumorspread.data.shapes import smooth_field
from tumorspread.scan.volume import Triple

Field = NDArray[np.float32]
Points = NDArray[np.float64]
Axes = tuple[Points, Points, Points]

FINEST_MM = 0.7


def finer(axes: Axes, spacing_mm: Triple, fine_mm: float) -> tuple[Axes, tuple[int, int, int]]:
    """Positions of sub-voxels no larger than about `fine_mm`, and how many make a voxel along each axis."""
    k = tuple(max(1, round(s / fine_mm)) for s in spacing_mm)
    z, y, x = (
        (a[:, None] + ((np.arange(n) + 0.5) / n - 0.5) * s).ravel() for a, n, s in zip(axes, k, spacing_mm, strict=True)
    )
    return (z, y, x), (k[0], k[1], k[2])


def average(fine: Field, k: tuple[int, int, int]) -> Field:
    """Means over the sub-voxels of each voxel. Inverse of `finer` in shape."""
    if k == (1, 1, 1):
        return fine
    z, y, x = (n // m for n, m in zip(fine.shape, k, strict=True))
    return np.asarray(fine.reshape(z, k[0], y, k[1], x, k[2]).mean(axis=(1, 3, 5), dtype=np.float32))


def draw_strand(share: Field, axes: Axes, spacing_mm: Triple, points_mm: Points, radii_mm: Points) -> None:
    """Add a bent tube to `share` (0 to 1, the maximum stays).

    Args:
        share: on the grid of `axes`; changed.
        axes: positions in mm.
        spacing_mm: of that grid.
        points_mm: (n, 3) joints, (z, y, x).
        radii_mm: (n,) radius at each joint.
    """
    for start, stop, r0, r1 in zip(points_mm[:-1], points_mm[1:], radii_mm[:-1], radii_mm[1:], strict=True):
        pad = max(r0, r1) + np.array(spacing_mm)
        low, high = np.minimum(start, stop) - pad, np.maximum(start, stop) + pad
        box = tuple(slice(*np.searchsorted(a, (lo, hi))) for a, lo, hi in zip(axes, low, high, strict=True))
        if any(b.start >= b.stop for b in box):
            continue
        part: Axes = (axes[0][box[0]], axes[1][box[1]], axes[2][box[2]])
        fine, k = finer(part, spacing_mm, FINEST_MM)
        along = stop - start
        z, y, x = (a - s for a, s in zip(fine, start, strict=True))
        grid = np.ix_(z, y, x)
        t = sum(g * c for g, c in zip(grid, along, strict=True)) / max(along @ along, 1e-9)
        t = np.clip(t, 0, 1)
        away = np.sqrt(sum((g - t * c) ** 2 for g, c in zip(grid, along, strict=True)))
        radius = r0 + (r1 - r0) * t
        inside = np.clip(0.5 + (radius - away) / FINEST_MM, 0, np.minimum(1, 2 * radius / FINEST_MM)).astype(np.float32)
        share[box] = np.maximum(share[box], average(inside, k))


def bend(random: np.random.Generator, start: Points, stop: Points, wander: float, joints: int = 7) -> Points:
    """A path between two points that leaves the straight line by about `wander` times its length, (joints, 3)."""
    t = np.linspace(0, 1, joints)[:, None]
    length = float(np.linalg.norm(stop - start))
    waves = sum(random.normal(0, wander * length / k, 3) * np.sin(np.pi * k * t) for k in (1, 2, 3))
    return np.asarray(start + t * (stop - start) + waves)


def grow_tree(
    random: np.random.Generator, start: Points, heading: Points, length_mm: float, radius_mm: float, depth: int
) -> list[tuple[Points, Points]]:
    """A branching tree of bent tubes: (joints, radii) of every branch.

    Args:
        random: source of chance.
        start: (3,) mm.
        heading: (3,) unit vector.
        length_mm: of the first branch; each generation is shorter and thinner (Murray's law, 2^(-1/3)).
        radius_mm: of the first branch at its beginning.
        depth: how many times it forks.
    """
    stop = start + heading * length_mm
    path = bend(random, start, stop, 0.05)
    branches = [(path, np.linspace(radius_mm, radius_mm * 0.85, len(path)))]
    if depth > 0:
        for _ in range(2):
            turned = heading + random.normal(0, 0.35, 3)
            turned /= np.linalg.norm(turned)
            branches += grow_tree(random, stop, turned, length_mm * 0.8, radius_mm * 0.79, depth - 1)
    return branches


def draw_sheet(
    random: np.random.Generator,
    axes: Axes,
    spacing_mm: Triple,
    normal: Points,
    size_mm: tuple[float, float],
    wave_mm: float,
) -> Field:
    """A thin wavy disc through the origin, share 0 to 1.

    Args:
        random: source of chance.
        axes: positions in mm.
        spacing_mm: of that grid.
        normal: (3,) unit vector across the sheet.
        size_mm: thickness in the middle, and radius at which it has thinned to nothing.
        wave_mm: how far it leaves its plane.
    """
    thickness, radius = size_mm
    fine, k = finer(axes, spacing_mm, 1.5)
    grid = np.ix_(*(a.astype(np.float32) for a in fine))
    steps: Sequence[float] = [s / n for s, n in zip(spacing_mm, k, strict=True)]
    size = tuple(len(a) for a in fine)
    wave = smooth_field(random, (size[0], size[1], size[2]), (steps[0], steps[1], steps[2]), 0.8 * radius)
    across = sum(g * np.float32(n) for g, n in zip(grid, normal, strict=True)) + np.float32(wave_mm) * wave
    square = sum(g * g for g in grid)
    taper = np.clip(1 - (square - across**2) / radius**2, 0, 1)
    edge = max(steps)
    # A sheet thinner than the sub-voxel covers less of it.
    thick = thickness * taper
    share = np.clip(0.5 + (0.5 * thick - np.abs(across)) / edge, 0, np.minimum(1, thick / edge))
    return average(share.astype(np.float32), k)
