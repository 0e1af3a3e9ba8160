"""A picture of a case small enough that a table holds thousands."""

from __future__ import annotations

import io

import cv2
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.report.panel import SKY, lesion_style
from tumorspread.report.views import canonical
from tumorspread.scan.volume import Volume

SIZE = 192
PADDING_HU, BRIGHTEST_HU = -1024, 700
# Rows of the line of sight that are averaged: more change the picture by less than a grey level.
DEPTHS = 64
FILL, SHADE = 0.75, 0.18


def thumbnail(scan: Volume, lesions: Volume, lungs: Volume | None) -> bytes:
    """The lungs from the front with every lesion in its colour, as a WebP of at most 192 x 192 pixels.

    Args:
        scan: HU.
        lesions: label map on the scan's grid, ids from 1.
        lungs: label map on the scan's grid, above 0 inside the lungs; None where they are unknown.

    Returns:
        The patient's right is on the left and the head is up, whatever the orientation of the file.

    Raises:
        MaskError: a mask is not on the scan's grid.
    """
    turned, (labels, *others) = canonical(scan, lesions, *([lungs] if lungs else []))
    depth, _, width = turned.shape
    step_z, step_y, step_x = (max(1, n // most) for n, most in zip(turned.shape, (SIZE, DEPTHS, SIZE), strict=True))
    thin = turned.voxels[::step_z, ::step_y, ::step_x]
    mean = np.clip(thin, PADDING_HU, BRIGHTEST_HU).mean(axis=1, dtype=np.float32)
    low, high = np.percentile(mean, (1, 99.5))
    picture = np.repeat(np.clip((mean - low) / max(high - low, 1.0), 0, 1)[..., None], 3, axis=2)
    if others:
        shade = others[0][::step_z, ::step_y, ::step_x].max(axis=1) > 0
        _tint(picture, shade, SKY, SHADE)
    for number, box in enumerate(lesion_boxes(labels), 1):
        inside = (labels[box] == number).any(axis=1)
        rows, columns = np.nonzero(inside)
        hit = np.zeros(picture.shape[:2], bool)
        # Every voxel marks its pixel, so that no lesion is lost between two; the smallest are drawn larger.
        hit[(rows + box[0].start) // step_z, (columns + box[2].start) // step_x] = True
        if hit.sum() < 9:
            hit = cv2.dilate(hit.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
        _tint(picture, hit, lesion_style(number)[0], FILL)
    return _packed(picture, depth * turned.spacing_mm[0], width * turned.spacing_mm[2])


def _tint(picture: NDArray[np.float32], where: NDArray[np.bool_], colour: str, share: float) -> None:
    picture[where] = (1 - share) * picture[where] + share * np.array(to_rgb(colour), np.float32)


def _packed(picture: NDArray[np.float32], height_mm: float, width_mm: float) -> bytes:
    """Head up, pixels square, the longer edge 192."""
    scale = SIZE / max(height_mm, width_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    image = Image.fromarray(np.round(255 * picture[::-1]).astype(np.uint8))
    target = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(target, "WEBP", quality=80)
    return target.getvalue()
