"""Many cases in a few numbers: means with confidence intervals, lesion recall, false positives per scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import DatasetError
from tumorspread.measurement.metrics import MaskMetrics

if TYPE_CHECKING:
    from pydantic import TypeAdapter

CONFIDENCE_PERCENT = 95.0
# What the summary holds: every field of MaskMetrics that is a measure, not a count of lesions.
MEASURES = tuple(f.name for f in fields(MaskMetrics) if str(f.type).startswith("float"))


@dataclass(frozen=True)
class CaseScore:
    """One case and how well its mask agrees with the reference."""

    case: str
    metrics: MaskMetrics


@dataclass(frozen=True)
class Interval:
    """A mean over cases and how far it can be trusted.

    Attributes:
        mean: over the cases that have the value; None without one.
        low: lower end of the 95 % interval of the mean; None below two cases.
        high: its upper end.
        median: over the same cases.
        count: number of cases that have the value.
        reason: why something is None, or how many cases were left out.
    """

    mean: float | None
    low: float | None
    high: float | None
    median: float | None
    count: int
    reason: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """How good weights are on a set of cases.

    Attributes:
        weights: name of the weights.
        data: name of the data set.
        split: which part of it.
        cases: the cases, in the order they came.
        summary: an interval for each measure of `MaskMetrics`, by field name.
        lesion_recall: found lesions over all lesions of all cases together; `median` is over the recalls of
            single cases, `count` the cases that have a lesion.
        false_positives_per_scan: pieces of the prediction where no lesion is.
    """

    weights: str
    data: str
    split: str
    cases: tuple[CaseScore, ...]
    summary: dict[str, Interval]
    lesion_recall: Interval
    false_positives_per_scan: Interval

    def to_json(self) -> str:
        """JSON text, indented, ending in a newline; missing values are null."""
        return _adapter().dump_json(self, indent=2).decode() + "\n"


def summarise(
    scores: Sequence[CaseScore], *, weights: str, data: str, split: str, seed: int = 0, resamples: int = 2000
) -> Evaluation:
    """Summarise the scores of many cases.

    Intervals are percentile bootstraps over cases, not over lesions or slices, since those of one patient are
    not independent (Efron 1979, doi:10.1214/aos/1176344552). The same scores and seed give the same numbers.

    Args:
        scores: at least one.
        weights: name of the weights, for the record.
        data: name of the data set, for the record.
        split: name of its part, for the record.
        seed: of the resampling.
        resamples: how many times the cases are drawn anew.

    Raises:
        DatasetError: no scores.
    """
    if not scores:
        raise DatasetError("found no scored case; expected at least one: is this split empty?")
    metrics = [score.metrics for score in scores]
    ones = np.ones(len(metrics))
    found = np.array([m.lesions_found for m in metrics], float)
    lesions = np.array([m.lesions_reference for m in metrics], float)
    false = np.array([m.false_positives for m in metrics], float)
    return Evaluation(
        weights=weights,
        data=data,
        split=split,
        cases=tuple(scores),
        summary={name: _mean([getattr(m, name) for m in metrics], seed, resamples) for name in MEASURES},
        lesion_recall=_ratio(found, lesions, seed, resamples, "has no lesion"),
        false_positives_per_scan=_ratio(false, ones, seed, resamples, ""),
    )


def _mean(values: Sequence[float | None], seed: int, resamples: int) -> Interval:
    above = np.array([0.0 if value is None else value for value in values])
    return _ratio(above, np.array([float(v is not None) for v in values]), seed, resamples, "has no value")


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], seed: int, resamples: int, missing: str) -> Interval:
    """Sum of `above` over sum of `below`, cases with 0 below left out; a mean where all below are 1."""
    present = below > 0
    above, below = above[present], below[present]
    count = len(below)
    if not count:
        return Interval(None, None, None, None, 0, f"every case {missing}")
    reason = f"{len(present) - count} of {len(present)} left out: each {missing}" if not present.all() else None
    mean, median = float(above.sum() / below.sum()), float(np.median(above / below))
    if count == 1:
        return Interval(mean, None, None, median, 1, "; ".join(filter(None, ("one case gives no interval", reason))))
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    tail = (100.0 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(above[drawn].sum(1) / below[drawn].sum(1), (tail, 100.0 - tail))
    return Interval(mean, float(low), float(high), median, count, reason)


@cache
def _adapter() -> TypeAdapter[Evaluation]:
    from pydantic import TypeAdapter

    return TypeAdapter(Evaluation)
