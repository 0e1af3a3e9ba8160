"""Where a lesion lies, in the ways a page needs it to jump there."""

from __future__ import annotations

from typing import Any

import numpy as np

from tumorspread.viewer.case import Case
from tumorspread.viewer.edits import EditError


def place_of(case: Case, lesion: int) -> dict[str, Any]:
    """The middle of a lesion and its box, in NIfTI's order (x, y, z).

    Raises:
        EditError: there is none of that id.
    """
    with case.lock:
        found = next((one for one in case.findings.lesions if one.id == lesion), None)
        if found is None:
            raise EditError(f"there is no lesion {lesion}")
        box = case.lesions.boxes[lesion]
    x, y, z = found.centroid_mm
    index = case.scan.to_index(found.centroid_mm)
    shape = np.array(case.scan.shape)
    voxel = np.clip(np.rint(index), 0, shape - 1).astype(int)
    return {
        "id": lesion,
        "center_mm_ras": [-x, -y, z],
        "center_voxel": voxel[::-1].tolist(),
        # Of the whole volume, edge to edge: the centre of voxel 0 lies half a voxel inside.
        "center_fraction": ((index + 0.5) / shape)[::-1].tolist(),
        "box_voxel": [[edge.start for edge in box[::-1]], [edge.stop for edge in box[::-1]]],
        "largest_slice": found.axial_slice,
    }
