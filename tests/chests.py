"""A lung over the dome of a liver, in numbers: which of what a network marks there is tumour?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def chest_with_a_dome(
    spacing_mm: tuple[float, float, float],
    mass_mm: tuple[float, float, float] | None = None,
    radius_mm: float = 30.0,
    depth_mm: float = 35.0,
) -> tuple[NDArray[np.uint8], Mask, Mask]:
    """A lung 150 mm wide over the dome of the liver, whose top lies 85 mm above the feet of the scan, and a ball.

    Args:
        spacing_mm: along (z, y, x) of the 200 mm that the scan shows of each.
        mass_mm: centre of the ball, (z, y, x); None for none.
        radius_mm: of the ball.
        depth_mm: how high above the feet of the scan begins what a network might mark of the dome.

    Returns:
        The sides, what a network might mark of the dome, and the ball.
    """
    shape = tuple(int(200 / mm) for mm in spacing_mm)
    z, y, x = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(shape, spacing_mm, strict=True)), indexing="ij")
    axis_mm = np.hypot(y - 100, x - 100)
    liver = np.hypot(axis_mm, z - 20) < 65
    ball = np.zeros(shape, bool)
    if mass_mm is not None:
        ball = np.sqrt((z - mass_mm[0]) ** 2 + (y - mass_mm[1]) ** 2 + (x - mass_mm[2]) ** 2) < radius_mm
    lung = (axis_mm < 75) & (z > 40) & ~liver & ~ball
    return lung.astype(np.uint8), liver & (z > depth_mm) & (axis_mm < 45), ball
