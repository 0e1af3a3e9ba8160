"""From two pictures of the lungs to the way between them: where to begin, affine, then deformable.

The lungs drive it. All tissue outside them is given one value, so that what is matched is the lungs' surface and the
vessels inside, not ribs that stay while the lungs breathe. Affine by correlation, then symmetric diffeomorphic demons
(Vercauteren et al. 2009, doi:10.1016/j.neuroimage.2008.10.040) on a grid of 2.5 mm.

One of the two may show a part of the lungs only, so every step compares them where both show something: matching what
one does not show would squeeze whole lungs into half of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tumorspread.scan.volume import Volume

GRID_MM, MARGIN_MM = 2.5, 20.0
SEED = 1
AIR_HU, TISSUE_HU = -1000.0, 100.0
# Coarse to fine: how much the grid shrinks, and demons at that level.
LEVELS = ((4, 80), (2, 80), (1, 60))
SMOOTHING_VOXELS = 1.5
# An image of lung masks alone has edges only; some blur gives demons a slope to climb.
MASK_BLUR_MM = 4.0
# Slices with less air than this share of the fullest are the rounded ends of a lung.
END_SHARE = 0.08
AGREEMENT_BLUR_MM = 3.0
IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


@dataclass(frozen=True)
class Picture:
    """A scan as it is registered: on a grid of 2.5 mm around the lungs, with one value outside them.

    Attributes:
        image: SimpleITK's, -1000 for air to 100 for tissue.
        shown: 1 where the scan has voxels, on the same grid.
    """

    image: Any
    shown: Any

    @property
    def air(self) -> Any:
        """0 for tissue to 1 for air; 0 where nothing is shown."""
        return (TISSUE_HU - self.image) * (1 / (TISSUE_HU - AIR_HU)) * sitk.Cast(self.shown, sitk.sitkFloat32)


def make_picture(scan: Volume | None, lungs: Volume | None) -> Picture:
    """The picture of a scan; of the outline of the lungs alone where the scan is not at hand.

    Args:
        scan: HU.
        lungs: above 0 in the lungs, with at least one such voxel; None where they are unknown.

    Raises:
        ValueError: neither is given.
    """
    frame = lungs if lungs is not None else scan
    if frame is None:
        raise ValueError("registration needs a scan or its lungs")
    ends = np.array([[0, n - 1] for n in frame.shape])
    if lungs is not None:
        filled = [np.flatnonzero((lungs.voxels > 0).any(tuple({0, 1, 2} - {a}))) for a in range(3)]
        ends = np.array([[f[0], f[-1]] for f in filled])
    grid = _grid(frame, ends)
    ones = frame.with_voxels(np.ones(frame.shape, np.uint8))
    shown = sitk.Resample(to_image(ones), grid, IDENTITY, sitk.sitkNearestNeighbor, 0)
    if lungs is None:
        return Picture(_clipped(frame, grid), shown)
    inside = _onto(lungs.with_voxels((lungs.voxels > 0).astype(np.float32)), grid, 0.0)
    if scan is None:
        return Picture(sitk.DiscreteGaussian(inside * (AIR_HU - TISSUE_HU) + TISSUE_HU, MASK_BLUR_MM**2), shown)
    return Picture(_clipped(scan, grid) * inside + TISSUE_HU * (1.0 - inside), shown)


def align(fixed: Picture, moving: Picture, *, by_lungs: bool) -> Any:
    """The transform from points of the fixed picture to those of the moving one, LPS mm.

    Args:
        fixed: of the one scan.
        moving: of the other.
        by_lungs: whether the pictures show lungs alone, so that their tops and bottoms mean something.

    Returns:
        The best by `agreement` of where it began, affine, and deformed after that.
    """
    start = max(_starts(fixed, moving, by_lungs=by_lungs), key=lambda way: agreement(fixed, moving, way))
    affine = _affine(fixed, moving, start)
    better = max((affine, start), key=lambda way: agreement(fixed, moving, way))
    deformed = _deformed(fixed, moving, better)
    return max((deformed, better), key=lambda way: agreement(fixed, moving, way))


def agreement(fixed: Picture, moving: Picture, way: Any) -> float:
    """Correlation of what both show, 0..1, times the share of the smaller lungs that both show.

    Without the share a sliver in which both are air would agree best.
    """
    soft = [sitk.DiscreteGaussian(picture.image, AGREEMENT_BLUR_MM**2) for picture in (fixed, moving)]
    one = sitk.GetArrayFromImage(soft[0])
    other = sitk.GetArrayFromImage(sitk.Resample(soft[1], soft[0], way, sitk.sitkLinear, TISSUE_HU))
    shown = sitk.Resample(moving.shown, fixed.image, way, sitk.sitkNearestNeighbor, 0)
    common = (sitk.GetArrayFromImage(shown) > 0) & (sitk.GetArrayFromImage(fixed.shown) > 0)
    a, b = one[common], other[common]
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    air = [float(sitk.GetArrayFromImage(picture.air).sum()) for picture in (fixed, moving)]
    both = float((TISSUE_HU - a).sum() + (TISSUE_HU - b).sum()) / 2 / (TISSUE_HU - AIR_HU)
    return max(0.0, float(np.corrcoef(a, b)[0, 1])) * min(1.0, both / max(min(air), 1.0))


def to_image(volume: Volume) -> Any:
    """The volume as SimpleITK's image, whose world is LPS mm as ours."""
    voxels = volume.voxels
    image = sitk.GetImageFromArray(voxels.view(np.uint8) if voxels.dtype == bool else np.ascontiguousarray(voxels))
    # Columns of the affine go by (z, y, x); SimpleITK counts (x, y, z).
    image.SetSpacing(volume.spacing_mm[::-1])
    image.SetDirection(volume.directions[:, ::-1].ravel().tolist())
    image.SetOrigin(volume.to_world((0, 0, 0)).tolist())
    return image


def _clipped(scan: Volume, grid: Any) -> Any:
    hu = np.nan_to_num(scan.voxels.astype(np.float32), nan=AIR_HU)
    return _onto(scan.with_voxels(np.clip(hu, AIR_HU, TISSUE_HU)), grid, TISSUE_HU)


def _grid(frame: Volume, ends: NDArray[np.intp]) -> Any:
    """An empty image of 2.5 mm along the axes of the world, wider than the box between two indices an axis."""
    corners = frame.to_world(np.array(list(product(*ends))))
    low, high = corners.min(axis=0) - MARGIN_MM, corners.max(axis=0) + MARGIN_MM
    grid = sitk.Image(np.maximum(1, np.ceil((high - low) / GRID_MM)).astype(int).tolist(), sitk.sitkFloat32)
    grid.SetSpacing([GRID_MM] * 3)
    grid.SetOrigin(low.tolist())
    return grid


def _onto(volume: Volume, grid: Any, outside: float) -> Any:
    """Linearly interpolated after a blur that keeps fine slices from aliasing."""
    image = sitk.Cast(to_image(volume), sitk.sitkFloat32)
    sigmas = [max(0.0, 0.4 * (GRID_MM - mm)) for mm in image.GetSpacing()]
    if max(sigmas) > 0:
        image = sitk.DiscreteGaussian(image, [max(s, 1e-3) ** 2 for s in sigmas])
    return sitk.Resample(image, grid, IDENTITY, sitk.sitkLinear, outside)


def _starts(fixed: Picture, moving: Picture, *, by_lungs: bool) -> list[Any]:
    """As they lie; the centres of the air together; and of lungs the tops together, and the bottoms."""
    one, other = _middle(fixed), _middle(moving)
    if one is None or other is None:
        return [sitk.TranslationTransform(3)]
    shifts = [np.zeros(3), other.centre - one.centre]
    if by_lungs:
        shifts += [np.append(shifts[1][:2], b - a) for a, b in zip(one.ends_mm, other.ends_mm, strict=True)]
    return [sitk.TranslationTransform(3, shift.tolist()) for shift in shifts]


@dataclass(frozen=True)
class _Middle:
    """Centre of the air of a picture, and where it begins and ends towards the head; LPS mm."""

    centre: NDArray[np.float64]
    ends_mm: tuple[float, float]


def _middle(picture: Picture) -> _Middle | None:
    air = sitk.GetArrayFromImage(picture.air)
    if air.sum() == 0:
        return None
    sums = [air.sum(axis=tuple({0, 1, 2} - {axis})) for axis in (2, 1, 0)]
    origin, spacing = np.array(picture.image.GetOrigin()), np.array(picture.image.GetSpacing())
    index = [float((s * np.arange(len(s))).sum() / s.sum()) for s in sums]
    filled = np.flatnonzero(sums[2] > END_SHARE * sums[2].max())
    low, high = (float(origin[2] + spacing[2] * n) for n in (filled[0], filled[-1]))
    return _Middle(origin + spacing * index, (low, high))


def _affine(fixed: Picture, moving: Picture, start: Any) -> Any:
    """Affine by correlation of what both show."""
    first = sitk.AffineTransform(3)
    first.SetTranslation(start.GetOffset())
    middle = _middle(fixed)
    if middle is not None:
        first.SetCenter(middle.centre.tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(fixed.shown)
    method.SetMetricMovingMask(moving.shown)
    method.SetMetricSamplingStrategy(method.REGULAR)
    # Regular samples are jittered; by the clock, a second run in one process moved places by a tenth of a mm.
    method.SetMetricSamplingPercentage(0.25, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 120, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(first, inPlace=False)
    try:
        return method.Execute(fixed.image, moving.image)
    except RuntimeError:  # the two share nothing, or so little that a step leaves it
        return first


def _deformed(fixed: Picture, moving: Picture, start: Any) -> Any:
    """The transform so far and after it a displacement field, coarse to fine."""
    warped = sitk.Resample(moving.image, fixed.image, start, sitk.sitkLinear, TISSUE_HU)
    both = fixed.shown * sitk.Resample(moving.shown, fixed.image, start, sitk.sitkNearestNeighbor, 0)
    share = sitk.Cast(both, sitk.sitkFloat32)
    # Where one shows nothing both are alike, and nothing pulls.
    warped = warped * share + fixed.image * (1.0 - share)
    field = None
    for shrink, rounds in LEVELS:
        one, other = (_shrunk(image, shrink) for image in (fixed.image, warped))
        if field is None:
            field = sitk.Image(one.GetSize(), sitk.sitkVectorFloat64)
            field.CopyInformation(one)
        field = sitk.Resample(field, one, IDENTITY, sitk.sitkLinear)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(rounds)
        demons.SetStandardDeviations(SMOOTHING_VOXELS)
        demons.SetSmoothDisplacementField(True)
        field = demons.Execute(one, other, field)
    # The last given is applied first: a fixed point is displaced, then goes through the transform so far.
    return sitk.CompositeTransform([start, sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))])


def _shrunk(image: Any, factor: int) -> Any:
    if factor == 1:
        return image
    blurred = sitk.SmoothingRecursiveGaussian(image, 0.5 * factor * GRID_MM)
    return sitk.Shrink(blurred, [min(factor, n) for n in image.GetSize()])
