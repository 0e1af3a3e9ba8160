"""From an edit to the voxels that it changes: one function a kind, each pure."""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from skimage.graph import MCP_Geometric

from tumorspread.measurement.pieces import Box, divide_at_necks
from tumorspread.scan.volume import Reorientation, Volume
from tumorspread.viewer.delta import Delta, drawn_places
from tumorspread.viewer.edits import Accept, Change, Delete, EditError, Erase, Fill, Grow, Merge, Paint, Place, Split
from tumorspread.viewer.growing import grow_region
from tumorspread.viewer.lesion_map import LesionMap
from tumorspread.viewer.settle import settle

Sides = NDArray[np.uint8]


def make_delta(change: Change, lesions: LesionMap, scan: Volume, sides: Sides | None) -> Delta:
    """What an edit changes.

    Args:
        change: the edit.
        lesions: the map as it is.
        scan: HU, on the same grid.
        sides: 1 in the left lung, 2 in the right, likewise; None where no lungs were found.

    Returns:
        Nothing for an edit that changes no voxel by its nature, such as `accept`.

    Raises:
        EditError: a lesion that is not there, or nothing that such an edit would change.
        ReadError: voxels outside the volume.
    """
    match change:
        case Paint():
            delta = _paint(change, lesions)
        case Erase():
            delta = _erase(change, lesions)
        case Fill():
            delta = _fill(change, lesions, Reorientation.to_canonical(scan).axes[0])
        case Delete():
            delta = _whole(lesions, change.lesion, 0)
        case Split():
            delta = _split(change, lesions)
        case Merge():
            delta = _merge(change, lesions)
        case Grow():
            delta = _grow(change, lesions, scan, sides)
        case Accept():
            lesions.box(change.lesion)
            return Delta.nothing()
    if not len(delta.places):
        raise EditError("this changes nothing: the voxels are as they would become")
    return delta


def _paint(change: Paint, lesions: LesionMap) -> Delta:
    return _add(drawn_places(change.runs, lesions.labels.size), change.lesion, lesions)


def _add(places: NDArray[np.int64], lesion: int | None, lesions: LesionMap) -> Delta:
    """Give voxels to a lesion, or to a new one; a new one takes none that belong to another."""
    if lesion is None:
        places = places[lesions.labels.reshape(-1)[places] == 0]
    else:
        lesions.box(lesion)
    number = lesions.next_id() if lesion is None else lesion
    drawn = Delta.between(lesions.labels, places, np.full(len(places), number, np.uint16))
    return settle(lesions, drawn, keep=lesion)


def _erase(change: Erase, lesions: LesionMap) -> Delta:
    places = drawn_places(change.runs, lesions.labels.size)
    return settle(lesions, Delta.between(lesions.labels, places, np.zeros(len(places), np.uint16)))


def _fill(change: Fill, lesions: LesionMap, axis: int) -> Delta:
    """Holes in the axial slices, as a reader sees them; what is hollow in three dimensions is so in each slice."""
    box = lesions.box(change.lesion)
    labels = lesions.labels[box]
    inside = np.moveaxis(labels == change.lesion, axis, 0)
    filled = np.moveaxis(np.stack([binary_fill_holes(plane) for plane in inside]), 0, axis)
    places = lesions.flat(box, filled & (labels == 0))
    return settle(lesions, Delta.between(lesions.labels, places, np.full(len(places), change.lesion, np.uint16)))


def _whole(lesions: LesionMap, lesion: int, after: int) -> Delta:
    box = lesions.box(lesion)
    places = lesions.flat(box, lesions.labels[box] == lesion)
    return Delta.between(lesions.labels, places, np.full(len(places), after, np.uint16))


def _merge(change: Merge, lesions: LesionMap) -> Delta:
    first, second = change.lesions
    if first == second:
        raise EditError(f"lesion {first} is one already; expected two lesions")
    lesions.box(first)
    return _whole(lesions, second, first)


def _split(change: Split, lesions: LesionMap) -> Delta:
    box = lesions.box(change.lesion)
    inside = lesions.labels[box] == change.lesion
    if change.at is None:
        parts = _natural_parts(inside, lesions)
    else:
        parts = _parts_about(inside, [_seed(place, change.lesion, box, lesions) for place in change.at], lesions)
    sizes = np.bincount(parts[inside])[1:]
    # The largest keeps the id.
    numbers = np.zeros(len(sizes) + 1, np.uint16)
    for rank, part in enumerate(np.argsort(-sizes, kind="stable").tolist()):
        numbers[part + 1] = change.lesion if rank == 0 else lesions.next_id(rank - 1)
    return Delta.between(lesions.labels, lesions.flat(box, inside), numbers[parts[inside]])


def _natural_parts(inside: NDArray[np.bool_], lesions: LesionMap) -> NDArray[np.integer]:
    """The pieces of a lesion that was merged, or the parts of one piece at its necks."""
    pieces, count = cc3d.connected_components(np.ascontiguousarray(inside), return_N=True)
    parts = pieces if count > 1 else divide_at_necks(inside, lesions.spacing_mm)
    if int(parts.max()) < 2:
        raise EditError("this lesion has no neck to be split at; name two places inside it")
    return np.asarray(parts)


def _parts_about(inside: NDArray[np.bool_], seeds: list[Place], lesions: LesionMap) -> NDArray[np.integer]:
    """The two parts of a lesion about two places in it: each voxel goes with the one to which the way is shorter."""
    if seeds[0] == seeds[1]:
        raise EditError("the two places are one voxel; name two voxels of the lesion")
    depth = edt.edt(np.ascontiguousarray(inside), anisotropy=lesions.spacing_mm, black_border=True)
    # Nearer is half of the rule. The other: where it is thinner than at both places the way is long, so that a neck
    # between them parts them, and a ball without one is halved.
    thin = min(depth[seed] for seed in seeds) / np.maximum(depth, 1e-3)
    costs = np.where(inside, np.maximum(1, thin**3), -1)
    ways = [MCP_Geometric(costs, sampling=lesions.spacing_mm).find_costs([seed])[0] for seed in seeds]
    parts = np.where(inside & np.isfinite(np.minimum(*ways)), 1 + (ways[1] < ways[0]), 0)
    # Pieces of a merged lesion that hold neither place go with the nearer.
    lost = np.argwhere(inside & (parts == 0))
    if len(lost):
        apart = [np.linalg.norm((lost - seed) * np.asarray(lesions.spacing_mm), axis=1) for seed in seeds]
        parts[tuple(lost.T)] = 1 + np.argmin(apart, axis=0)
    return np.asarray(parts)


def _seed(place: Place, lesion: int, box: Box, lesions: LesionMap) -> Place:
    """A place of NIfTI's (x, y, z) as an index in the box."""
    z, y, x = place[::-1]
    if any(i >= n for i, n in zip((z, y, x), lesions.labels.shape, strict=True)) or lesions.labels[z, y, x] != lesion:
        raise EditError(f"the place {list(place)} (x, y, z) is not in lesion {lesion}")
    return z - box[0].start, y - box[1].start, x - box[2].start


def _grow(change: Grow, lesions: LesionMap, scan: Volume, sides: Sides | None) -> Delta:
    box, region = grow_region(scan, sides, change.seed)
    labels = lesions.labels[box]
    free = region & ((labels == 0) | (labels == (change.lesion or 0)))
    return _add(lesions.flat(box, free), change.lesion, lesions)
