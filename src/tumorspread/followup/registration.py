"""From a place in one scan to the same place in another of the same patient: affine, then deformable.

The lungs drive it. All tissue outside them is given one value, so that what is matched is the lungs' surface and the
vessels inside, not ribs that stay while the lungs breathe. Affine by correlation, then symmetric diffeomorphic demons
(Vercauteren et al. 2009, doi:10.1016/j.neuroimage.2008.10.040) on a grid of 2.5 mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from tumorspread.scan.volume import Remark, Volume

GRID_MM = 2.5
AIR_HU, TISSUE_HU = -1000.0, 100.0
# Coarse to fine: how much the grid shrinks, and demons at that level.
LEVELS = ((4, 80), (2, 80), (1, 60))
SMOOTHING_VOXELS = 1.5
# Fixed-point steps of the way back; each takes most of what is left of an error.
INVERSE_STEPS = 25
# Below this overlap of the lungs nothing that follows can be trusted.
POOR_DICE = 0.9
# An image of lung masks alone has edges only; some blur gives demons a slope to climb.
MASK_BLUR_MM = 4.0


@dataclass(frozen=True, eq=False)
class Registration:
    """How the points of one scan lie in another.

    Attributes:
        transform: SimpleITK's, from LPS mm in the fixed scan to LPS mm in the moving one.
        dice_before: overlap of the lungs where the two scans lie; None where a scan has no lungs.
        dice_after: the same after registration.
        remarks: codes `registration_poor`, `registered_by_lungs_alone`, `registered_without_lungs`.
    """

    transform: Any
    dice_before: float | None
    dice_after: float | None
    remarks: tuple[Remark, ...]

    def map_points(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 3) of the moving scan, LPS mm, where those of the fixed one are found."""
        points = np.asarray(points_mm, dtype=np.float64)
        moved = [self.transform.TransformPoint(p) for p in points.reshape(-1, 3).tolist()]
        return np.array(moved, dtype=np.float64).reshape(points.shape)

    def map_back(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 3) of the fixed scan, LPS mm, where those of the moving one are found; by iteration."""
        wanted = np.asarray(points_mm, dtype=np.float64)
        points = wanted.copy()
        for _ in range(INVERSE_STEPS):
            points += wanted - self.map_points(points)
        return points

    def bring(self, moving: Volume, fixed: Volume, *, outside: float = 0.0) -> Volume:
        """The moving label map on the grid of the fixed scan, nearest voxel by nearest voxel."""
        return self._resampled(moving, fixed, sitk.sitkNearestNeighbor, outside)

    def bring_scan(self, moving: Volume, fixed: Volume, *, outside: float = AIR_HU) -> Volume:
        """The moving scan on the grid of the fixed one, linearly interpolated."""
        return self._resampled(moving, fixed, sitk.sitkLinear, outside)

    def _resampled(self, moving: Volume, fixed: Volume, how: int, outside: float) -> Volume:
        image = sitk.Resample(to_image(moving), to_image(fixed), self.transform, how, outside)
        return fixed.with_voxels(sitk.GetArrayFromImage(image))


def unregistered() -> Registration:
    """The scans as they lie: every point is found where it is."""
    return Registration(sitk.Transform(3, sitk.sitkIdentity), None, None, ())


def register(
    fixed: Volume | None, moving: Volume | None, fixed_lungs: Volume | None, moving_lungs: Volume | None
) -> Registration:
    """Register two scans of one patient.

    Args:
        fixed: HU; None where only the lungs are at hand.
        moving: the same patient at another time.
        fixed_lungs: above 0 in the lungs, on the grid of the fixed scan; None where they are unknown.
        moving_lungs: likewise.

    Returns:
        The way from the fixed scan's points to those of the moving one.

    Raises:
        ValueError: neither both scans nor both lungs were given.
    """
    by_lungs = fixed_lungs is not None and moving_lungs is not None
    by_scans = fixed is not None and moving is not None
    if not by_lungs and not by_scans:
        raise ValueError("registration needs two scans, or the lungs of both")
    pair = (fixed if by_scans else None, fixed_lungs if by_lungs else None)
    images = _prepared(*pair), _prepared(moving if by_scans else None, moving_lungs if by_lungs else None)
    transform = _affine(*images)
    transform = _deformed(*images, transform)
    dice: tuple[float | None, float | None] = (None, None)
    if fixed_lungs is not None and moving_lungs is not None:
        identity = sitk.Transform(3, sitk.sitkIdentity)
        dice = (_dice(fixed_lungs, moving_lungs, identity), _dice(fixed_lungs, moving_lungs, transform))
    return Registration(transform, *dice, tuple(_remarks(by_scans, by_lungs, *dice)))


def to_image(volume: Volume) -> Any:
    """The volume as SimpleITK's image, whose world is LPS mm as ours."""
    voxels = volume.voxels
    image = sitk.GetImageFromArray(voxels.view(np.uint8) if voxels.dtype == bool else np.ascontiguousarray(voxels))
    # Columns of the affine go by (z, y, x); SimpleITK counts (x, y, z).
    image.SetSpacing(volume.spacing_mm[::-1])
    image.SetDirection(volume.directions[:, ::-1].ravel().tolist())
    image.SetOrigin(volume.to_world((0, 0, 0)).tolist())
    return image


def _prepared(scan: Volume | None, lungs: Volume | None) -> Any:
    """The image that is registered: on a grid of 2.5 mm, around the lungs, with one value outside them."""
    if lungs is None:
        return _clipped(scan, _grid(scan, np.array([[0, n - 1] for n in scan.shape]))) if scan is not None else None
    filled = [np.flatnonzero((lungs.voxels > 0).any(tuple({0, 1, 2} - {a}))) for a in range(3)]
    grid = _grid(lungs, np.array([[f[0], f[-1]] for f in filled]))
    inside = _onto(lungs.with_voxels((lungs.voxels > 0).astype(np.float32)), grid, 0.0)
    if scan is None:
        return sitk.DiscreteGaussian(inside * (AIR_HU - TISSUE_HU) + TISSUE_HU, MASK_BLUR_MM**2)
    return _clipped(scan, grid) * inside + TISSUE_HU * (1.0 - inside)


def _clipped(scan: Volume, grid: Any) -> Any:
    hu = np.nan_to_num(scan.voxels.astype(np.float32), nan=AIR_HU)
    return _onto(scan.with_voxels(np.clip(hu, AIR_HU, TISSUE_HU)), grid, TISSUE_HU)


def _grid(frame: Volume, ends: NDArray[np.intp]) -> Any:
    """An empty image of 2.5 mm along the axes of the world, 20 mm wider than the box between two indices an axis."""
    corners = frame.to_world(np.stack(np.meshgrid(*ends), -1).reshape(-1, 3))
    low, high = corners.min(axis=0) - 20, corners.max(axis=0) + 20
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
    return sitk.Resample(image, grid, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, outside)


def _affine(fixed: Any, moving: Any) -> Any:
    """Affine by correlation, from where the centres of the air meet."""
    shift = sitk.CenteredTransformInitializer(
        TISSUE_HU - fixed, TISSUE_HU - moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.25)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 120, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(shift, inPlace=False)
    return method.Execute(fixed, moving)


def _deformed(fixed: Any, moving: Any, start: Any) -> Any:
    """The affine transform and after it a displacement field, coarse to fine."""
    warped = sitk.Resample(moving, fixed, start, sitk.sitkLinear, TISSUE_HU)
    field = None
    for shrink, rounds in LEVELS:
        one, other = (_shrunk(image, shrink) for image in (fixed, warped))
        if field is None:
            field = sitk.Image(one.GetSize(), sitk.sitkVectorFloat64)
            field.CopyInformation(one)
        field = sitk.Resample(field, one, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(rounds)
        demons.SetStandardDeviations(SMOOTHING_VOXELS)
        demons.SetSmoothDisplacementField(True)
        field = demons.Execute(one, other, field)
    # The last given is applied first: a fixed point is displaced, then goes through the affine transform.
    return sitk.CompositeTransform([start, sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))])


def _shrunk(image: Any, factor: int) -> Any:
    if factor == 1:
        return image
    blurred = sitk.SmoothingRecursiveGaussian(image, 0.5 * factor * GRID_MM)
    return sitk.Shrink(blurred, [min(factor, n) for n in image.GetSize()])


def _dice(fixed: Volume, moving: Volume, transform: Any) -> float:
    brought = sitk.Resample(
        to_image(moving.with_voxels((moving.voxels > 0).astype(np.uint8))),
        to_image(fixed), transform, sitk.sitkNearestNeighbor, 0,
    )  # fmt: skip
    one, other = fixed.voxels > 0, sitk.GetArrayViewFromImage(brought) > 0
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / max(1, total)


def _remarks(by_scans: bool, by_lungs: bool, before: float | None, after: float | None) -> list[Remark]:
    remarks = []
    if not by_scans:
        text = "the scans were not at hand: registered by the outline of the lungs, not by the vessels inside"
        remarks.append(Remark("registered_by_lungs_alone", text))
    if not by_lungs:
        remarks.append(Remark("registered_without_lungs", "one scan shows no lungs: the whole images were matched"))
    if after is not None and before is not None and (after < POOR_DICE or after < before):
        text = f"the lungs overlap by a Dice of {after:.2f} after registration ({before:.2f} before): check the matches"
        remarks.append(Remark("registration_poor", text))
    return remarks
