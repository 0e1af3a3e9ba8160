"""Where the lungs are: a label map on the scan's own grid, or none and the reason.

Classical and fast: all that searches runs on a grid of about 2.5 mm, where a whole chest is two million
voxels and the noise is averaged away; only the labels return to the scan's grid. Nothing here is learned, so
a lung without air (filled by tumour, collapsed, in a large effusion) is not part of the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.measurement.closing import close_lung
from tumorspread.measurement.parts import Lungs
from tumorspread.scan.volume import Remark, Reorientation, Triple, Volume

Mask = NDArray[np.bool_]
Image = NDArray[np.float32]
Labels = NDArray[np.uint8]

LEFT, RIGHT = 1, 2
COARSE_MM, PADDING_HU = 2.5, -1024.0
# Lung lies below, tissue above; the optimum is near halfway (Hu et al. 2001, doi:10.1109/42.929615).
AIR_HU = -320.0
LUNG_HU, BONE_HU = -700.0, 200.0
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
SPINE_MM, ONE_SIDED_SHARE, DEEPEST_EROSION_MM = 40.0, 0.8, 15.0
PLAUSIBLE_ML, LARGEST_TOTAL_ML = (300.0, 5000.0), 12000.0
LEAST_SHARE = 0.005
# The four neighbours in a slice: slices may be a centimetre apart, or there may be one only.
IN_SLICE = ndimage.generate_binary_structure(3, 1)[1:2]


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


@dataclass(frozen=True, eq=False)
class _CoarseScan:
    """The scan on the coarse grid, its axes turned to (head, back, left); HU, nothing below -1024."""

    hu: Image
    spacing_mm: Triple
    voxel_ml: float
    body: Mask


def segment_lungs(scan: Volume) -> LungMask:
    """Find the lungs of a chest CT by their air.

    Args:
        scan: CT in HU, any axis order. Padding below -1024 HU and NaN count as air outside.

    Returns:
        Both lungs with the vessels and tumours that lung surrounds or nearly surrounds (see `close_lung`), without
        trachea and main bronchi. Or no lungs, with the reason: values that are not HU, no chest, a result that
        no chest could have.
    """
    turn = Reorientation.to_canonical(scan)
    hu = np.ascontiguousarray(turn.apply_array(_coarsen(scan)))
    body = _body(hu)
    if (hu < AIR_HU).mean() < LEAST_SHARE or body.mean() < LEAST_SHARE:
        return _no_lungs(scan, f"values of {hu.min():.0f} to {hu.max():.0f} are not the HU of a chest")
    z, y, x = (scan.spacing_mm[a] * scan.shape[a] / n for a, n in zip(turn.axes, hu.shape, strict=True))
    coarse = _CoarseScan(hu, (z, y, x), z * y * x / 1000, body)
    lungs = _inner_air(coarse)
    lungs = _large_pieces(lungs & ~_airways(coarse, lungs), coarse.voxel_ml)
    total_ml = lungs.sum() * coarse.voxel_ml
    if not 0 < total_ml <= LARGEST_TOTAL_ML:
        return _no_lungs(scan, f"{total_ml:.0f} mL of lung-like air inside the body; is this a CT of the chest?")
    sides, separated = _tell_sides(lungs, coarse)
    sides = _close(sides, coarse)
    labels = _refine(turn.invert_array(sides), scan)
    volumes = _volumes(labels, scan.voxel_ml, separated)
    return LungMask(labels, volumes, tuple(_remarks(volumes, sides, separated)))


def _no_lungs(scan: Volume, reason: str) -> LungMask:
    volumes = Lungs(None, None, None, dict.fromkeys(("left_ml", "right_ml", "total_ml"), reason))
    labels = np.zeros(scan.shape, np.uint8)
    return LungMask(labels, volumes, (Remark("lungs_not_found", f"no lungs were found: {reason}"),))


def _coarsen(scan: Volume) -> Image:
    """Means over boxes of about 2.5 mm, in the scan's own axes, so that memory is read in its order."""
    starts = _group_starts(scan)
    shrink = np.minimum(1, np.array(scan.spacing_mm[1:]) / COARSE_MM)
    rows, columns = np.maximum(1, np.round(shrink * scan.shape[1:])).astype(int)
    out = np.empty((len(starts), rows, columns), np.float32)
    for k, start in enumerate(starts):
        # fmax, unlike maximum, prefers the number to NaN.
        slab = np.fmax(scan.voxels[start : start + starts.step], np.float32(PADDING_HU))
        plane = slab.mean(0, dtype=np.float32)
        out[k] = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)
    return out


def _group_starts(scan: Volume) -> range:
    """First slice of each group of slices that the coarse grid makes one of."""
    return range(0, scan.shape[0], max(1, round(COARSE_MM / scan.spacing_mm[0])))


def _body(hu: Image) -> Mask:
    """The largest piece of tissue, after an opening that takes clothes and most of the couch away."""
    tissue, cross = (hu > AIR_HU).view(np.uint8), IN_SLICE[0].astype(np.uint8)
    opened = np.stack([cv2.morphologyEx(plane, cv2.MORPH_OPEN, cross) for plane in tissue])
    return np.asarray(cc3d.largest_k(opened, k=1, connectivity=6) > 0)


def _inner_air(coarse: _CoarseScan) -> Mask:
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
    flat = pieces.ravel()
    sizes = np.maximum(np.bincount(flat, minlength=count), 1)
    gas = np.bincount(flat, hu.ravel() < GAS_HU, count) / sizes
    enclosed = np.bincount(flat, enclosure.ravel(), count) / sizes
    return np.asarray((gas < GAS_SHARE) & (enclosed >= ENCLOSED_SHARE))


def _airways(coarse: _CoarseScan, air: Mask) -> Mask:
    """Trachea and main bronchi with their walls.

    The air below a rising threshold is an airway as long as its piece has the size, the place and the wall of
    one; the step at which it leaks into the lung makes it too large (Mori et al., ICPR 1996).
    """
    midline, (height, _, width) = _midline(coarse), coarse.spacing_mm
    airways = np.zeros_like(air)
    for level in AIRWAY_LEVELS_HU:
        pieces = cc3d.connected_components(air & (coarse.hu < level), connectivity=6)
        found = cc3d.statistics(pieces)
        ml = found["voxel_counts"] * coarse.voxel_ml
        heights = np.array([box[0].stop - box[0].start for box in found["bounding_boxes"]]) * height
        aside = np.abs(found["centroids"][:, 2] - midline) * width
        fits = (ml >= AIRWAYS_ML[0]) & (ml <= AIRWAYS_ML[1]) & (heights >= AIRWAYS_HEIGHT_MM)
        for piece in np.flatnonzero(fits[1:] & (aside[1:] <= AIRWAYS_ASIDE_MM)) + 1:
            box = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in found["bounding_boxes"][piece])
            tube = pieces[box] == piece
            shell = ndimage.binary_dilation(tube, iterations=2) & ~ndimage.binary_dilation(tube)
            if (coarse.hu[box][shell] < LUNG_HU).mean() <= AIRWAYS_LUNG_SHARE:
                airways[box] |= ndimage.binary_dilation(tube, np.ones((3, 3, 3), bool))
    return airways


def _midline(coarse: _CoarseScan) -> float:
    """Column of the spine, the most bone in the back half of the body; without bone the body's mean."""
    rows, columns = (np.arange(n) for n in coarse.hu.shape[1:])
    back = np.s_[:, int(np.average(rows, weights=coarse.body.sum((0, 2)))) :]
    bone = (coarse.body[back] & (coarse.hu[back] > BONE_HU)).sum((0, 1)).astype(float)
    if not bone.any():
        return float(np.average(columns, weights=coarse.body.sum((0, 1))))
    width = min(len(bone), max(1, round(SPINE_MM / coarse.spacing_mm[2])))
    return float(np.convolve(bone, np.ones(width), "same").argmax())


def _large_pieces(mask: Mask, voxel_ml: float) -> Mask:
    pieces = cc3d.connected_components(mask, connectivity=6)
    ml = cc3d.statistics(pieces)["voxel_counts"] * voxel_ml
    ml[0] = 0.0
    return np.asarray((ml >= max(SMALLEST_PIECE_ML, SMALLEST_SHARE * ml.max()))[pieces])


def _tell_sides(lungs: Mask, coarse: _CoarseScan) -> tuple[Labels, bool]:
    """The side of each voxel of the lungs, and whether it could be told.

    Lungs that touch are eroded slice by slice until no large piece lies on both sides of the spine; each
    voxel then belongs to the side of the nearest that is left.
    """
    left_of_spine = np.broadcast_to(np.arange(lungs.shape[2]) > _midline(coarse), lungs.shape)
    core = lungs
    for depth in range(1 + round(DEEPEST_EROSION_MM / max(coarse.spacing_mm[1:]))):
        pieces, count = cc3d.connected_components(core, connectivity=6, return_N=True)
        sizes = np.bincount(pieces.ravel(), core.ravel(), count + 1)
        share = np.bincount(pieces.ravel(), (core & left_of_spine).ravel(), count + 1) / np.maximum(sizes, 1)
        large = sizes > SMALLEST_SHARE * lungs.sum()
        if large.any() and not (large & (np.minimum(share, 1 - share) > 1 - ONE_SIDED_SHARE)).any():
            sides = core * np.where(share > 0.5, LEFT, RIGHT).astype(np.uint8)[pieces]
            if depth:
                nearest = ndimage.distance_transform_edt(sides == 0, coarse.spacing_mm, False, True)
                sides = lungs * sides[tuple(nearest)]
            return np.asarray(sides, np.uint8), True
        core = ndimage.binary_erosion(core, IN_SLICE, border_value=1)
    return np.asarray(lungs * np.where(left_of_spine, LEFT, RIGHT), np.uint8), False


def _close(sides: Labels, coarse: _CoarseScan) -> Labels:
    """Each lung with what belongs to it beside its air; no lung grows into the other."""
    out = sides.copy()
    for side, box in enumerate(ndimage.find_objects(sides, RIGHT), LEFT):
        if box is not None:
            free = out[box] == 0
            tissue = free & (coarse.hu[box] > AIR_HU)
            closed = close_lung(sides[box] == side, tissue, coarse.spacing_mm, left=side == LEFT)
            out[box][closed & free] = side
    return out


def _refine(coarse: Labels, scan: Volume) -> Labels:
    """The labels on the scan's grid: each side is interpolated linearly and kept where it is above a half."""
    starts = _group_starts(scan)
    centres = [(start + min(start + starts.step, scan.shape[0]) - 1) / 2 for start in starts]
    places = np.interp(np.arange(scan.shape[0]), centres, np.arange(len(centres)))
    labels = np.zeros(scan.shape, np.uint8)
    for side in (LEFT, RIGHT):
        lung = (coarse == side).astype(np.float32)
        for z, place in enumerate(places):
            low, part = int(place), np.float32(place % 1)
            plane = lung[low] if part == 0 else (1 - part) * lung[low] + part * lung[low + 1]
            if plane.any():
                fine = cv2.resize(np.ascontiguousarray(plane), scan.shape[:0:-1])
                # The two sides sum to 1 at most, so only one of them is above a half.
                labels[z] += (fine > 0.5) * np.uint8(side)
    return labels


def _volumes(labels: Labels, voxel_ml: float, separated: bool) -> Lungs:
    left, right = (sum(int((plane == side).sum()) for plane in labels) * voxel_ml for side in (LEFT, RIGHT))
    if not separated:
        reasons = dict.fromkeys(("left_ml", "right_ml"), "the two lungs could not be told apart")
        return Lungs(None, None, left + right, reasons)
    found = {"left_ml": left, "right_ml": right}
    reasons = {name: f"no {name[:-3]} lung was found in this scan" for name, ml in found.items() if not ml}
    return Lungs(left or None, right or None, left + right, reasons)


def _remarks(volumes: Lungs, sides: Labels, separated: bool) -> Iterator[Remark]:
    if not separated:
        yield Remark("lungs_not_separated", "the lungs could not be told apart; the spine divides the mask")
    elif volumes.left_ml is None or volumes.right_ml is None:
        yield Remark("one_lung_found", "; ".join(volumes.reasons.values()))
    elif _touch(sides):
        yield Remark("lungs_touch", "the lungs touch; where one ends and the other begins is an estimate")
    faces = {"feet": sides[0], "head": sides[-1], "front": sides[:, 0], "back": sides[:, -1]}
    faces |= {"right": sides[:, :, 0], "left": sides[:, :, -1]}
    cut = ", ".join(name for name, face in faces.items() if face.any())
    if cut:
        text = f"the lungs reach the edge of the scan ({cut}); their volumes are those of the part inside"
        yield Remark("lungs_cut_by_scan", text)
    for name, ml in (("left", volumes.left_ml), ("right", volumes.right_ml)):
        if ml is not None and not PLAUSIBLE_ML[0] <= ml <= PLAUSIBLE_ML[1]:
            text = f"the {name} lung measures {ml:.0f} mL; expected 300 to 5000 mL"
            yield Remark("lung_volume_implausible", text)


def _touch(sides: Labels) -> bool:
    """Whether a voxel of one lung lies beside one of the other."""
    return any(bool((t[1:] * t[:-1] == LEFT * RIGHT).any()) for t in (np.moveaxis(sides, a, 0) for a in range(3)))
