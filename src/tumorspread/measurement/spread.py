"""All lesions together: how much, and how far apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tumorspread.measurement.lesions import is_in_lungs
from tumorspread.measurement.parts import Burden, Lesion, LungPart, Lungs, PartBurden, Reasons, Side, SideBurden, Spread

# RECIST 1.1: two targets an organ; five in all cannot be reached with one organ.
TARGETS_AN_ORGAN = 2
ZONE_COUNT = 6
NO_LUNGS = "no lungs were found in this scan"
NO_LESIONS = "no lesion was found"
NEEDS_ZONES = "needs a lung that the scan shows from end to end, on both sides"
ONE_LESION = "needs two lesions or more"


def sum_burden(lesions: Sequence[Lesion], lungs: Lungs) -> Burden:
    """Count, volume, share of the lungs and sums of long axes over all lesions; zeros without lesions.

    Targets are chosen as RECIST 1.1 does (Eisenhauer et al. 2009, doi:10.1016/j.ejca.2008.10.026): the longest
    measurable lesions, at most two an organ and five in all. The two lungs are one organ.
    """
    volume = sum(lesion.volume_ml for lesion in lesions)
    in_lungs = sum(lesion.volume_ml for lesion in lesions if "outside_lungs" not in lesion.flags)
    share, reasons = _share(in_lungs, lungs.total_ml, lungs.reasons.get("total_ml", NO_LUNGS))
    # Of equal ones the larger, which comes first.
    measurable = sorted((n for n in lesions if n.recist_measurable), key=lambda n: -n.long_axis_mm)
    targets = measurable[:TARGETS_AN_ORGAN]
    if not targets:
        reasons["sum_of_target_axes_mm"] = "no lesion is measurable by RECIST 1.1" if lesions else NO_LESIONS
    return Burden(
        count=len(lesions),
        volume_ml=volume,
        lung_fraction_percent=share,
        sum_of_long_axes_mm=sum(lesion.long_axis_mm for lesion in lesions),
        reasons=reasons,
        target_ids=tuple(target.id for target in targets),
        sum_of_target_axes_mm=sum(target.long_axis_mm for target in targets) if targets else None,
    )


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
    parts = tuple(_part_burden(part, lesions) for part in lungs.parts)
    needs_zones = reasons.get("sides_involved", NEEDS_ZONES)
    return Spread(
        left=sides.get("left"),
        right=sides.get("right"),
        sides_involved=sum(1 for side in sides.values() if side.count) if sides else None,
        dominant_id=dominant.id if dominant else None,
        dominant_share_percent=100 * dominant.volume_ml / total if dominant else None,
        largest_distance_mm=largest,
        mean_distance_to_dominant_mm=mean,
        reasons=reasons,
        parts=parts,
        zones_involved=_involved(parts, "zone", ZONE_COUNT, needs_zones, reasons),
        lobes_involved=_involved(parts, "lobe", 1, "needs a lobe mask", reasons),
        satellite_ids=_satellites(lesions, reasons),
    )


def _part_burden(part: LungPart, lesions: Sequence[Lesion]) -> PartBurden:
    unplaced = [n for n in lesions if is_in_lungs(n) and _place(n, part.kind) is None and _may_lie_in(n, part)]
    if unplaced:
        reason = f"the {part.kind} of lesion {unplaced[0].id} is unknown"
        reasons = dict.fromkeys(("count", "volume_ml", "lung_fraction_percent"), reason)
        return PartBurden(part.kind, part.name, None, None, None, reasons)
    here = [n for n in lesions if part.name == _place(n, part.kind)]
    volume = sum(lesion.volume_ml for lesion in here)
    share, reasons = _share(volume, part.volume_ml, "this part has no volume")
    return PartBurden(part.kind, part.name, len(here), volume, share, reasons)


def _place(lesion: Lesion, kind: Literal["zone", "lobe"]) -> str | None:
    """The name of the part that holds a lesion; None where it is unknown."""
    if kind == "lobe":
        return lesion.lobe
    return None if lesion.side is None or lesion.zone is None else f"{lesion.side}_{lesion.zone}"


def _may_lie_in(lesion: Lesion, part: LungPart) -> bool:
    return lesion.side is None or part.name.startswith(lesion.side)


def _involved(parts: Sequence[PartBurden], kind: str, least: int, needs: str, reasons: Reasons) -> int | None:
    """How many zones or lobes hold a lesion; None unless at least so many parts of that kind are known."""
    known = [part for part in parts if part.kind == kind]
    if len(known) < least:
        reasons[f"{kind}s_involved"] = needs
        return None
    unknown = next((part.reasons["count"] for part in known if part.count is None), None)
    if unknown is not None:
        reasons[f"{kind}s_involved"] = unknown
        return None
    return sum(1 for part in known if part.count)


def _satellites(lesions: Sequence[Lesion], reasons: Reasons) -> tuple[int, ...] | None:
    """The other lesions in the dominant one's lobe."""
    if not lesions:
        reasons["satellite_ids"] = NO_LESIONS
        return None
    if not is_in_lungs(lesions[0]):
        reasons["satellite_ids"] = "the dominant lesion lies outside the lungs"
        return None
    lesions = [n for n in lesions if is_in_lungs(n)]
    lobe = lesions[0].lobe
    unknown = [n for n in lesions[1:] if n.lobe is None and n.side in (lesions[0].side, None)]
    if len(lesions) > 1 and (lobe is None or unknown):
        reasons["satellite_ids"] = "the lobe of the dominant lesion, or of another in its lung, is unknown"
        return None
    return tuple(lesion.id for lesion in lesions[1:] if lesion.lobe == lobe)


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
