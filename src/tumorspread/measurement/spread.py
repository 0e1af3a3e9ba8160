"""All lesions together: how much, and how far apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tumorspread.measurement.parts import Burden, Lesion, Lungs, Reasons, Side, SideBurden, Spread

NO_LUNGS = "no lungs were found in this scan"
NO_LESIONS = "no lesion was found"
ONE_LESION = "needs two lesions or more"


def sum_burden(lesions: Sequence[Lesion], lungs: Lungs) -> Burden:
    """Count, volume, share of the lungs and sum of long axes over all lesions; zeros without lesions."""
    volume = sum(lesion.volume_ml for lesion in lesions)
    share, reasons = _share(volume, lungs.total_ml, lungs.reasons.get("total_ml", NO_LUNGS))
    return Burden(len(lesions), volume, share, sum(lesion.long_axis_mm for lesion in lesions), reasons)


def measure_spread(lesions: Sequence[Lesion], lungs: Lungs) -> Spread:
    """How the lesions are distributed.

    Args:
        lesions: largest first, as `measure_lesions` gives them.
        lungs: their volumes; where both sides are None the lesions cannot be given to one.

    Returns:
        Distances run between centroids, in mm. A lesion whose side is unknown counts on neither side.
    """
    reasons: Reasons = {}
    sides = _sides(lesions, lungs, reasons)
    dominant = lesions[0] if lesions else None
    total = sum(lesion.volume_ml for lesion in lesions)
    if dominant is None:
        reasons |= {"dominant_id": NO_LESIONS, "dominant_share_percent": NO_LESIONS}
    largest, mean = _distances(lesions, reasons)
    return Spread(
        left=sides.get("left"),
        right=sides.get("right"),
        sides_involved=sum(1 for side in sides.values() if side.count) if sides else None,
        dominant_id=dominant.id if dominant else None,
        dominant_share_percent=100 * dominant.volume_ml / total if dominant else None,
        largest_distance_mm=largest,
        mean_distance_to_dominant_mm=mean,
        reasons=reasons,
    )


def _sides(lesions: Sequence[Lesion], lungs: Lungs, reasons: Reasons) -> dict[Side, SideBurden]:
    if lungs.left_ml is None and lungs.right_ml is None:
        reason = lungs.reasons.get("left_ml", NO_LUNGS)
        reasons |= dict.fromkeys(("left", "right", "sides_involved"), reason)
        return {}
    lung_ml: dict[Side, float | None] = {"left": lungs.left_ml, "right": lungs.right_ml}
    return {side: _side(lesions, side, volume, lungs) for side, volume in lung_ml.items()}


def _side(lesions: Sequence[Lesion], side: Side, lung_ml: float | None, lungs: Lungs) -> SideBurden:
    here = [lesion for lesion in lesions if lesion.side == side]
    volume = sum(lesion.volume_ml for lesion in here)
    share, reasons = _share(volume, lung_ml, lungs.reasons.get(f"{side}_ml", NO_LUNGS))
    return SideBurden(len(here), volume, share, reasons)


def _share(volume_ml: float, lung_ml: float | None, reason: str) -> tuple[float | None, Reasons]:
    if not lung_ml:
        return None, {"lung_fraction_percent": reason}
    if volume_ml > lung_ml:
        return None, {"lung_fraction_percent": "more tumour than lung was found; is a lung collapsed?"}
    return 100 * volume_ml / lung_ml, {}


def _distances(lesions: Sequence[Lesion], reasons: Reasons) -> tuple[float | None, float | None]:
    if len(lesions) < 2:
        reason = ONE_LESION if lesions else NO_LESIONS
        reasons |= {"largest_distance_mm": reason, "mean_distance_to_dominant_mm": reason}
        return None, None
    centres = np.array([lesion.centroid_mm for lesion in lesions])
    # A row at a time: the full table of 5,000 lesions would be 200 MB.
    largest = max(float(np.linalg.norm(centres - centre, axis=1).max()) for centre in centres)
    return largest, float(np.linalg.norm(centres[1:] - centres[0], axis=1).mean())
