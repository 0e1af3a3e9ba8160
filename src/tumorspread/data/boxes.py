"""Boxes that a radiologist drew around a tumour, slice by slice, and what of them is surely tumour.

The annotations of Lung-PET-CT-Dx (TCIA) are such boxes: a weak label, since a box holds lung and chest wall too.
"""

from __future__ import annotations

import csv
from pathlib import Path

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import DatasetError
from tumorspread.scan.volume import Volume

# Of the ellipse that a box holds: what lies outside may be anything. Air and most ground glass are below the density.
CORE, SOLID_HU = 0.85, -150.0
# Median over so many pixels: noise would tear the core of a sharp kernel.
SMOOTH_PIXELS = 5

SliceBox = tuple[int, tuple[int, int, int, int]]


def read_boxes(path: Path) -> dict[str, list[SliceBox]]:
    """Boxes by volume: slice, and first and last column and row in it, (x0, y0, x1, y1), on the grid of the file.

    Args:
        path: CSV with the columns volume, slice_index, xmin, ymin, xmax and ymax.

    Raises:
        DatasetError: it is not such a file.
    """
    boxes: dict[str, list[SliceBox]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                x0, y0, x1, y1 = (int(row[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
                boxes.setdefault(row["volume"], []).append((int(row["slice_index"]), (x0, y0, x1, y1)))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not a table of boxes ({error})") from error
    return boxes


def mark_core(scan: Volume, boxes: list[SliceBox]) -> NDArray[np.bool_]:
    """What is surely tumour: solid, in the middle of its box, in one piece.

    Args:
        scan: HU, (slices, rows, columns) as the boxes count them.
        boxes: of one tumour.

    Raises:
        DatasetError: a box is not within the scan, or nothing in them is solid.
    """
    solid = np.zeros(scan.shape, bool)
    for z, (x0, y0, x1, y1) in boxes:
        if not (0 <= z < scan.shape[0] and 0 <= y0 <= y1 < scan.shape[1] and 0 <= x0 <= x1 < scan.shape[2]):
            raise DatasetError(f"box {x0, y0, x1, y1} in slice {z} is not within the scan's {scan.shape} voxels")
        place = (z, slice(y0, y1 + 1), slice(x0, x1 + 1))
        smooth = cv2.medianBlur(np.ascontiguousarray(scan.voxels[place], np.float32), SMOOTH_PIXELS)
        rows, columns = (np.linspace(-1, 1, edge) for edge in smooth.shape)
        ellipse = np.hypot(rows[:, None], columns[None]) <= CORE
        solid[place] = ellipse & (smooth > SOLID_HU)
    if not solid.any():
        raise DatasetError("nothing in the boxes is solid; are they of this scan?")
    return np.asarray(cc3d.largest_k(solid, k=1, connectivity=26) > 0)
