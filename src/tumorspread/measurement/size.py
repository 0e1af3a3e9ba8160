"""Lengths of one lesion: the long and short axis as a reader draws them.

RECIST 1.1 (Eisenhauer et al. 2009, doi:10.1016/j.ejca.2008.10.026): the long axis is the longest diameter in an axial
slice; the short axis is the longest diameter at right angles to it in that slice (the WHO product's second factor,
and what RECIST measures on nodes).

A diameter runs between points of the outline, and the outline is the half-level contour of the mask: it passes midway
between a voxel inside and its neighbour outside, as the mesh of the IBSI reference manual does. Between voxel centres
a box would measure one voxel short; between voxel corners a disc measures one too long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

Points = NDArray[np.float64]

# Eight directions over half a turn: a diameter d is at least d times the cosine of half the angle between two of them
# wide in one of them.
_ANGLES = np.arange(8) * np.pi / 8
DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
NARROWEST = float(np.cos(np.pi / 16))
SAME_MM = 1e-9


@dataclass(frozen=True, eq=False)
class AxialAxes:
    """The two axes of a lesion.

    Attributes:
        slice_index: of the slice they lie in.
        long_mm: length of the long axis.
        long_ends: its two ends, (2, 2) fractional pixel indices (row, column).
        short_mm: length of the short axis.
        short_ends: its two ends, likewise.
    """

    slice_index: int
    long_mm: float
    long_ends: Points
    short_mm: float
    short_ends: Points


def measure_axes(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> AxialAxes:
    """The long and short axis of one lesion.

    Args:
        mask: (slice, row, column), bool, of one lesion; the slices are axial.
        spacing_mm: between pixel centres along (row, column).

    Returns:
        The axes in the slice that holds the longest diameter; of equal ones the first.

    Raises:
        ValueError: the mask is empty.
    """
    index, long_mm, long_ends = longest_diameter(mask, spacing_mm)
    hull = _hull(_outline(mask[index])) * spacing_mm
    short_ends = _longest_across(hull, long_ends[1] - long_ends[0])
    short_mm = float(np.linalg.norm(short_ends[1] - short_ends[0]))
    return AxialAxes(index, long_mm, long_ends / spacing_mm, short_mm, short_ends / spacing_mm)


def longest_diameter(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> tuple[int, float, Points]:
    """The longest diameter within one slice of a lesion.

    Args:
        mask: (slice, row, column), bool.
        spacing_mm: between pixel centres along (row, column).

    Returns:
        The index of its slice (of equal ones the first), its length in mm, and its two ends, (2, 2) mm.

    Raises:
        ValueError: the mask is empty.
    """
    outlines = {i: _outline(mask[i]) * spacing_mm for i in np.flatnonzero(mask.any(axis=(1, 2))).tolist()}
    # No diameter is longer than the widths in some directions allow: of most slices that is all that is looked at.
    bounds = {i: float(np.ptp(points @ DIRECTIONS, axis=0).max()) / NARROWEST for i, points in outlines.items()}
    best: tuple[float, int, Points] | None = None
    for index in sorted(outlines, key=lambda i: (-bounds[i], i)):
        if best is not None and bounds[index] < best[0] - SAME_MM:
            break
        ends = _longest(_hull(outlines[index]))
        length = float(np.linalg.norm(ends[0] - ends[1]))
        if best is None or length > best[0] + SAME_MM or (length > best[0] - SAME_MM and index < best[1]):
            best = (length, index, ends)
    if best is None:
        raise ValueError("an empty mask has no axes")
    return best[1], best[0], best[2]


def _outline(plane: NDArray[np.bool_]) -> Points:
    """Points midway between the outermost pixels of each row and column and their neighbours outside.

    Inner pixels cannot lie on the convex hull, which holds both ends of any diameter.
    """
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    left = plane[rows].argmax(axis=1) - 0.5
    right = plane.shape[1] - 0.5 - plane[rows, ::-1].argmax(axis=1)
    top = plane[:, columns].argmax(axis=0) - 0.5
    bottom = plane.shape[0] - 0.5 - plane[::-1, columns].argmax(axis=0)
    ends = [(rows, left), (rows, right), (top, columns), (bottom, columns)]
    return np.concatenate([np.column_stack(pair) for pair in ends])


def _hull(points: Points) -> Points:
    """Vertices of the convex hull, in order; the outline of even one pixel spans an area."""
    return np.asarray(points[ConvexHull(points).vertices])


def _longest(hull: Points) -> Points:
    """The two vertices furthest apart."""
    apart = np.linalg.norm(hull[:, None] - hull[None], axis=-1)
    first, second = np.unravel_index(int(apart.argmax()), apart.shape)
    return hull[[first, second]]


def _longest_across(hull: Points, direction: Points) -> Points:
    """The longest chord of the hull at right angles to `direction`.

    The chord's length as a function of its place along `direction` is concave and linear between vertices, so the
    longest one passes through a vertex.
    """
    along = direction / np.linalg.norm(direction)
    across = np.array([-along[1], along[0]])
    starts, stops = hull, np.roll(hull, -1, axis=0)
    # By (place of a vertex, edge): where the line through that place crosses the edge.
    a, b = (ends @ along - (hull @ along)[:, None] for ends in (starts, stops))
    crossing = (np.minimum(a, b) <= SAME_MM) & (np.maximum(a, b) >= -SAME_MM)
    level = np.abs(b - a) < SAME_MM
    t = np.clip(np.where(level, 0.0, -a / np.where(level, 1.0, b - a)), 0, 1)
    reach = starts @ across + t * ((stops - starts) @ across)
    # An edge along the chord gives both its ends: its other end is the start of the next edge.
    low, high = np.where(crossing, reach, np.inf), np.where(crossing, reach, -np.inf)
    place = int((high.max(axis=1) - low.min(axis=1)).argmax())
    edges = [int(low[place].argmin()), int(high[place].argmax())]
    return np.asarray(starts[edges] + t[place, edges, None] * (stops[edges] - starts[edges]))
