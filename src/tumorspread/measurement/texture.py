"""Texture features by pyradiomics (van Griethuysen et al. 2017, doi:10.1158/0008-5472.CAN-17-0339), where installed.

Texture hangs on choices that a study must make; these are pyradiomics' own defaults (bins of 25 HU from the lesion's
minimum, no resampling, 26 neighbours at a distance of 1). Others: run pyradiomics or MIRP on `lesions.nii.gz`.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import TumorspreadError
from tumorspread.scan.volume import Triple

FAMILIES = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
BIN_HU = 25.0


def has_texture() -> bool:
    """Whether pyradiomics is installed."""
    return find_spec("radiomics") is not None


def texture_features(hu: NDArray[Any], mask: NDArray[np.bool_], spacing_mm: Triple) -> dict[str, float]:
    """Texture of one lesion, by names such as `pyradiomics_glcm_JointEntropy`.

    Args:
        hu: the box about the lesion, (z, y, x), finite inside the mask.
        mask: the lesion in that box.
        spacing_mm: distance between voxel centres along (z, y, x).

    Returns:
        Empty without pyradiomics, and for a lesion of one voxel; without those that are not finite.

    Raises:
        TumorspreadError: pyradiomics is installed and does not load, as one built for another numpy.
    """
    if not has_texture() or np.count_nonzero(mask) < 2:
        return {}
    image, region = (_as_image(array, spacing_mm) for array in (np.nan_to_num(hu).astype(np.float64), mask))
    found: dict[str, float] = {}
    for family in FAMILIES:
        features = _family(family)(image, region, label=1, binWidth=BIN_HU)
        features.enableAllFeatures()
        for name, value in features.execute().items():
            if np.isfinite(value):
                found[f"pyradiomics_{family}_{name}"] = float(value)
    return found


def _family(name: str) -> Any:
    """pyradiomics' class of that family; it warns of its own names unless told not to."""
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    try:
        return getattr(import_module(f"radiomics.{name}"), f"Radiomics{name.upper()}")
    except ImportError as error:
        text = f"pyradiomics is installed but does not load ({error}); mend or remove it, or leave out --radiomics"
        raise TumorspreadError(text) from error


def _as_image(array: NDArray[Any], spacing_mm: Triple) -> Any:
    import SimpleITK as sitk  # here, since it takes 90 MB that most analyses do without

    # A border of one voxel: pyradiomics looks at neighbours.
    image = sitk.GetImageFromArray(np.pad(array.astype(np.uint8) if array.dtype == bool else array, 1))
    image.SetSpacing(spacing_mm[::-1])
    return image
