"""Density of one lesion: what its Hounsfield units say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Padding outside the scanner's circle is -3024 or lower on some machines and would drag means down.
PADDING_HU = -1024.0
# Solid parts of part-solid nodules agree best with readers at -300 HU (Scholten et al. 2015,
# doi:10.1007/s00330-014-3427-z); below -750 HU lies lung that is not even ground glass.
SOLID_HU, GROUND_GLASS_HU = -300.0, -750.0


@dataclass(frozen=True)
class Density:
    """Density of one lesion.

    Attributes:
        mean_hu: mean.
        sd_hu: standard deviation of the population of its voxels.
        percentiles_hu: 5th, 25th, 50th, 75th and 95th, linearly interpolated.
        solid_percent: share of its voxels at or above -300 HU.
        ground_glass_percent: share of its voxels from -750 to below -300 HU.
        mass_g: sum over voxels of volume times (HU + 1000) / 1000 g/mL (de Hoop et al. 2010, Radiology
            255:199-206); what is lighter than air counts as nothing.
    """

    mean_hu: float
    sd_hu: float
    percentiles_hu: tuple[float, float, float, float, float]
    solid_percent: float
    ground_glass_percent: float
    mass_g: float


def measure_density(values: NDArray[np.generic], voxel_ml: float) -> Density | None:
    """Measure the density of the voxels of one lesion.

    Args:
        values: HU of its voxels, one or more; padding below -1024 counts as -1024.
        voxel_ml: volume of one voxel.

    Returns:
        None where a value is not a number.
    """
    # As float64 first: an unsigned type, as grey images have, does not take a negative number.
    hu = np.maximum(values.astype(np.float64), PADDING_HU)
    if not np.isfinite(hu).all():
        return None
    p5, p25, p50, p75, p95 = np.percentile(hu, (5, 25, 50, 75, 95)).tolist()
    solid = hu >= SOLID_HU
    return Density(
        mean_hu=float(hu.mean()),
        sd_hu=float(hu.std()),
        percentiles_hu=(p5, p25, p50, p75, p95),
        solid_percent=100 * float(solid.mean()),
        ground_glass_percent=100 * float(((hu >= GROUND_GLASS_HU) & ~solid).mean()),
        mass_g=float(np.maximum(1 + hu / 1000, 0.0).sum()) * voxel_ml,
    )
