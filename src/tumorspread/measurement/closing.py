"""What belongs to a lung though it holds no air: vessels, notches at the hilum, tumours inside and at the pleura.

A closing wide enough for a mass of 8 cm would swallow the heart. So narrow gaps are closed, and wide ones filled
only where the directions in which lung is seen are those of a mass. One lung at a time, on the coarse grid with
its axes turned to (head, back, left).
"""

from __future__ import annotations

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray

from tumorspread.scan.volume import Triple

Mask = NDArray[np.bool_]

CLOSING_RADIUS_MM = 10.0
# Between lung below and lung above: the aortic arch has more between them, the largest real mass had 66 mm.
MASS_HEIGHT_MM = 100.0
# Hilar vessels and the rim of the mediastinum gave strips thinner than 10 mm and pieces of up to 1.8 mL.
MASS_RADIUS_MM, SMALLEST_MASS_ML = 5.0, 5.0
CORNER_RADIUS_MM, CORNER_DEPTH_MM = 40.0, 15.0


def close_lung(lung: Mask, tissue: Mask, spacing_mm: Triple, *, left: bool) -> Mask:
    """One lung with the masses it surrounds, its notches up to 20 mm wide closed slice by slice, its holes filled.

    Args:
        lung: air of one lung, (head, back, left).
        tissue: where a mass may lie: neither air nor the other lung.
        spacing_mm: of that grid.
        left: whether it is the patient's left lung.
    """
    mass = find_masses(lung, tissue, spacing_mm, left=left)
    closed = lung | mass
    for z in np.flatnonzero(mass.any((1, 2))):
        closed[z] |= tissue[z] & _corners(closed[z], mass[z], spacing_mm, left=left)
    disc = _disc(CLOSING_RADIUS_MM, spacing_mm)
    closed = np.stack([_closed(plane, disc) for plane in closed])
    # The margin joins the outside to one piece.
    outside = cc3d.connected_components(np.pad(~closed, 1, constant_values=True), connectivity=6)
    return np.asarray((outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1])


def find_masses(lung: Mask, tissue: Mask, spacing_mm: Triple, *, left: bool) -> Mask:
    """Tissue that this lung surrounds as it does a mass, however wide, even at the chest wall; often none.

    Lung must lie above and below it, no more than 10 cm apart, and
    - towards the midline and in front or behind, or
    - at the side, with the chest wall behind.
    The heart, the great vessels and the hilum see lung behind and at the side; the dome of the diaphragm and an
    effusion see none below. So a mass at the very apex, on the diaphragm or at the front of the hilum is not found.
    """
    front, back, medial, lateral = _seen_in_slice(lung, left=left)
    around = (medial & (front | back)) | (lateral & ~back)
    mass = tissue & around & (_heights(lung) * np.float32(spacing_mm[0]) <= MASS_HEIGHT_MM)
    disc = _disc(MASS_RADIUS_MM, spacing_mm)
    mass = np.stack([cv2.morphologyEx(plane.view(np.uint8), cv2.MORPH_OPEN, disc) for plane in mass])
    pieces = cc3d.connected_components(mass, connectivity=6)
    large = np.bincount(pieces.ravel()) * float(np.prod(spacing_mm)) / 1000 >= SMALLEST_MASS_ML
    large[0] = False
    return np.asarray(large[pieces])


def _corners(lung: Mask, mass: Mask, spacing_mm: Triple, *, left: bool) -> Mask:
    """What lies in a slice between a mass and the ribs, where too little lung is seen; the aorta sees more."""
    front, back, medial, lateral = _seen_in_slice(lung, left=left)
    near = cv2.dilate(mass.view(np.uint8), _disc(CORNER_DEPTH_MM, spacing_mm)) > 0
    at_ribs = near & (front | medial) & ~(lateral & back)
    return np.asarray(at_ribs & _closed(lung, _disc(CORNER_RADIUS_MM, spacing_mm)))


def _seen_in_slice(lung: Mask, *, left: bool) -> tuple[Mask, Mask, Mask, Mask]:
    """Whether a voxel sees lung to the front, the back, the midline and the side; for slices or a slice."""

    def seen(axis: int, backwards: bool) -> Mask:
        turned = np.flip(lung, axis) if backwards else lung
        reached = np.logical_or.accumulate(turned, axis=axis)
        return np.asarray(np.flip(reached, axis) if backwards else reached)

    return seen(-2, False), seen(-2, True), seen(-1, not left), seen(-1, left)


def _heights(lung: Mask) -> NDArray[np.int16]:
    """Slices from the nearest lung below a voxel to the nearest above; 15000 and more without either."""
    z = np.arange(len(lung), dtype=np.int16)[:, None, None]
    far = np.int16(15000)
    below = np.maximum.accumulate(np.where(lung, z, -far), axis=0)
    above = np.minimum.accumulate(np.where(lung, z, far)[::-1], axis=0)[::-1]
    return np.asarray(above - below, np.int16)


def _disc(radius_mm: float, spacing_mm: Triple) -> NDArray[np.uint8]:
    y, x = (max(1, round(radius_mm / mm)) for mm in spacing_mm[1:])
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * x + 1, 2 * y + 1)), np.uint8)


def _closed(plane: Mask, disc: NDArray[np.uint8]) -> Mask:
    """The closing of one slice; the margin keeps it from reaching for the edge of the image."""
    y, x = (n // 2 for n in disc.shape)
    padded = np.pad(plane.view(np.uint8), ((y, y), (x, x)))
    return np.asarray(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)[y:-y, x:-x] > 0)
