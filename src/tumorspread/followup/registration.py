"""From a place in one scan to the same place in another of the same patient: affine, then deformable.

How the way is found stands in `alignment`; here is what it is good for, and how far it can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from tumorspread.followup.alignment import AIR_HU, IDENTITY, align, make_picture, to_image
from tumorspread.scan.volume import Remark, Volume

# Fixed-point steps of the way back; each takes most of what is left of an error.
INVERSE_STEPS = 25
# Below this overlap of the lungs nothing that follows can be trusted.
POOR_DICE = 0.9


@dataclass(frozen=True, eq=False)
class Registration:
    """How the points of one scan lie in another.

    Attributes:
        transform: SimpleITK's, from LPS mm in the fixed scan to LPS mm in the moving one.
        dice_before: overlap of the lungs where the two scans lie, of what both show; None where one has no lungs.
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
    return Registration(IDENTITY, None, None, ())


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
    pictures = [
        make_picture(scan if by_scans else None, lungs if by_lungs else None)
        for scan, lungs in ((fixed, fixed_lungs), (moving, moving_lungs))
    ]
    transform = align(*pictures, by_lungs=by_lungs)
    dice: tuple[float | None, float | None] = (None, None)
    if fixed_lungs is not None and moving_lungs is not None:
        dice = (_dice(fixed_lungs, moving_lungs, IDENTITY), _dice(fixed_lungs, moving_lungs, transform))
    return Registration(transform, *dice, tuple(_remarks(by_scans, by_lungs, *dice)))


def _dice(fixed: Volume, moving: Volume, transform: Any) -> float:
    """Overlap of the lungs where both scans show something; 0 where they show nothing in common."""
    # 1 outside the lungs and 2 inside, so that 0 is where the moving scan shows nothing.
    levels = moving.with_voxels((moving.voxels > 0).astype(np.uint8) + np.uint8(1))
    brought = sitk.Resample(to_image(levels), to_image(fixed), transform, sitk.sitkNearestNeighbor, 0)
    found = sitk.GetArrayViewFromImage(brought)
    one, other = (fixed.voxels > 0) & (found > 0), found > 1
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
