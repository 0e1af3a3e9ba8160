"""The scan on the grid on which lungs are searched, and labels brought back from it.

The grid has voxels of about 2.5 mm, where a whole chest is two million of them and the noise is averaged away. It goes
by the axes turned to (head, back, left) alone: the same scan stored in another axis order must give the same lungs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.scan.pages import let_go, planes_a_stretch
from tumorspread.scan.volume import Reorientation, Triple, Volume, sparse_zeros

Mask = NDArray[np.bool_]
Image = NDArray[np.float32]
Labels = NDArray[np.uint8]

COARSE_MM, PADDING_HU = 2.5, -1024.0
# Lung lies below, tissue above; the optimum is near halfway (Hu et al. 2001, doi:10.1109/42.929615).
AIR_HU, BONE_HU = -320.0, 200.0
SPINE_MM = 40.0
# The four neighbours in a slice: slices may be a centimetre apart, or there may be one only.
IN_SLICE = ndimage.generate_binary_structure(3, 1)[1:2]


@dataclass(frozen=True, eq=False)
class CoarseScan:
    """The scan on the coarse grid, its axes turned to (head, back, left); HU, nothing below -1024."""

    hu: Image
    spacing_mm: Triple
    voxel_ml: float
    body: Mask

    @property
    def midline(self) -> float:
        """Column of the spine, the most bone in the back half of the body; without bone the body's mean."""
        rows, columns = (np.arange(n) for n in self.hu.shape[1:])
        back = np.s_[:, int(np.average(rows, weights=self.body.sum((0, 2)))) :]
        bone = (self.body[back] & (self.hu[back] > BONE_HU)).sum((0, 1)).astype(float)
        if not bone.any():
            return float(np.average(columns, weights=self.body.sum((0, 1))))
        width = min(len(bone), max(1, round(SPINE_MM / self.spacing_mm[2])))
        return float(np.convolve(bone, np.ones(width), "same").argmax())


def coarsen(scan: Volume) -> CoarseScan:
    """The scan on the coarse grid; padding below -1024 HU and NaN count as air outside."""
    turn = Reorientation.to_canonical(scan)
    hu = _means(scan, turn)
    z, y, x = (scan.spacing_mm[a] * scan.shape[a] / n for a, n in zip(turn.axes, hu.shape, strict=True))
    return CoarseScan(hu, (z, y, x), z * y * x / 1000, _body(hu))


def body_midline_mm(scan: Volume) -> float | None:
    """Where the middle of the body lies along the left-right axis, LPS mm; None where no body is seen."""
    coarse = coarsen(scan)
    if not coarse.body.any():
        return None
    upright = Reorientation.to_canonical(scan).apply(scan)
    column = (coarse.midline + 0.5) * upright.shape[2] / coarse.hu.shape[2] - 0.5
    middle = [(n - 1) / 2 for n in upright.shape[:2]]
    return float(upright.to_world([*middle, column])[0])


def refine(coarse: Labels, scan: Volume) -> Labels:
    """Labels 1 and 2 of the coarse grid on the scan's: each is interpolated linearly and kept above a half."""
    turn = Reorientation.to_canonical(scan)
    labels = sparse_zeros(scan.shape, np.uint8)
    upright = turn.apply_array(labels)
    starts = _group_starts(scan, turn)
    centres = [(start + min(start + starts.step, len(upright)) - 1) / 2 for start in starts]
    places = np.interp(np.arange(len(upright)), centres, np.arange(len(centres)))
    for side in (1, 2):
        lung = (coarse == side).astype(np.float32)
        for z, place in enumerate(places):
            low, part = int(place), np.float32(place % 1)
            plane = lung[low] if part == 0 else (1 - part) * lung[low] + part * lung[low + 1]
            if plane.any():
                fine = cv2.resize(np.ascontiguousarray(plane), upright.shape[:0:-1]) > 0.5
                rows = np.flatnonzero(fine.any(axis=1))
                if len(rows):
                    # The two labels sum to 1 at most, so only one of them is above a half.
                    inside = slice(int(rows[0]), int(rows[-1]) + 1)
                    upright[z, inside] += fine[inside] * np.uint8(side)
    return labels


def _means(scan: Volume, turn: Reorientation) -> Image:
    """Means over boxes of about 2.5 mm in the turned axes."""
    # Head-foot first; to flip waits for the small grid, and costs nothing there.
    voxels = np.ascontiguousarray(scan.voxels.transpose(turn.axes))
    starts = _group_starts(scan, turn)
    spacing = np.array([scan.spacing_mm[a] for a in turn.axes])
    rows, columns = np.maximum(1, np.round(np.minimum(1, spacing[1:] / COARSE_MM) * voxels.shape[1:])).astype(int)
    out = np.empty((len(starts), rows, columns), np.float32)
    for k, start in enumerate(starts):
        first, last = start, min(start + starts.step, len(voxels))
        if turn.flips[0]:
            first, last = len(voxels) - last, len(voxels) - first
        plane = _unpadded(voxels[first:last]).mean(0, dtype=np.float32)
        out[k] = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)
        if k % max(1, planes_a_stretch(voxels) // starts.step) == 0:
            let_go(voxels)
    in_slice = tuple(axis for axis in (1, 2) if turn.flips[axis])
    return np.ascontiguousarray(np.flip(out, in_slice))


def _unpadded(voxels: NDArray[Any]) -> NDArray[Any]:
    if voxels.dtype == np.int16:  # as most scans are, and three times as fast
        return np.asarray(np.maximum(voxels, np.int16(PADDING_HU)))
    # fmax, unlike maximum, prefers the number to NaN.
    return np.asarray(np.fmax(voxels, np.float32(PADDING_HU)))


def _group_starts(scan: Volume, turn: Reorientation) -> range:
    """First slice, from the feet, of each group of slices that the coarse grid makes one of."""
    axis = turn.axes[0]
    return range(0, scan.shape[axis], max(1, round(COARSE_MM / scan.spacing_mm[axis])))


def _body(hu: Image) -> Mask:
    """The largest piece of tissue, after an opening that takes clothes and most of the couch away."""
    tissue, cross = (hu > AIR_HU).view(np.uint8), IN_SLICE[0].astype(np.uint8)
    opened = np.stack([cv2.morphologyEx(plane, cv2.MORPH_OPEN, cross) for plane in tissue])
    return np.asarray(cc3d.largest_k(opened, k=1, connectivity=6) > 0)
