"""Where in a chest a lung tumour may be: the lungs, the hollows in their outline, and a margin.

The bare outline of the lungs would cut off what grows at the chest wall, at the hilum or in place of lung.
"""

from __future__ import annotations

import cv2
import edt
import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.lungs import LEFT, RIGHT
from tumorspread.scan.volume import Triple

MARGIN_MM = 15.0


def lung_room(sides: NDArray[np.uint8], spacing_mm: Triple, margin_mm: float = MARGIN_MM) -> NDArray[np.bool_]:
    """The convex hull of each lung in each axial slice, grown by a margin in all directions.

    Args:
        sides: 1 in the left lung, 2 in the right, axes turned to (head, back, left).
        spacing_mm: distance between voxel centres along (z, y, x).
        margin_mm: of growth.

    Returns:
        bool on the same grid; all False without lungs.
    """
    hulls = np.zeros(sides.shape, np.uint8)
    for plane, hull in zip(sides, hulls, strict=True):
        for side in (LEFT, RIGHT):
            y, x = np.nonzero(plane == side)
            if len(y):
                points = cv2.convexHull(np.stack([x, y], axis=1).astype(np.int32))
                cv2.fillConvexPoly(hull, points, 1)
    if not hulls.any():
        return np.zeros(sides.shape, bool)
    return np.asarray(edt.edt(hulls == 0, anisotropy=spacing_mm) <= margin_mm)
