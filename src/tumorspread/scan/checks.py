"""The input gate: what must be true of a CT before a network sees it.

A network answers on anything: on an MR, on grey values, on a scan in cm. So the answer is refused here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import GeometryError, ReadError
from tumorspread.scan.pages import walk
from tumorspread.scan.volume import Remark, Reorientation, Volume

# Clinical CT lies within 0.2 to 10 mm; beyond, the unit is not mm.
SPACING_RANGE_MM = (0.1, 20.0)
MIN_PLANE_VOXELS = 8
# Less than this along an axis shows no chest.
MIN_EXTENT_MM = 30.0
THICK_SLICE_MM = 5.0

# Air in and around the body; padding outside the scanner's circle (-1500 to -3024) is not air.
AIR_HU = (-1250.0, -500.0)
TISSUE_HU = (-200.0, 200.0)
# Real chests and tight crops of them hold 30 % air and 20 % tissue at least.
MIN_SHARE = 0.01
# What 12-bit CT can hold.
HU_RANGE = (-1024.0, 3071.0)


def check_ct(volume: Volume) -> tuple[Remark, ...]:
    """Refuse what is no chest CT in HU; say what is unusual.

    Args:
        volume: the scan, in any orientation.

    Returns:
        Remarks with the codes `thick_slices` (further apart than 5 mm) and `outside_range_hu` (values below
        -1024 HU, usually padding, or above 3071, usually metal).

    Raises:
        GeometryError: a spacing outside 0.1 to 20 mm, fewer than 8 voxels across the axial plane, or less
            than 30 mm along an axis.
        ReadError: values that are NaN, infinite or not in HU.
    """
    upright = Reorientation.to_canonical(volume).apply(volume)
    _check_size(upright)
    low, high = _check_finite(upright.voxels)
    _check_hu(upright.voxels, low, high)
    return (*_thick(upright), *_outside(upright.voxels, low, high))


def _check_size(volume: Volume) -> None:
    spacing = [round(edge, 4) for edge in volume.spacing_mm]
    if not all(SPACING_RANGE_MM[0] <= edge <= SPACING_RANGE_MM[1] for edge in volume.spacing_mm):
        raise GeometryError(f"voxel spacing {spacing} mm (z, y, x); expected 0.1 to 20 mm, is the unit mm?")
    if min(volume.shape[1:]) < MIN_PLANE_VOXELS:
        raise GeometryError(f"{volume.shape} voxels (z, y, x); expected at least 8 along y and x")
    extent = [n * edge for n, edge in zip(volume.shape, volume.spacing_mm, strict=True)]
    if min(extent) < MIN_EXTENT_MM:
        shown = ", ".join(f"{length:.1f}" for length in extent)
        raise GeometryError(f"the scan covers {shown} mm (z, y, x); expected at least 30 mm of chest along each axis")


def _check_finite(voxels: NDArray[Any]) -> tuple[float, float]:
    ends = np.array([(plane.min(), plane.max()) for plane in walk(voxels)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if not np.isfinite([low, high]).all():
        wrong = int(voxels.size - np.isfinite(voxels).sum())
        raise ReadError(f"{wrong} of {voxels.size} voxels are NaN or infinite; expected numbers in HU")
    return low, high


def _check_hu(voxels: NDArray[Any], low: float, high: float) -> None:
    ranges = {"air": AIR_HU, "soft tissue": TISSUE_HU}
    counts, seen = dict.fromkeys(ranges, 0), 0
    for plane in walk(voxels):
        # A quarter of the voxels tell the share as well, in a quarter of the time.
        some = np.ascontiguousarray(plane[::2, ::2])
        seen += some.size
        for name, (start, stop) in ranges.items():
            counts[name] += int(np.count_nonzero((some > start) & (some < stop)))
    for name, (start, stop) in ranges.items():
        share = counts[name] / seen
        if share < MIN_SHARE:
            raise ReadError(
                f"not in HU, or not a chest: values {low:g} to {high:g}, and {100 * share:.1f} % between "
                f"{start:g} and {stop:g} HU ({name}); expected a chest CT in HU, for pictures give --window"
            )


def _thick(volume: Volume) -> list[Remark]:
    step = volume.spacing_mm[0]
    if step <= THICK_SLICE_MM + 1e-3:
        return []
    text = f"slices lie {step:.1f} mm apart; volumes and diameters of small lesions are uncertain above 5 mm"
    return [Remark("thick_slices", text)]


def _outside(voxels: NDArray[Any], low: float, high: float) -> list[Remark]:
    if low >= HU_RANGE[0] and high <= HU_RANGE[1]:
        return []
    outside = np.count_nonzero(voxels < HU_RANGE[0]) + np.count_nonzero(voxels > HU_RANGE[1])
    share = 100 * outside / voxels.size
    text = f"{share:.2g} % of the voxels lie outside -1024 to 3071 HU ({low:g} to {high:g}): padding or metal"
    return [Remark("outside_range_hu", text)]
