"""The noise of a scan: measured in its soft tissue, and drawn anew with the same power spectrum.

A tumour without noise, or with noise of another grain, is found by its grain. Kernels differ in the colour of
their noise (a sharp one amplifies high frequencies), so the spectrum itself is measured, not a width.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from tumorspread.scan.volume import Shape, Triple

Field = NDArray[np.float32]

PATCH_MM, PATCH_VOXELS = 14.0, (6, 24)
SLICES, MOST_PATCHES = 20, 240
# Soft tissue, after a blur of 5 x 5 that keeps noise of 100 HU from breaking it up.
TISSUE_HU = (-60.0, 160.0)
# Of all patches these quantiles of the variance: anatomy adds variance above, chance takes some away below.
QUIET = (0.1, 0.6)
PROFILE = (0.6, 1.8)
BINS = 12
DEFAULT_SD_HU = 20.0


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Stationary noise, isotropic in the slice, and correlated from slice to slice.

    Attributes:
        sd_hu: standard deviation.
        amplitude: square root of the power at spatial frequencies 0 to sqrt(0.5) cycles a voxel, evenly spaced.
        along: correlation between neighbouring slices, 0 to 0.95.
        profile: factor on the standard deviation by slice; shoulders and liver let fewer photons through.
    """

    sd_hu: float
    amplitude: Field
    along: float
    profile: Field

    @property
    def blur_voxels(self) -> float:
        """Standard deviation of the Gaussian that would give white noise the same neighbour correlation."""
        line = np.fft.fftfreq(64)
        power = self._amplitude_at(np.hypot(line[:, None], line)) ** 2
        neighbour = float((power * np.cos(2 * np.pi * line)).sum() / power.sum())
        return float(np.sqrt(-0.25 / np.log(np.clip(neighbour, 0.06, 0.9))))

    def draw(self, random: np.random.Generator, shape: Shape, first: int = 0) -> Field:
        """A field of this noise, HU, float32, for the slices from `first` on."""
        rows, columns = fft.next_fast_len(shape[1]), fft.next_fast_len(shape[2], real=True)
        white = random.standard_normal((shape[0], rows, columns), dtype=np.float32)
        filter_ = self._amplitude_at(np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)))
        power = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns))
        scale = self.sd_hu / np.sqrt((self._amplitude_at(power) ** 2).mean())
        spectrum = fft.rfft2(white, axes=(1, 2)) * (filter_ * scale).astype(np.float32)
        noise = fft.irfft2(spectrum, (rows, columns), axes=(1, 2))[:, : shape[1], : shape[2]]
        fresh = np.float32(np.sqrt(1 - self.along**2))
        for z in range(1, shape[0]):
            noise[z] = np.float32(self.along) * noise[z - 1] + fresh * noise[z]
        return np.ascontiguousarray(noise * self.profile[first : first + shape[0], None, None], np.float32)

    def _amplitude_at(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(frequency, np.linspace(0, np.sqrt(0.5), len(self.amplitude)), self.amplitude)


def measure_noise(hu: NDArray[np.number], spacing_mm: Triple) -> NoiseModel:
    """The noise of a scan, from small patches of soft tissue that look homogeneous.

    Args:
        hu: (z, y, x), axes turned to (head, back, left).
        spacing_mm: along (z, y, x).

    Returns:
        The measured noise; white noise of 20 HU where the scan shows no homogeneous tissue.
    """
    size = int(np.clip(round(PATCH_MM / max(spacing_mm[1:])), *PATCH_VOXELS))
    slices = np.linspace(0, max(0, len(hu) - 2), SLICES).astype(int)
    found = [(z, p) for z in slices.tolist() for p in _patches(hu, z, size)]
    pairs = [p for _, p in found]
    if len(pairs) < 4:
        return NoiseModel(DEFAULT_SD_HU, np.ones(BINS, np.float32), 0.3, np.ones(len(hu), np.float32))
    patches = np.stack(pairs)
    residuals = patches - patches @ _plane_fit(size)
    variance = residuals[:, 0].var(axis=1)
    low, high = np.quantile(variance, QUIET)
    quiet = residuals[(variance >= low) & (variance <= high)]
    here, next_ = quiet[:, 0], quiet[:, 1]
    sd = float(np.sqrt((here**2).sum() / (len(here) * (size**2 - 3))))
    along = float((here * next_).sum() / max((here**2).sum(), 1e-6))
    profile = _profile(np.array([z for z, _ in found]), variance, len(hu))
    return NoiseModel(max(sd, 0.5), _spectrum(here.reshape(-1, size, size)), float(np.clip(along, 0, 0.95)), profile)


def _profile(slices: NDArray[np.int64], variance: NDArray[np.float32], count: int) -> Field:
    """The standard deviation by slice, smoothed over a tenth of the scan, relative to its mean."""
    known = np.unique(slices)
    level = np.array([np.quantile(variance[slices == z], 0.35) for z in known])
    line = np.interp(np.arange(count), known, np.sqrt(np.maximum(level, 1e-3)))
    line = ndimage.gaussian_filter1d(line, max(1.0, count / 10), mode="nearest")
    return np.asarray(np.clip(line / line.mean(), *PROFILE), np.float32)


def _patches(hu: NDArray[np.number], z: int, size: int) -> list[NDArray[np.float32]]:
    """Pairs of patches, (2, size * size), of slice z and the next one, on a grid of tissue."""
    planes = np.asarray(hu[z : z + 2], np.float32)
    if len(planes) < 2 or min(planes.shape[1:]) < size:
        return []
    soft = cv2.blur(planes[0], (5, 5))
    tissue = ((soft > TISSUE_HU[0]) & (soft < TISSUE_HU[1])).astype(np.uint8)
    filled = cv2.erode(tissue, np.ones((size, size), np.uint8), anchor=(0, 0), borderValue=0)
    rows, columns = np.nonzero(filled[::size, ::size])
    keep = np.linspace(0, len(rows) - 1, min(len(rows), MOST_PATCHES // SLICES)).astype(int)
    corners = zip(rows[keep] * size, columns[keep] * size, strict=True)
    return [planes[:, r : r + size, c : c + size].reshape(2, -1) for r, c in corners]


def _plane_fit(size: int) -> NDArray[np.float32]:
    """The projection of a flattened patch onto tilted planes."""
    line = np.arange(size) - (size - 1) / 2
    basis = np.stack([np.ones(size * size), np.repeat(line, size), np.tile(line, size)], axis=1)
    return np.asarray(basis @ np.linalg.pinv(basis), np.float32)


def _spectrum(patches: NDArray[np.float32]) -> Field:
    """Radial amplitude, `BINS` values from 0 to sqrt(0.5) cycles a voxel, mean 1."""
    size = patches.shape[1]
    window = np.outer(np.hanning(size + 2)[1:-1], np.hanning(size + 2)[1:-1])
    power = (np.abs(np.fft.fft2(patches * window)) ** 2).mean(axis=0)
    line = np.fft.fftfreq(size)
    frequency = np.hypot(line[:, None], line).ravel()
    centres = np.linspace(0, np.sqrt(0.5), BINS)
    near = np.exp(-0.5 * ((frequency - centres[:, None]) / 0.05) ** 2)
    radial = (near * power.ravel()).sum(axis=1) / near.sum(axis=1)
    return np.asarray(np.sqrt(radial / radial.mean()), np.float32)
