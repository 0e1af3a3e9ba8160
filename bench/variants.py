"""One scan as others would have taken or stored it, for the stability of what is found in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from tumorspread import Volume
from tumorspread.data.host_noise import measure_noise
from tumorspread.scan.resampling import Resampling

SEED = 1000


def variants(scan: Volume) -> Iterator[tuple[str, Volume]]:
    """Thicker slices (means of thin ones), half a voxel's shift in all directions, mirrored storage, half the dose."""
    hu = scan.voxels.astype(np.float32)
    for slice_mm in (1.5, 2.5, 5.0):
        yield f"{slice_mm:g}mm", Resampling.to_spacing(scan, (slice_mm, *scan.spacing_mm[1:])).apply(scan)
    shifted = ndimage.shift(hu, (0.5, 0.5, 0.5), order=1, mode="nearest")
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (0.5, 0.5, 0.5)
    yield "shifted", Volume(np.round(shifted).astype(np.int16), affine)
    flip = scan.affine.copy()
    flip[:3, 3] += flip[:3, 2] * (scan.shape[2] - 1)
    flip[:, 2] *= -1
    yield "flipped", Volume(np.ascontiguousarray(scan.voxels[:, :, ::-1]), flip)
    # Half the dose is noise of sqrt 2: as much again as there is, added in squares.
    random = np.random.default_rng(SEED)
    grain = ndimage.gaussian_filter(random.standard_normal(scan.shape, np.float32), (0, 0.7, 0.7))
    noisy = hu + grain / grain.std() * measure_noise(hu, scan.spacing_mm).sd_hu
    yield "half_dose", scan.with_voxels(np.clip(np.round(noisy), -1024, 3071).astype(np.int16))


def resample_mask(mask: Volume, onto: Volume) -> np.ndarray:
    """A mask on the grid of another scan, cut at a half of its interpolation."""
    voxels = mask.voxels.astype(np.float32)
    out = np.zeros(onto.shape, bool)
    for z in range(onto.shape[0]):
        plane = np.moveaxis(np.indices(onto.shape[1:]), 0, -1)
        points = onto.to_world(np.concatenate([np.full((*plane.shape[:2], 1), z), plane], axis=-1))
        out[z] = ndimage.map_coordinates(voxels, np.moveaxis(mask.to_index(points), -1, 0), order=1) > 0.5
    return out
