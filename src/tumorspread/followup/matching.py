"""Which lesion of one scan is which of the next: stays, new, gone, merged, split.

Both label maps lie on one grid, the earlier one brought there by registration. Lesions that share voxels belong
together; those left over are paired with the nearest left over, as far as registration may be off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from tumorspread.measurement.surface import surface_points
from tumorspread.scan.volume import Triple

Kind = Literal["stays", "new", "gone", "merged", "split", "regrouped", "not_covered"]

# A pair belongs together when it shares this part of the smaller lesion; less is the rim of a neighbour.
SHARED_PART = 0.15
# And one without shared voxels when no more than this lies between their surfaces: what registration is off by.
NEAR_MM = 8.0


@dataclass(frozen=True)
class Match:
    """Lesions of two scans that are one.

    Attributes:
        kind: `stays` (one and one), `new`, `gone`, `merged` (several became one), `split` (one became several),
            `regrouped` (several became several), `not_covered` (outside what the other scan shows).
        before: ids in the earlier scan, ascending.
        after: ids in the later scan, ascending.
    """

    kind: Kind
    before: tuple[int, ...]
    after: tuple[int, ...]


def match_lesions(
    before: NDArray[np.integer],
    after: NDArray[np.integer],
    spacing_mm: Triple,
    *,
    ids_before: Sequence[int],
    outside_before: Sequence[int] = (),
    outside_after: Sequence[int] = (),
) -> tuple[Match, ...]:
    """Match the lesions of two scans.

    Args:
        before: label map of the earlier scan on the grid of the later one, (z, y, x).
        after: label map of the later scan.
        spacing_mm: distance between voxel centres along (z, y, x).
        ids_before: all lesions of the earlier scan; one that is not in `before` was lost on the way.
        outside_before: lesions of the earlier scan that the later scan does not show.
        outside_after: lesions of the later scan that the earlier scan does not show.

    Returns:
        Every lesion of either scan once, ordered by the ids before, then after.
    """
    ids_after = np.unique(after[after > 0]).tolist()
    shared = _shared(before, after, ids_before, ids_after)
    shared |= _near(before, after, shared, ids_before, ids_after, spacing_mm)
    count = len(ids_before)
    rows, columns = np.nonzero(shared)
    size = count + len(ids_after)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns + count)), shape=(size, size))
    groups = connected_components(graph, directed=False)[1]
    matches = []
    for group in dict.fromkeys(groups.tolist()):
        members = np.flatnonzero(groups == group).tolist()
        olds = tuple(ids_before[m] for m in members if m < count)
        news = tuple(ids_after[m - count] for m in members if m >= count)
        matches.append(Match(_kind(olds, news, outside_before, outside_after), olds, news))
    return tuple(sorted(matches, key=lambda m: (not m.before, m.before, m.after)))


def _kind(
    olds: tuple[int, ...], news: tuple[int, ...], outside_before: Sequence[int], outside_after: Sequence[int]
) -> Kind:
    if not news:
        return "not_covered" if olds[0] in outside_before else "gone"
    if not olds:
        return "not_covered" if news[0] in outside_after else "new"
    if len(olds) == len(news) == 1:
        return "stays"
    if len(news) == 1:
        return "merged"
    return "split" if len(olds) == 1 else "regrouped"


def _shared(
    before: NDArray[np.integer], after: NDArray[np.integer], ids_before: Sequence[int], ids_after: Sequence[int]
) -> NDArray[np.bool_]:
    """For each pair whether it shares enough voxels."""
    both = np.flatnonzero((before > 0) & (after > 0))
    most = max([0, *ids_before]) + 1
    pairs = np.bincount(
        after.reshape(-1)[both].astype(np.int64) * most + before.reshape(-1)[both],
        minlength=most * (max([0, *ids_after]) + 1),
    ).reshape(-1, most)
    sizes = [np.bincount(a[a > 0].astype(np.int64), minlength=max([0, *i]) + 1) for a, i in
             ((before, ids_before), (after, ids_after))]  # fmt: skip
    least = np.minimum(sizes[0][list(ids_before)][:, None], sizes[1][list(ids_after)][None])
    overlap = pairs[np.ix_(list(ids_after), list(ids_before))].T
    return np.asarray((overlap > 0) & (overlap >= SHARED_PART * least))


def _near(
    before: NDArray[np.integer],
    after: NDArray[np.integer],
    shared: NDArray[np.bool_],
    ids_before: Sequence[int],
    ids_after: Sequence[int],
    spacing_mm: Triple,
) -> NDArray[np.bool_]:
    """Pairs of lesions that share nothing, one to one, such that the gaps are smallest in all."""
    found = np.zeros_like(shared)
    rows: list[int] = np.flatnonzero(~shared.any(axis=1)).tolist()
    columns: list[int] = np.flatnonzero(~shared.any(axis=0)).tolist()
    olds = _surfaces(before, [ids_before[row] for row in rows], spacing_mm)
    news = _surfaces(after, [ids_after[column] for column in columns], spacing_mm)
    if not olds or not news:
        return found
    gaps = np.full((len(olds), len(news)), np.inf)
    trees = [cKDTree(points) if len(points) else None for points in news]
    for i, points in enumerate(olds):
        for j, tree in enumerate(trees):
            if len(points) and tree is not None:
                gaps[i, j] = tree.query(points, distance_upper_bound=NEAR_MM + 1e-6)[0].min()
    # A pair too far apart costs more than any pair within reach, and is dropped afterwards.
    for i, j in zip(*linear_sum_assignment(np.minimum(gaps, 1e3)), strict=True):
        if gaps[i, j] <= NEAR_MM:
            found[rows[i], columns[j]] = True
    return found


def _surfaces(labels: NDArray[np.integer], numbers: Sequence[int], spacing_mm: Triple) -> list[NDArray[np.float64]]:
    """Points of the surface of each lesion, mm along the array axes; none for one that is not in the map."""
    boxes = find_objects(labels) if len(numbers) else []
    surfaces = []
    for number in numbers:
        box = boxes[number - 1] if number <= len(boxes) else None
        points = np.zeros((0, 3))
        if box is not None:
            start = np.array([b.start for b in box]) * spacing_mm
            points = surface_points(labels[box] == number, spacing_mm) + start
        surfaces.append(points)
    return surfaces
