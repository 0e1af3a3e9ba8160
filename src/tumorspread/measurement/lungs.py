"""Where the lungs are: a label map on the scan's own grid, or none and the reason.

Classical and fast: all that searches runs on a grid of about 2.5 mm (`coarse.py`); only the labels return to the
scan's grid. Nothing here is learned, so a lung without air (filled by tumour, collapsed, in a large effusion) is not
part of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.measurement.closing import close_lung
from tumorspread.measurement.coarse import AIR_HU, IN_SLICE, CoarseScan, Image, Labels, Mask, coarsen, refine
from tumorspread.measurement.lung_checks import LEFT, RIGHT, check_lungs
from tumorspread.measurement.parts import Lungs
from tumorspread.measurement.pieces import filled_box
from tumorspread.scan.volume import Remark, Volume

__all__ = ["LEFT", "RIGHT", "LungMask", "segment_lungs"]

LUNG_HU = -700.0
# Free gas and room air lie below -960 HU; a slice of a lung with bad emphysema does by 65 %, measured.
GAS_HU, GAS_SHARE = -960.0, 0.75
# A lung sees body in all four directions of a slice, or in three where the image cuts it; the air outside, a
# blanket or the foam of the couch in fewer.
ENCLOSED_SHARE = 0.7
SMALLEST_PIECE_ML, SMALLEST_SHARE = 20.0, 0.02
AIRWAY_LEVELS_HU = (-970.0, -940.0, -910.0, -880.0, -850.0, -820.0)
AIRWAYS_ML, AIRWAYS_HEIGHT_MM, AIRWAYS_ASIDE_MM = (2.0, 80.0), 20.0, 35.0
# Lung's share of the shell around airways was at most 0.30 on real scans, around emphysema 0.33 and more.
AIRWAYS_LUNG_SHARE = 0.31
ONE_SIDED_SHARE, DEEPEST_EROSION_MM = 0.8, 15.0
LARGEST_TOTAL_ML = 12000.0
LEAST_SHARE = 0.005


@dataclass(frozen=True, eq=False)
class LungMask:
    """The lungs of one scan.

    Attributes:
        labels: uint8 on the scan's grid, in the scan's own axes: 0 outside, 1 the patient's left lung, 2 the
            right one. All 0 where no lungs were found; by side of the spine where they were not separated.
        volumes: mL of each lung and of all that was found; None with the reason where one is not known.
        remarks: codes `lungs_not_found`, `one_lung_found`, `lungs_not_separated`, `lungs_touch`,
            `lungs_cut_by_scan`, `lung_volume_implausible`.
    """

    labels: Labels
    volumes: Lungs
    remarks: tuple[Remark, ...]


def segment_lungs(scan: Volume) -> LungMask:
    """Find the lungs of a chest CT by their air.

    Args:
        scan: CT in HU, any axis order. Padding below -1024 HU and NaN count as air outside.

    Returns:
        Both lungs with the vessels and tumours that lung surrounds or nearly surrounds (see `close_lung`), without
        trachea and main bronchi. Or no lungs, with the reason: values that are not HU, no chest, a result that
        no chest could have.
    """
    coarse = coarsen(scan)
    hu = coarse.hu
    if (hu < AIR_HU).mean() < LEAST_SHARE or coarse.body.mean() < LEAST_SHARE:
        return _no_lungs(scan, f"values of {hu.min():.0f} to {hu.max():.0f} are not the HU of a chest")
    lungs = _inner_air(coarse)
    lungs = _large_pieces(lungs & ~_airways(coarse, lungs), coarse.voxel_ml)
    total_ml = lungs.sum() * coarse.voxel_ml
    if not 0 < total_ml <= LARGEST_TOTAL_ML:
        return _no_lungs(scan, f"{total_ml:.0f} mL of lung-like air inside the body; is this a CT of the chest?")
    sides, separated = _tell_sides(lungs, coarse)
    sides = _close(sides, coarse)
    labels = refine(sides, scan)
    volumes = _volumes(labels, scan.voxel_ml, separated)
    return LungMask(labels, volumes, tuple(check_lungs(volumes, sides, separated=separated)))


def _no_lungs(scan: Volume, reason: str) -> LungMask:
    volumes = Lungs(None, None, None, dict.fromkeys(("left_ml", "right_ml", "total_ml"), reason))
    labels = np.zeros(scan.shape, np.uint8)
    return LungMask(labels, volumes, (Remark("lungs_not_found", f"no lungs were found: {reason}"),))


def _inner_air(coarse: CoarseScan) -> Mask:
    """Air and lung inside the body.

    What touches the edge of a slice goes first, in 2-D, since outside air and lungs are one piece in 3-D on
    many scans; but lung that the image cuts stays: it is no gas, and body encloses it.
    """
    air, enclosure = coarse.hu < AIR_HU, _enclosure(coarse.body)
    inner = np.zeros_like(air)
    for z, plane in enumerate(air):
        count, pieces = cv2.connectedComponents(plane.astype(np.uint8), connectivity=4)
        inside = np.ones(count, bool)
        inside[[*pieces[0], *pieces[-1], *pieces[:, 0], *pieces[:, -1]]] = False
        inner[z] = plane & (inside | _is_lung_like(pieces, count, coarse.hu[z], enclosure[z]))[pieces]
    pieces, count = cc3d.connected_components(inner, connectivity=6, return_N=True)
    return inner & _is_lung_like(pieces, count + 1, coarse.hu, enclosure)[pieces]


def _enclosure(body: Mask) -> Image:
    """For each voxel the share of the four directions of its slice in which body lies: 0, 0.25 .. 1."""
    seen = np.zeros(body.shape, np.float32)
    for turned, into in ((body, seen), (body[:, ::-1, ::-1], seen[:, ::-1, ::-1])):
        into += np.logical_or.accumulate(turned, axis=1)
        into += np.logical_or.accumulate(turned, axis=2)
    return seen / np.float32(4)


def _is_lung_like(pieces: NDArray[Any], count: int, hu: Image, enclosure: Image) -> Mask:
    """For each of `count` pieces whether it is not mere gas and lies inside the body."""
    # Converted once, and counted without weights where it can be: half of the time.
    flat = pieces.ravel().astype(np.intp)
    sizes = np.maximum(np.bincount(flat, minlength=count), 1)
    gas = np.bincount(flat[hu.ravel() < GAS_HU], minlength=count) / sizes
    enclosed = np.bincount(flat, enclosure.ravel(), count) / sizes
    return np.asarray((gas < GAS_SHARE) & (enclosed >= ENCLOSED_SHARE))


def _airways(coarse: CoarseScan, air: Mask) -> Mask:
    """Trachea and main bronchi with their walls.

    The air below a rising threshold is an airway as long as its piece has the size, the place and the wall of
    one; the step at which it leaks into the lung makes it too large (Mori et al., ICPR 1996).
    """
    midline, (height, _, width) = coarse.midline, coarse.spacing_mm
    airways = np.zeros_like(air)
    if not air.any():
        return airways
    # In the box about the air alone, with room for the shells: half of the time.
    near = _box_with_margin(air, 3)
    hu, inside, left_out = coarse.hu[near], air[near], airways[near]
    for level in AIRWAY_LEVELS_HU:
        pieces = cc3d.connected_components(inside & (hu < level), connectivity=6)
        found = cc3d.statistics(pieces)
        ml = found["voxel_counts"] * coarse.voxel_ml
        heights = np.array([box[0].stop - box[0].start for box in found["bounding_boxes"]]) * height
        aside = np.abs(found["centroids"][:, 2] + near[2].start - midline) * width
        fits = (ml >= AIRWAYS_ML[0]) & (ml <= AIRWAYS_ML[1]) & (heights >= AIRWAYS_HEIGHT_MM)
        for piece in np.flatnonzero(fits[1:] & (aside[1:] <= AIRWAYS_ASIDE_MM)) + 1:
            box = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in found["bounding_boxes"][piece])
            tube = pieces[box] == piece
            shell = ndimage.binary_dilation(tube, iterations=2) & ~ndimage.binary_dilation(tube)
            if (hu[box][shell] < LUNG_HU).mean() <= AIRWAYS_LUNG_SHARE:
                left_out[box] |= ndimage.binary_dilation(tube, np.ones((3, 3, 3), bool))
    return airways


def _box_with_margin(mask: Mask, margin: int) -> tuple[slice, ...]:
    """The box of a mask that is not empty, and so many voxels about it."""
    box = filled_box(mask)
    assert box is not None
    return tuple(slice(max(0, s.start - margin), s.stop + margin) for s in box)


def _large_pieces(mask: Mask, voxel_ml: float) -> Mask:
    pieces, count = cc3d.connected_components(mask, connectivity=6, return_N=True)
    ml = np.bincount(pieces[mask], minlength=count + 1) * voxel_ml
    return np.asarray((ml >= max(SMALLEST_PIECE_ML, SMALLEST_SHARE * ml.max()))[pieces])


def _tell_sides(lungs: Mask, coarse: CoarseScan) -> tuple[Labels, bool]:
    """The side of each voxel of the lungs, and whether it could be told.

    Lungs that touch are eroded slice by slice until no large piece lies on both sides of the spine; each
    voxel then belongs to the side of the nearest that is left.
    """
    left_of_spine = np.broadcast_to(np.arange(lungs.shape[2]) > coarse.midline, lungs.shape)
    core = lungs
    for depth in range(1 + round(DEEPEST_EROSION_MM / max(coarse.spacing_mm[1:]))):
        pieces, count = cc3d.connected_components(core, connectivity=6, return_N=True)
        sizes = np.bincount(pieces[core], minlength=count + 1)
        share = np.bincount(pieces[core & left_of_spine], minlength=count + 1) / np.maximum(sizes, 1)
        large = sizes > SMALLEST_SHARE * np.count_nonzero(lungs)
        if large.any() and not (large & (np.minimum(share, 1 - share) > 1 - ONE_SIDED_SHARE)).any():
            sides = core * np.where(share > 0.5, LEFT, RIGHT).astype(np.uint8)[pieces]
            if depth:
                nearest = ndimage.distance_transform_edt(sides == 0, coarse.spacing_mm, False, True)
                sides = lungs * sides[tuple(nearest)]
            return np.asarray(sides, np.uint8), True
        core = ndimage.binary_erosion(core, IN_SLICE, border_value=1)
    return np.asarray(lungs * np.where(left_of_spine, LEFT, RIGHT), np.uint8), False


def _close(sides: Labels, coarse: CoarseScan) -> Labels:
    """Each lung with what belongs to it beside its air; no lung grows into the other."""
    out = sides.copy()
    for side, box in enumerate(ndimage.find_objects(sides, RIGHT), LEFT):
        if box is not None:
            free = out[box] == 0
            tissue = free & (coarse.hu[box] > AIR_HU)
            closed = close_lung(sides[box] == side, tissue, coarse.spacing_mm, left=side == LEFT)
            out[box][closed & free] = side
    return out


def _volumes(labels: Labels, voxel_ml: float, separated: bool) -> Lungs:
    left, right = (sum(int(np.count_nonzero(plane == side)) for plane in labels) * voxel_ml for side in (LEFT, RIGHT))
    if not separated:
        reasons = dict.fromkeys(("left_ml", "right_ml"), "the two lungs could not be told apart")
        return Lungs(None, None, left + right, reasons)
    found = {"left_ml": left, "right_ml": right}
    reasons = {name: f"no {name[:-3]} lung was found in this scan" for name, ml in found.items() if not ml}
    return Lungs(left or None, right or None, left + right, reasons)
