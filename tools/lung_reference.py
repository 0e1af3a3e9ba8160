"""Slow and careful lungs at full resolution, to judge the fast ones by; shares no code with them.

Air below -450 HU, without what touches the edge of a slice; the airways grown from the trachea, 5 HU at a time,
until they burst into the lung; each side the largest piece that is left, closed by a ball of 8 mm in 3-D. It holds
for a supine chest of thin slices with both lungs apart. Look at the result before you believe it.
Usage: python tools/lung_reference.py SCAN [LABELS_TO_WRITE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.volume import Reorientation, Volume

Mask = NDArray[np.bool_]
AIR_HU, CLOSING_MM, WALL_MM = -450.0, 8.0, 2.0
# Above this the lumen of the airways has burst into the lung.
MOST_AIRWAYS_ML = 100.0


def main(path: Path, target: Path | None) -> None:
    """Print the volumes of both sides."""
    scan = read_nifti(path)
    turn = Reorientation.to_canonical(scan)
    straight = turn.apply(scan)
    labels = lungs(straight)
    for name, label in (("left", 1), ("right", 2)):
        print(f"{name}_ml {(labels == label).sum() * scan.voxel_ml:.0f}")
    if target:
        write_nifti(scan.with_voxels(np.ascontiguousarray(turn.invert_array(labels))), target)


def lungs(scan: Volume) -> NDArray[np.uint8]:
    """1 in the left lung and 2 in the right of a canonical scan."""
    hu = np.ascontiguousarray(scan.voxels).astype(np.float32)
    inside = inner_air(hu < AIR_HU)
    airways = grow_airways(np.where(inside, hu, 0), scan)
    pieces = ordered_pieces(inside & ~airways)
    out = np.zeros(hu.shape, np.uint8)
    for piece in (1, 2):
        lung = pieces == piece
        column = np.flatnonzero(lung.any((0, 1))).mean()
        side = 1 if scan.to_world((0, 0, column))[0] > middle_mm(scan, pieces) else 2
        out[closed(lung, scan) & (out == 0)] = side
    return out


def inner_air(air: Mask) -> Mask:
    """Air without the 2-D pieces that touch the edge of their slice."""
    kept = np.zeros_like(air)
    for z, plane in enumerate(air):
        pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(plane.astype(np.uint8))))
        edge = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
        kept[z] = plane & ~np.isin(pieces, edge)
    return kept


def grow_airways(hu: NDArray[np.float32], scan: Volume) -> Mask:
    """The lumen at the last threshold before it bursts, and the wall around it."""
    image, seed = sitk.GetImageFromArray(hu), trachea(hu)
    lumen = np.zeros(hu.shape, bool)
    for level in range(-970, -700, 5):
        grown = sitk.GetArrayFromImage(sitk.ConnectedThreshold(image, [seed[::-1]], -2000, level)) > 0
        ml = grown.sum() * scan.voxel_ml
        if ml > MOST_AIRWAYS_ML:
            break
        lumen = grown
    print(f"airways_ml {lumen.sum() * scan.voxel_ml:.1f}")
    radius = [max(1, round(WALL_MM / mm)) for mm in scan.spacing_mm[::-1]]
    return sitk.GetArrayFromImage(sitk.BinaryDilate(sitk.GetImageFromArray(lumen.astype(np.uint8)), radius)) > 0


def trachea(hu: NDArray[np.float32]) -> tuple[int, int, int]:
    """The darkest voxel of the highest slice whose inner air is one blob of 50 voxels and more."""
    for z in range(len(hu) - 1, -1, -1):
        if (hu[z] < -900).sum() >= 50:
            smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(hu[z]), 2.0))
            y, x = np.unravel_index(smooth.argmin(), smooth.shape)
            return z, int(y), int(x)
    sys.exit("no trachea in this scan")


def ordered_pieces(mask: Mask) -> NDArray[np.uint32]:
    """3-D pieces, 1 for the largest."""
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    return sitk.GetArrayFromImage(sitk.RelabelComponent(pieces))


def middle_mm(scan: Volume, pieces: NDArray[np.uint32]) -> float:
    """x half way between the two largest pieces."""
    columns = [np.flatnonzero((pieces == piece).any((0, 1))).mean() for piece in (1, 2)]
    return float(scan.to_world((0, 0, np.mean(columns)))[0])


def closed(lung: Mask, scan: Volume) -> Mask:
    """Closed by a ball, and filled where lung surrounds the hole."""
    radius = [max(1, round(CLOSING_MM / mm)) for mm in scan.spacing_mm[::-1]]
    image = sitk.BinaryMorphologicalClosing(sitk.GetImageFromArray(lung.astype(np.uint8)), radius)
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(image)) > 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
