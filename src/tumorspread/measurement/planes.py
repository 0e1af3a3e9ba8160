"""The size that the T category goes by: the longest diameter in an axial, a coronal or a sagittal plane.

RECIST measures in axial slices alone; the T category takes the greatest dimension, on whichever of the three planes
shows it (Travis et al. 2016, doi:10.1016/j.jtho.2016.03.025, for the eighth edition; the ninth keeps it).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.parts import Plane
from tumorspread.measurement.precision import axis_error_mm
from tumorspread.measurement.size import longest_diameter
from tumorspread.scan.volume import Triple

# The axis that runs through a plane, and the two within it, of (head, back, left).
WITHIN: dict[Plane, tuple[int, int, int]] = {"coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


@dataclass(frozen=True)
class PlaneDiameter:
    """The longest diameter within a plane, mm, and its error bar."""

    plane: Plane
    length_mm: float
    error_mm: float


def longest_in_planes(mask: NDArray[np.bool_], spacing_mm: Triple, axial: PlaneDiameter) -> PlaneDiameter:
    """The longest diameter of a lesion in an axial, coronal or sagittal plane.

    Slices are often wider apart than pixels, so that the greatest of three would as a rule be one that runs through
    slices, and too long: a ball of 18 mm on slices of 2.5 mm seems to measure 20.4 mm. So another plane is taken only
    where its diameter is longer than the axial one by more than its own error bar. A smaller excess widens the bar.

    Args:
        mask: bool, axes turned to (head, back, left), not empty.
        spacing_mm: distance between voxel centres along them.
        axial: the longest in an axial plane, measured already.
    """
    extent_mm = np.array(mask.shape) * spacing_mm
    # What is flatter than that cannot hold a longer one.
    planes = [p for p, axes in WITHIN.items() if float(np.linalg.norm(extent_mm[list(axes[1:])])) > axial.length_mm]
    others = [_longest(mask.transpose(WITHIN[plane]), spacing_mm, plane) for plane in planes]
    longer = [other for other in others if other.length_mm - other.error_mm > axial.length_mm]
    if longer:
        return max(longer, key=lambda other: round(other.length_mm, 6))
    excess_mm = max((other.length_mm - axial.length_mm for other in others), default=0.0)
    return replace(axial, error_mm=max(axial.error_mm, excess_mm))


def _longest(slices: NDArray[np.bool_], spacing_mm: Triple, plane: Plane) -> PlaneDiameter:
    _, row, column = WITHIN[plane]
    pixel_mm = spacing_mm[row], spacing_mm[column]
    index, length_mm, _ = longest_diameter(slices, pixel_mm)
    beside = [slices[i : i + 1] for i in (index - 1, index + 1) if 0 <= i < len(slices) and slices[i].any()]
    to_next_mm = max((length_mm - longest_diameter(one, pixel_mm)[1] for one in beside), default=0.0)
    count = int(slices.any(axis=(1, 2)).sum())
    return PlaneDiameter(plane, length_mm, axis_error_mm(length_mm, max(pixel_mm), count, to_next_mm))
