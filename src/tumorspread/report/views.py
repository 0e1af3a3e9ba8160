"""How a scan is looked at: planes, grey windows and frames, in radiological convention.

Everything here works on a canonical volume (z to the head, y to the back, x to the patient's left), so that
the letters at the edges of a picture are true by construction and not by the habits of a file format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.scan.pages import walk
from tumorspread.scan.volume import Reorientation, Shape, Triple, Volume

Box = tuple[slice, slice, slice]

# A tumour of a few voxels is still shown with enough anatomy around it to be recognised.
LEAST_FRAME_MM = 50.0
MARGIN_MM = 8.0


@dataclass(frozen=True)
class View:
    """One of the three planes, with rows along array axis `down` and columns along array axis `across`.

    Attributes:
        name: the radiologist's word for it.
        axis: the array axis one looks along.
        down: the array axis of the picture's rows.
        across: the array axis of the picture's columns.
        head_up: whether the rows are drawn from the bottom to the top.
        letters: the side of the body at the left, right, top and bottom edge.
    """

    name: str
    axis: int
    down: int
    across: int
    head_up: bool
    letters: tuple[str, str, str, str]

    def plane(self, voxels: NDArray[Any], index: int) -> NDArray[Any]:
        """The plane (rows, columns) of a canonical array at `index` along the line of sight."""
        if self.axis == 0:
            return np.asarray(voxels[index])
        return np.stack([plane.take(index, self.axis - 1) for plane in walk(voxels)])


# Axial planes are seen from the feet, coronal from the front, sagittal from the patient's left.
AXIAL = View("axial", 0, 1, 2, False, ("R", "L", "A", "P"))
CORONAL = View("coronal", 1, 0, 2, True, ("R", "L", "H", "F"))
SAGITTAL = View("sagittal", 2, 0, 1, True, ("A", "P", "H", "F"))
VIEWS = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True)
class Window:
    """The grey scale: `low` and below is black, `high` and above is white (HU for CT)."""

    name: str
    low: float
    high: float


LUNG = Window("lung window", -1350.0, 150.0)
SOFT_TISSUE = Window("soft-tissue window", -160.0, 240.0)


@dataclass(frozen=True)
class Frame:
    """The part that is shown, in mm along the canonical axes (z, y, x) from the centre of voxel 0.

    It may leave the grid; what lies outside is drawn black.
    """

    low_mm: Triple
    high_mm: Triple

    @classmethod
    def whole(cls, shape: Shape, spacing_mm: Triple) -> Frame:
        """The one that shows every voxel to its outer faces."""
        z, y, x = (step / 2 for step in spacing_mm)
        top, back, left = ((n - 0.5) * step for n, step in zip(shape, spacing_mm, strict=True))
        return cls((-z, -y, -x), (top, back, left))

    @classmethod
    def around(cls, box: Box, spacing_mm: Triple) -> Frame:
        """The cube around a box of voxels, with a margin."""
        low = np.array([part.start - 0.5 for part in box]) * spacing_mm
        high = np.array([part.stop - 0.5 for part in box]) * spacing_mm
        half = max(LEAST_FRAME_MM / 2, 0.6 * float((high - low).max()) + MARGIN_MM)
        z, y, x = (float(c) for c in (low + high) / 2)
        return cls((z - half, y - half, x - half), (z + half, y + half, x + half))


def check_masks(scan: Volume, *masks: Volume) -> None:
    """Refuse masks that do not belong to the scan.

    Raises:
        MaskError: a mask is not on the scan's grid.
    """
    for mask in masks:
        if not scan.same_grid(mask):
            raise MaskError(
                f"a mask of shape {mask.shape} is not on the grid of its scan, of shape {scan.shape}; "
                "expected the same voxels in the same place; resample the mask to the scan first"
            )


def canonical(scan: Volume, *masks: Volume) -> tuple[Volume, list[NDArray[Any]]]:
    """The scan in canonical axes, and the voxels of its masks in the same; views.

    Raises:
        MaskError: a mask is not on the scan's grid.
    """
    check_masks(scan, *masks)
    turn = Reorientation.to_canonical(scan)
    return turn.apply(scan), [turn.apply_array(mask.voxels) for mask in masks]


def canonical_slice(scan: Volume, turned: Volume, index: int) -> int:
    """The axial slice of the canonical volume that is slice `index` of the file. Inverse of `file_slice`."""
    along = Reorientation.to_canonical(scan).axes[0]
    return round(float(turned.to_index(scan.to_world(np.eye(3)[along] * index))[0]))


def file_slice(scan: Volume, turned: Volume, index: int) -> int:
    """The slice of the file, along its axis nearest to head-foot, that is axial slice `index` here."""
    along = Reorientation.to_canonical(scan).axes[0]
    return round(float(scan.to_index(turned.to_world([index, 0, 0]))[along]))


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box with every voxel of a boolean array (z, y, x); None for an empty one."""
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not planes.size:
        return None
    flat = np.asarray(mask[planes[0] : planes[-1] + 1].any(axis=0))
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    z, y, x = (slice(int(hit[0]), int(hit[-1]) + 1) for hit in (planes, rows, columns))
    return z, y, x


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The 26-connected piece with most voxels, as an array of the same shape; empty for an empty mask."""
    box = bounding_box(mask)
    piece = np.zeros(mask.shape, bool)
    if box is not None:
        labels = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=26)
        piece[box] = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return piece


def piece_around(mask: NDArray[np.bool_], seed: NDArray[np.bool_]) -> Box | None:
    """The box of the 26-connected pieces of `mask` that hold a voxel of `seed`; None where there are none."""
    box = bounding_box(mask)
    if box is None:
        return None
    labels = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=26)
    touched = np.setdiff1d(labels[seed[box]], [0])
    inside = bounding_box(np.isin(labels, touched))
    if inside is None:
        return None
    z, y, x = (slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inside, strict=True))
    return z, y, x


def fullest_planes(piece: NDArray[np.bool_]) -> Shape:
    """For each axis the index of the plane with most voxels of the piece; the middle where it is empty."""
    box = bounding_box(piece)
    if box is None:
        z, y, x = (n // 2 for n in piece.shape)
        return z, y, x
    inside = piece[box]
    counts = (inside.sum(axis=(1, 2)), inside.sum(axis=(0, 2)), inside.sum(axis=(0, 1)))
    z, y, x = (part.start + int(count.argmax()) for part, count in zip(box, counts, strict=True))
    return z, y, x
