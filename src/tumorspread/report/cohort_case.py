"""One case of a study as its report shows it, and which of many want a look first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tumorspread.report.tables import quantity, rounded

Status = Literal["ok", "failed", "skipped"]
Concern = Literal["failed", "volume", "dice", "warning", "skipped", ""]

# The order in which concerns come; the last has none.
CONCERNS: tuple[Concern, ...] = ("failed", "volume", "dice", "warning", "skipped", "")
# Modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, ASQC 1993, ISBN 0-87389-247-X).
NORMAL_SHARE, FAR = 0.6745, 3.5
LEAST_CASES = 8
LOW_DICE = 0.5


@dataclass(frozen=True)
class CohortCase:
    """One case of a study. Of a case that is not `ok` all measures are None.

    Attributes:
        case: its id, unique in the study.
        status: `ok`, `failed` or `skipped`.
        patient: whose scan it is; cases of one patient with different dates are a course.
        date: of the scan, YYYY-MM-DD; None or another text where it is unknown.
        reason: why it failed or was skipped.
        lesions: number of lesions.
        volume_ml: of all lesions.
        lung_fraction_percent: as in `Burden`.
        largest_mm: longest axial diameter of all lesions.
        warnings: what a reader of the result must know, in words.
        seconds: that the case took.
        report: link to its report, relative to the page, with forward slashes.
        thumbnail: link to its picture, likewise; of `thumbnail`.
        reference_volume_ml: of the reference mask, where one was given.
        dice: overlap with it.
    """

    case: str
    status: Status
    patient: str | None = None
    date: str | None = None
    reason: str | None = None
    lesions: int | None = None
    volume_ml: float | None = None
    lung_fraction_percent: float | None = None
    largest_mm: float | None = None
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    report: str | None = None
    thumbnail: str | None = None
    reference_volume_ml: float | None = None
    dice: float | None = None


@dataclass(frozen=True)
class Ranked:
    """A case with what makes it want a look.

    Attributes:
        case: the case.
        concern: the first that holds: `failed`, `volume` far from the cohort's, low `dice`, `warning`, `skipped`.
        why: all that hold, in words; empty without any.
    """

    case: CohortCase
    concern: Concern
    why: str


def rank_cases(cases: Sequence[CohortCase]) -> list[Ranked]:
    """All cases, those that want a look first: by concern, then by volume, then in the order given.

    A volume is far from the others when its logarithm has a modified z-score above 3.5; that is asked of eight cases
    with tumour or more.
    """
    limits = volume_limits_ml([case.volume_ml for case in cases if case.volume_ml])
    ranked = [_rank(case, limits) for case in cases]
    return sorted(ranked, key=lambda r: (CONCERNS.index(r.concern), -(r.case.volume_ml or 0.0)))


def volume_limits_ml(volumes_ml: Sequence[float]) -> tuple[float, float]:
    """Below the first and above the second a volume is far from the rest; (0, inf) where that cannot be said."""
    logs = np.log10(np.asarray(volumes_ml, float))
    middle = float(np.median(logs)) if logs.size >= LEAST_CASES else 0.0
    spread = float(np.median(np.abs(logs - middle))) if logs.size >= LEAST_CASES else 0.0
    if not spread:
        return 0.0, math.inf
    reach = FAR * spread / NORMAL_SHARE
    return 10 ** (middle - reach), 10 ** (middle + reach)


def _rank(case: CohortCase, limits_ml: tuple[float, float]) -> Ranked:
    low, high = limits_ml
    found: list[tuple[Concern, str]] = []
    if case.status != "ok":
        found.append((case.status, case.reason or f"{case.status}, no reason given"))
    if case.volume_ml and not low <= case.volume_ml <= high:
        far = "small" if case.volume_ml < low else "large"
        found.append(("volume", f"{quantity(case.volume_ml, 'mL')} is unusually {far} for this cohort"))
    if case.dice is not None and case.dice < LOW_DICE:
        found.append(("dice", f"Dice {rounded(case.dice)} with the reference"))
    found += [("warning", text) for text in case.warnings]
    return Ranked(case, found[0][0] if found else "", " · ".join(text for _, text in found))
