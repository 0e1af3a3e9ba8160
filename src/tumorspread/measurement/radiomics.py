"""IBSI features of one lesion by name: first order and shape (Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145).

Texture comes from pyradiomics, where it is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.density import PADDING_HU
from tumorspread.measurement.parts import Lesion
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.measurement.shape import LesionShape, measure_shape
from tumorspread.measurement.texture import texture_features
from tumorspread.scan.volume import Volume

Values = NDArray[np.float64]


def add_features(lesions: Sequence[Lesion], scan: Volume, labels: Volume) -> tuple[Lesion, ...]:
    """The lesions with their features.

    Args:
        lesions: as measured.
        scan: HU; padding below -1024 counts as -1024.
        labels: label map on the scan's grid, ids as in `lesions`.

    Returns:
        The same lesions with `radiomics` filled; shape alone where a value is not a number.
    """
    boxes = lesion_boxes(labels.voxels)
    return tuple(
        replace(lesion, radiomics=lesion_features(lesion, boxes[lesion.id - 1], scan, labels)) for lesion in lesions
    )


def lesion_features(lesion: Lesion, box: tuple[slice, ...], scan: Volume, labels: Volume) -> dict[str, float]:
    """The features of one lesion by name; arguments as for `add_features`, with the box about it."""
    inside = labels.voxels[box] == lesion.id
    features = shape_features(measure_shape(inside, labels.spacing_mm), 1000 * lesion.volume_ml)
    hu = np.maximum(scan.voxels[box].astype(np.float64), PADDING_HU)
    if not np.isfinite(hu[inside]).all():
        return features
    return features | first_order_features(hu[inside]) | texture_features(hu, inside, scan.spacing_mm)


def shape_features(shape: LesionShape, voxel_volume_mm3: float) -> dict[str, float]:
    """Shape features by their IBSI names; mm, mm2 and mm3. What one voxel does not have is left out.

    Args:
        shape: of the lesion.
        voxel_volume_mm3: voxel count times voxel volume.
    """
    volume, area = shape.mesh_volume_mm3, shape.surface_mm2
    major, minor, least = shape.axes_mm
    features = {
        "volume_mesh": volume,
        "volume_voxel_counting": voxel_volume_mm3,
        "surface_area": area,
        "surface_to_volume_ratio": area / volume,
        "compactness_1": volume / (np.sqrt(np.pi) * area**1.5),
        "compactness_2": 36 * np.pi * volume**2 / area**3,
        "spherical_disproportion": 1 / shape.sphericity,
        "sphericity": shape.sphericity,
        "asphericity": 1 / shape.sphericity - 1,
        "maximum_3d_diameter": shape.max_3d_mm,
        "major_axis_length": major,
        "minor_axis_length": minor,
        "least_axis_length": least,
    }
    if shape.elongation is not None and shape.flatness is not None:
        features |= {"elongation": shape.elongation, "flatness": shape.flatness}
    return {name: float(value) for name, value in features.items()}


def first_order_features(values: Values) -> dict[str, float]:
    """Intensity-based statistics by their IBSI names; HU, and HU2 for the variance and the energy.

    Args:
        values: HU of the voxels of the lesion, finite, one or more.

    Returns:
        Without those that the values do not define: skewness and kurtosis of equal values, a share of 0, a robust
        deviation of so few values that none lies between the percentiles.
    """
    mean, median, variance = values.mean(), np.median(values), values.var()
    p10, p25, p75, p90 = np.percentile(values, (10, 25, 75, 90))
    middle = values[(values >= p10) & (values <= p90)]
    energy = np.square(values).sum()
    features = {
        "mean": mean,
        "variance": variance,
        "median": median,
        "minimum": values.min(),
        "percentile_10": p10,
        "percentile_90": p90,
        "maximum": values.max(),
        "interquartile_range": p75 - p25,
        "range": np.ptp(values),
        "mean_absolute_deviation": np.abs(values - mean).mean(),
        "median_absolute_deviation": np.abs(values - median).mean(),
        "energy": energy,
        "root_mean_square": np.sqrt(energy / len(values)),
    }
    if len(middle):
        features["robust_mean_absolute_deviation"] = np.abs(middle - middle.mean()).mean()
    if variance > 0:
        offsets = (values - mean) / np.sqrt(variance)
        features |= {"skewness": (offsets**3).mean(), "excess_kurtosis": (offsets**4).mean() - 3}
    if mean:
        features["coefficient_of_variation"] = np.sqrt(variance) / mean
    if p75 + p25:
        features["quartile_coefficient_of_dispersion"] = (p75 - p25) / (p75 + p25)
    return {name: float(value) for name, value in features.items()}
