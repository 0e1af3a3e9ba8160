"""A tumour that the network makes one with liver or spleen, parted from what lies below the lungs."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.measurement.room import LEAST_ABOVE_LUNG, Room, boxed

# The probabilities at which such a piece is tried to fall apart, and how much of a part the network must be so sure of.
CUTS, LEAST_PART_ML = (0.7, 0.85, 0.95), 5.0


def part_from_below(
    piece: NDArray[np.integer], probability: NDArray[np.float32], room: Room
) -> NDArray[np.integer] | None:
    """The part of a piece that has lung beneath, where the network is less sure of what joins it to the rest.

    Args:
        piece: flat indices of a connected piece that the room does not hold.
        probability: of each voxel of the grid, 0..1.
        room: on the same grid.

    Returns:
        Flat indices of all that lies nearer to such parts than to others; None where at none of `CUTS` some parts of
        `LEAST_PART_ML` have lung beneath a fifth of them and others do not.
    """
    box, inside = boxed(piece, probability.shape)
    sure, below = np.where(inside, probability[box], 0), room.below[box]
    for cut in CUTS:
        parts = cc3d.connected_components(np.ascontiguousarray(sure > cut))
        voxels = np.bincount(parts.reshape(-1))
        beneath = np.bincount(parts.reshape(-1), weights=~below.reshape(-1))
        rises = (voxels * room.voxel_ml >= LEAST_PART_ML) & (beneath >= LEAST_ABOVE_LUNG * voxels)
        rises[0] = False
        if rises.any() and not rises[1:].all():
            nearest = ndimage.distance_transform_edt(
                parts == 0, room.spacing_mm, return_distances=False, return_indices=True
            )
            taken = np.nonzero(inside & rises[parts[tuple(nearest)]])
            starts = tuple(one.start for one in box)
            at = tuple(place + start for place, start in zip(taken, starts, strict=True))
            return np.asarray(np.ravel_multi_index(at, probability.shape))
    return None
