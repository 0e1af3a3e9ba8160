"""Response by RECIST 1.1, and by volume.

Eisenhauer et al. 2009, doi:10.1016/j.ejca.2008.10.026: targets 4.3.1, others 4.3.3, overall response in tables 1
and 2. The volumetric limits are those of a ball whose diameter changes by -30 % and +20 %: -65.7 % and +72.8 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TargetResponse = Literal["CR", "PR", "SD", "PD", "NE"]
OtherResponse = Literal["CR", "non-CR/non-PD", "PD", "NE", "none"]
OverallResponse = Literal["CR", "PR", "SD", "non-CR/non-PD", "PD", "NE"]

PARTIAL, PROGRESSIVE, ABSOLUTE_MM = -0.30, 0.20, 5.0
VOLUME_PARTIAL, VOLUME_PROGRESSIVE = 0.7**3 - 1, 1.2**3 - 1


@dataclass(frozen=True)
class TargetSum:
    """The sum of the targets' long axes at one time.

    Attributes:
        sum_mm: of those that could be evaluated.
        present: whether any target is still there.
        is_whole: whether all could be evaluated.
    """

    sum_mm: float
    present: bool
    is_whole: bool = True


def target_response(sums: Sequence[TargetSum]) -> TargetResponse:
    """Response of the targets at the last of some time points.

    Args:
        sums: baseline first.

    Returns:
        CR: all gone. PD: 20 % and 5 mm above the smallest sum so far, the baseline included. PR: 30 % below the
        baseline. SD: neither. NE: a target could not be evaluated and what was does not make PD.
    """
    baseline, last = sums[0], sums[-1]
    nadir = min(s.sum_mm for s in sums[:-1] if s.is_whole)
    grown = last.sum_mm - nadir
    if last.present and _at_least(grown, ABSOLUTE_MM) and _at_least(grown, PROGRESSIVE * nadir):
        return "PD"
    if not last.is_whole:
        return "NE"
    if not last.present:
        return "CR"
    return "PR" if _at_least(PARTIAL * baseline.sum_mm, last.sum_mm - baseline.sum_mm) else "SD"


def overall_response(targets: TargetResponse | None, others: OtherResponse, *, has_new: bool) -> OverallResponse | None:
    """Overall response: table 1 of RECIST 1.1, and table 2 where there are no targets.

    Args:
        targets: response of the targets; None where the baseline has none.
        others: of the non-targets; `none` where there are none.
        has_new: whether there is a new lesion.

    Returns:
        None where the baseline had no lesion and there is no new one.
    """
    if has_new or "PD" in (targets, others):
        return "PD"
    if targets is None:
        return None if others == "none" else others
    if targets == "CR":
        # Non-targets that are there or were not evaluated make it a partial response.
        return "CR" if others in ("CR", "none") else "PR"
    return targets


def volume_response(baseline_ml: float, nadir_ml: float, last_ml: float) -> TargetResponse:
    """Response of the whole tumour volume by the volumes of balls that change as RECIST's diameters do.

    Args:
        baseline_ml: at the first scan.
        nadir_ml: smallest so far, the baseline included, the last not.
        last_ml: now.
    """
    if last_ml == 0:
        return "CR" if baseline_ml else "SD"
    if _at_least(last_ml - nadir_ml, VOLUME_PROGRESSIVE * nadir_ml):
        return "PD"
    return "PR" if _at_least(VOLUME_PARTIAL * baseline_ml, last_ml - baseline_ml) else "SD"


def _at_least(value: float, border: float) -> bool:
    """Whether value >= border, rounding aside: 24 is 20 % above 20."""
    return value >= border - 1e-9 * max(1.0, abs(border))
