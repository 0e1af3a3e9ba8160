"""Lungs of boxes, in which every distance and volume is a formula."""

from __future__ import annotations

import numpy as np

from tumorspread.measurement.parts import Lungs

SPACING = (2.5, 1.25, 1.25)
SHAPE = (80, 120, 200)  # 200 x 150 x 250 mm
# Right lung from 20 to 95 mm along x, mediastinum of 60 mm, left lung from 155 to 230 mm; both 120 x 150 mm.
X_MM = {2: (20.0, 95.0), 1: (155.0, 230.0)}
Y_MM, Z_MM = (15.0, 135.0), (25.0, 175.0)
LUNGS = Lungs(1350.0, 1350.0, 2700.0)


def points_mm():
    """Places of the voxel centres along (z, y, x), mm from the edge of the grid."""
    return np.meshgrid(*[(np.arange(n) + 0.5) * s for n, s in zip(SHAPE, SPACING, strict=True)], indexing="ij")


def box_lungs():
    z, y, x = points_mm()
    sides = np.zeros(SHAPE, np.uint8)
    inside = (z > Z_MM[0]) & (z < Z_MM[1]) & (y > Y_MM[0]) & (y < Y_MM[1])
    for side, (low, high) in X_MM.items():
        sides[inside & (x > low) & (x < high)] = side
    return sides


def balls(*centres_and_radii):
    z, y, x = points_mm()
    mask = np.zeros(SHAPE, np.uint8)
    for (cz, cy, cx), radius in centres_and_radii:
        mask[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = 1
    return mask


def lobe_map():
    """Lobes of the box lungs: upper and lower halves, and a middle lobe in front on the right."""
    z, y, _ = points_mm()
    sides, lobes = box_lungs(), np.zeros(SHAPE, np.uint8)
    lobes[(sides == 1) & (z > 100)], lobes[(sides == 1) & (z <= 100)] = 1, 2
    lobes[(sides == 2) & (z > 100)], lobes[(sides == 2) & (z <= 100)] = 3, 5
    lobes[(sides == 2) & (z > 80) & (z < 120) & (y < 60)] = 4
    return lobes
