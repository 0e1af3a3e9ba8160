"""Augmentation of patches: each change with its probability in the config.

MONAI's transforms do the work, and each draws from one seeded stream, so a patch is a function of its seed.
Simulated thick slices are ours: MONAI's low resolution blurs all axes, a thick slice only one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    MapTransform,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandomizableTransform,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from torch import Tensor
from torch.nn import functional

from tumorspread.errors import RecipeError


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities (0 to 1) and ranges. Grey values are those of the network's input, -1..1.

    Attributes:
        enabled: False gives the patches as they are.
        affine_p: probability of rotation and scaling together (one interpolation).
        rotate_degrees: largest rotation in the axial plane, either way.
        tilt_degrees: largest rotation out of the axial plane, either way (3-D).
        scale: largest relative change of size, either way.
        flip_p: probability of a flip, for each of `flip_axes`.
        flip_axes: axes that may be flipped, 0 the slowest. Upside down the spleen is a mass on the diaphragm.
        noise_p: probability of Gaussian noise.
        noise_sd: its largest standard deviation.
        blur_p: probability of a Gaussian blur (a smoother kernel).
        blur_voxels: its largest standard deviation in voxels.
        contrast_p: probability of a change of gamma.
        gamma: range of gamma.
        intensity_p: probability of scaling and, independently, of shifting the grey values.
        intensity_scale: largest relative change.
        intensity_shift: largest shift.
        thick_p: probability of simulated thick slices (3-D).
        thick_slices: largest number of slices averaged into one.
    """

    enabled: bool = True
    affine_p: float = 0.5
    rotate_degrees: float = 20.0
    tilt_degrees: float = 8.0
    scale: float = 0.2
    flip_p: float = 0.5
    flip_axes: tuple[int, ...] = (0, 1, 2)
    noise_p: float = 0.2
    noise_sd: float = 0.06
    blur_p: float = 0.15
    blur_voxels: float = 1.0
    contrast_p: float = 0.2
    gamma: tuple[float, float] = (0.75, 1.35)
    intensity_p: float = 0.2
    intensity_scale: float = 0.15
    intensity_shift: float = 0.08
    thick_p: float = 0.15
    thick_slices: int = 4

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        wrong = [k for k, v in vars(self).items() if k.endswith("_p") and not 0 <= v <= 1]
        if wrong:
            raise RecipeError(f"augment.{wrong[0]} {getattr(self, wrong[0])}: expected a probability, 0 to 1")
        if not set(self.flip_axes) <= {0, 1, 2}:
            raise RecipeError(f"augment.flip_axes {self.flip_axes}: expected axes 0 to 2")
        if not 0 <= self.scale < 1 or self.thick_slices < 2 or not 0 < self.gamma[0] <= self.gamma[1]:
            raise RecipeError("augment: expected 0 <= scale < 1, thick_slices >= 2 and 0 < gamma low <= high")

    @property
    def margin(self) -> float:
        """How much larger than the patch its source must be, so that turning it shows no invented border."""
        return 1.25 if self.enabled and self.affine_p > 0 else 1.0


class Augmentation:
    """Augments patches of one size; see `AugmentConfig`.

    Args:
        config: probabilities and ranges.
        size: edges of the patch that comes out, (z, y, x) or (y, x).
    """

    def __init__(self, config: AugmentConfig, size: tuple[int, ...]) -> None:
        self.config = config
        self.size = size
        self.steps = _spatial(config, size) + _intensity(config, len(size))
        # One stream for all steps: seeding each of them anew took half of a small patch's time.
        self.random = np.random.RandomState(0)
        for step in self.steps:
            step.set_random_state(state=self.random)

    def __call__(self, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Augmented (image, mask) of shape (1, *size).

        Args:
            image: (1, *space) float32, `config.margin` times the patch or larger.
            mask: (1, *space) float32 in {0, 1}.
            seed: the same seed gives the same patch.
        """
        if not self.config.enabled:
            return self._centre(image), self._centre(mask)
        self.random.seed(seed % 2**32)
        changed = {"image": image, "mask": mask}
        with _plain_tensors():
            for step in self.steps:
                changed = step(changed)
        return changed["image"].clamp(-1, 1), (changed["mask"] > 0.5).float()

    def _centre(self, array: Tensor) -> Tensor:
        places = [slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(array.shape[1:], self.size, strict=True)]
        return array[(slice(None), *places)].contiguous()


class RandThickSlicesd(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """Averages groups of slices along z and interpolates back: the look of a scan with thicker slices.

    The mask stays: the reader of the thick scan would still outline the tumour, and the network learns to.
    """

    def __init__(self, keys: str, *, prob: float, most: int) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.most = most

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """The dictionary with its image thickened, or as it came."""
        self.randomize(None)
        factor = int(self.R.randint(2, self.most + 1))
        if not self._do_transform:
            return data
        changed = dict(data)
        for key in self.key_iterator(changed):
            image = changed[key][None]
            thick = functional.avg_pool3d(image, (factor, 1, 1), ceil_mode=True, count_include_pad=False)
            changed[key] = functional.interpolate(thick, image.shape[2:], mode="trilinear")[0]
        return changed


def _spatial(config: AugmentConfig, size: tuple[int, ...]) -> list[Any]:
    turn, tilt = np.deg2rad(config.rotate_degrees), np.deg2rad(config.tilt_degrees)
    angles = (turn,) if len(size) == 2 else (turn, tilt, tilt)
    affine = RandAffined(
        ("image", "mask"),
        prob=config.affine_p,
        rotate_range=[(-a, a) for a in angles],
        scale_range=[(-config.scale, config.scale)] * len(size),
        spatial_size=size,
        mode="bilinear",  # the mask too: it is cut at a half afterwards, which keeps outlines smooth
        padding_mode="border",
    )
    flips = [
        RandFlipd(("image", "mask"), prob=config.flip_p, spatial_axis=axis)
        for axis in config.flip_axes
        if axis < len(size)
    ]
    return [affine, *flips]


def _intensity(config: AugmentConfig, dims: int) -> list[Any]:
    blur = (0.3, config.blur_voxels)
    steps: list[Any] = [
        RandGaussianSmoothd("image", prob=config.blur_p, sigma_x=blur, sigma_y=blur, sigma_z=blur),
        RandScaleIntensityd("image", factors=config.intensity_scale, prob=config.intensity_p),
        RandShiftIntensityd("image", offsets=config.intensity_shift, prob=config.intensity_p),
        RandAdjustContrastd("image", prob=config.contrast_p, gamma=config.gamma),
        RandGaussianNoised("image", prob=config.noise_p, std=config.noise_sd),
    ]
    if dims == 3:
        steps.insert(0, RandThickSlicesd("image", prob=config.thick_p, most=config.thick_slices))
    return steps


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """MONAI's tensors carry a history that costs a third of the time and would be copied with every patch."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)
