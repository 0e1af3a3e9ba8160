"""Lungs that somebody else segmented, without the holes that tumours leave in them.

A model of lungs or lobes learned on healthy ones often leaves a tumour out. Taken as it is, the rim of that hole
would be read as pleura, and a nodule in the middle of a lung as one of the chest wall.
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from tumorspread.measurement.pieces import Box, lesion_boxes
from tumorspread.scan.volume import Triple

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]

# How far around a lesion lung is looked for: a rim that a model left out measured up to 4 mm.
REACH_MM = 5.0
# Half of the surroundings are lung where a mass sits on a flat chest wall.
SURROUNDED_SHARE = 0.5


def fill_lungs(sides: Labels, lesions: NDArray[np.integer], spacing_mm: Triple) -> Labels:
    """Each lung with its holes, and with the lesions that it mostly surrounds.

    Args:
        sides: 1 in the left lung and 2 in the right.
        lesions: label map 1..n on the same grid.
        spacing_mm: distance between voxel centres along (z, y, x).
    """
    out = sides.copy()
    for number, box in enumerate(lesion_boxes(lesions), 1):
        _close_over(out, lesions, number, box, spacing_mm)
    for side, side_box in enumerate(ndimage.find_objects(out, 2), 1):
        if side_box is not None:
            solid = np.pad(out[side_box] == side, 1)
            outside = cc3d.connected_components(~solid, connectivity=6)
            holes = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
            out[side_box][holes & (out[side_box] == 0)] = side
    return out


def fill_lobes(lobes: Labels, sides: Labels, spacing_mm: Triple) -> Labels:
    """The lobes grown over the rest of their lungs, each voxel by the nearest.

    Args:
        lobes: n in the n-th lobe.
        sides: as from `fill_lungs`; holds the lobes.
        spacing_mm: distance between voxel centres along (z, y, x).
    """
    out = lobes.copy()
    missing = (sides > 0) & (lobes == 0)
    for box in filter(None, ndimage.find_objects(missing.view(np.uint8))):
        wide = tuple(slice(max(0, b.start - 1), b.stop + 1) for b in box)
        for side in (1, 2):
            free = missing[wide] & (sides[wide] == side)
            rim = ndimage.binary_dilation(free) & (lobes[wide] > 0) & (sides[wide] == side)
            if free.any() and rim.any():
                # The way from a hole to the nearest lobe leaves the hole at its rim.
                nearest = cKDTree(np.argwhere(rim) * spacing_mm).query(np.argwhere(free) * spacing_mm, workers=-1)[1]
                out[wide][free] = lobes[wide][rim][nearest]
    return out


def _close_over(out: Labels, lesions: NDArray[np.integer], number: int, box: Box, spacing_mm: Triple) -> None:
    """Give a lesion, and the gap around it, to the lung that holds most of what lies around it."""
    pad = [int(np.ceil(3 * REACH_MM / mm)) for mm in spacing_mm]
    wide = tuple(slice(max(0, b.start - p), b.stop + p) for b, p in zip(box, pad, strict=True))
    here, inside = out[wide], lesions[wide] == number
    away_mm = _distance_mm(inside, spacing_mm)
    around = (away_mm > 0) & (away_mm <= REACH_MM)
    shares = np.bincount(here[around], minlength=3)[1:] / max(int(around.sum()), 1)
    side = int(shares.argmax()) + 1
    if shares.max() < SURROUNDED_SHARE or (here[around | inside] == side).all():
        return
    held = (here == side) | inside
    reached = _distance_mm(held, spacing_mm) <= REACH_MM
    closed = (_distance_mm(~reached, spacing_mm) > REACH_MM) | inside
    here[closed & (away_mm <= REACH_MM) & (here == 0)] = side


def _distance_mm(mask: Mask, spacing_mm: Triple) -> NDArray[np.float32]:
    """To the nearest voxel of the mask; infinite without one."""
    return np.asarray(edt.edt(np.ascontiguousarray(~mask), anisotropy=spacing_mm), np.float32)
