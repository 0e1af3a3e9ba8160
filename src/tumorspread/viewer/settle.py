"""What counts as one lesion after a drawing: as `measure` counts them, pieces that hang together.

Two lesions that an edit makes touch become one, and one that it cuts becomes several. What a person has split stays
split, and what a person has merged stays one: lesions that touched before stay apart, and one that lay in several
pieces before is not divided.
"""

from __future__ import annotations

from itertools import product

import cc3d
import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.pieces import Box
from tumorspread.viewer.delta import Delta
from tumorspread.viewer.lesion_map import Labels, LesionMap


def settle(lesions: LesionMap, drawn: Delta, keep: int | None = None) -> Delta:
    """The change that a drawing makes, with what follows from it for the ids.

    Args:
        lesions: the map before it.
        drawn: the voxels as drawn.
        keep: of lesions that become one, the one whose id stays; else that of the largest.

    Returns:
        The whole change.
    """
    if not len(drawn.places):
        return drawn
    box = _reach(lesions, drawn)
    before = np.ascontiguousarray(lesions.labels[box])
    after = before.copy()
    after[_inside(lesions, box, drawn.places)] = drawn.after
    touched = set(np.unique(before).tolist()) | set(drawn.ids)
    _join(before, after, keep)
    _divide(before, after, lesions, touched - {0})
    changed = before != after
    return Delta.between(lesions.labels, lesions.flat(box, changed), after[changed])


def _reach(lesions: LesionMap, drawn: Delta) -> Box:
    """The box of the drawing and of all lesions that it touches, with a margin of one voxel."""
    own = lesions.around([lesions.box_of(drawn.places)])
    near = set(np.unique(lesions.labels[own]).tolist()) | set(drawn.ids)
    return lesions.around([own, *(lesions.boxes[n] for n in near if n in lesions.boxes)])


def _inside(lesions: LesionMap, box: Box, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    index = np.unravel_index(places, lesions.labels.shape)
    return tuple(at - edge.start for at, edge in zip(index, box, strict=True))


def _join(before: Labels, after: Labels, keep: int | None) -> None:
    """Lesions that touch, and did not, become one; in place."""
    new = touching(after) - touching(before)
    if not new:
        return
    sizes = np.bincount(before.ravel())
    leader: dict[int, int] = {}

    def find(lesion: int) -> int:
        while leader.get(lesion, lesion) != lesion:
            lesion = leader[lesion]
        return lesion

    for pair in sorted(new):
        # The larger leads, of a new lesion and an old one the old; equal ones by the lower id.
        first, second = sorted(map(find, pair), key=lambda n: (n != keep, -(int(sizes[n]) if n < len(sizes) else 0), n))
        leader[second] = first
    for lesion in {n for pair in new for n in pair}:
        if find(lesion) != lesion:
            after[after == lesion] = find(lesion)


def touching(labels: Labels) -> set[tuple[int, int]]:
    """The pairs of lesions with voxels that share a face, an edge or a corner; the lower id first."""
    if len(np.unique(labels)) < 3:
        return set()
    found: set[tuple[int, int]] = set()
    for step in _HALF_OF_26:
        here = labels[tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, labels.shape, strict=True))]
        there = labels[tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, labels.shape, strict=True))]
        border = (here != there) & (here > 0) & (there > 0)
        if border.any():
            pairs = np.unique(np.sort(np.stack([here[border], there[border]], axis=1), axis=1), axis=0)
            found |= {(int(a), int(b)) for a, b in pairs}
    return found


# The other half are the same pairs seen from the other side.
_HALF_OF_26 = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


def _divide(before: Labels, after: Labels, lesions: LesionMap, touched: set[int]) -> None:
    """A lesion of one piece that is now several: the largest keeps the id; in place."""
    given = 0
    # A new lesion's id is not in the map yet.
    new_ids = max([lesions.last_id, *touched]) - lesions.last_id
    for lesion in sorted(touched):
        inside = after == lesion
        if not inside.any():
            continue
        pieces, count = cc3d.connected_components(np.ascontiguousarray(inside), return_N=True)
        if count < 2 or cc3d.connected_components(np.ascontiguousarray(before == lesion), return_N=True)[1] > 1:
            continue
        sizes = np.bincount(pieces.ravel())[1:]
        for piece in (1 + np.argsort(-sizes, kind="stable")[1:]).tolist():
            after[pieces == piece] = lesions.next_id(new_ids + given)
            given += 1
