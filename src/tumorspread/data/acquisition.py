"""One scan as another scanner might have taken it: slices, pixels, kernel, dose, and a patient of another size.

Hosts are few, and a network that saw each in one guise only would learn the guise. A sharper kernel is an unsharp mask,
a lower dose is noise with the grain of the kernel, thicker slices are the mean of thin ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.scan.resampling import Resampling
from tumorspread.scan.volume import Triple, Volume

AIR_HU, MOST_HU = -1024.0, 3071.0


@dataclass(frozen=True)
class AcquisitionConfig:
    """What is drawn.

    Attributes:
        slice_mm: slice distances to draw from; one finer than the host's own leaves the host's.
        pixel_mm: finest pixel; coarser ones are kept.
        size: smallest and largest factor by which the patient grows.
        kernel_p: probability of another kernel, sharper or softer alike.
        dose_p: probability of a lower dose.
        noise_hu: smallest and largest standard deviation of the noise that this adds.
    """

    slice_mm: tuple[float, ...] = (0.0, 1.25, 2.0, 3.0, 5.0, 7.0)
    pixel_mm: float = 1.2
    size: tuple[float, float] = (0.86, 1.14)
    kernel_p: float = 0.5
    dose_p: float = 0.5
    noise_hu: tuple[float, float] = (5.0, 45.0)


def acquire(
    scan: Volume, labels: Volume, random: np.random.Generator, config: AcquisitionConfig = AcquisitionConfig()
) -> tuple[Volume, Volume]:
    """The scan and its label map as another acquisition.

    Args:
        scan: HU, axes (z, y, x) to head, back and left.
        labels: uint8 on the same grid, few labels.
        random: the same state gives the same result.
        config: what is drawn.

    Returns:
        Scan (int16) and labels (uint8) on a grid of their own.
    """
    step = Resampling.to_spacing(scan, _draw_spacing(scan.spacing_mm, random, config))
    hu = step.apply(scan)
    voxels = np.asarray(hu.voxels)
    if random.random() < config.kernel_p:
        voxels = _other_kernel(voxels, random)
    if random.random() < config.dose_p:
        voxels = voxels + random.uniform(*config.noise_hu) * _grain(voxels.shape, random)
    factor = random.uniform(*config.size)
    affine = hu.affine.copy()
    affine[:3, :3] *= factor
    taken = Volume(np.round(np.clip(voxels, AIR_HU, MOST_HU)).astype(np.int16), affine)
    return taken, taken.with_voxels(_resample_labels(labels, step))


def _draw_spacing(own_mm: Triple, random: np.random.Generator, config: AcquisitionConfig) -> Triple:
    slice_mm = max(own_mm[0], config.slice_mm[int(random.integers(len(config.slice_mm)))])
    return slice_mm, max(own_mm[1], config.pixel_mm), max(own_mm[2], config.pixel_mm)


def _other_kernel(voxels: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Blurred by up to 0.9 pixel, or sharpened by up to as much again as the blur takes away."""
    sigma = float(random.uniform(0.4, 0.9))
    blurred = np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in voxels])
    share = float(random.uniform(-1.2, 1.0))
    return np.asarray(voxels + share * (blurred - voxels), np.float32)


def _grain(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Noise of unit deviation, in slices as coarse as one kernel makes it."""
    noise = random.standard_normal(shape, np.float32)
    sigma = float(random.uniform(0.3, 0.9))
    noise = ndimage.gaussian_filter(noise, (0.0, sigma, sigma))
    return np.asarray(noise / noise.std(), np.float32)


def _resample_labels(labels: Volume, step: Resampling) -> NDArray[np.uint8]:
    """Each label by its own share of a voxel: most of a voxel decides."""
    result = np.zeros(step.target, np.uint8)
    best = np.full(step.target, 0.5, np.float32)
    for label in np.unique(labels.voxels[labels.voxels > 0]).tolist():
        share = step.apply(labels.with_voxels((labels.voxels == label).astype(np.uint8))).voxels
        wins = share >= best
        result[wins] = label
        best[wins] = share[wins]
    return result
