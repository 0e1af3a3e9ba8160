"""Charts of a study, as PNG: how its cases are distributed, how patients responded, how far a reference differs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tumorspread.followup.response import VOLUME_PARTIAL, VOLUME_PROGRESSIVE, TargetResponse
from tumorspread.report.cohort_courses import PatientCourse
from tumorspread.report.panel import BLUE, DPI, GREEN, INK, ORANGE, SKY, TITLE, VERMILLION, to_png
from tumorspread.report.tables import quantity, rounded

# More patients than this make a swimmer plot that nobody can read.
MOST_SWIMMERS = 40
# Of a histogram; few cases get fewer, or they would be a comb.
MOST_BINS = 24
# A change above this is drawn as this: one patient of +4000 % would flatten the others.
HIGHEST_PERCENT = 200.0
RESPONSES: dict[TargetResponse, tuple[str, str, str]] = {
    "CR": ("no tumour left", GREEN, "D"),
    "PR": ("partial response", SKY, "v"),
    "SD": ("stable", "#8a94a0", "o"),
    "PD": ("progression", VERMILLION, "^"),
}


@dataclass(frozen=True)
class Agreement:
    """Two measures of the same cases (Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8).

    Attributes:
        count: cases that have both.
        bias: mean of measured minus reference.
        low: bias minus 1.96 standard deviations of the differences; None below two cases.
        high: bias plus 1.96 of them; likewise.
    """

    count: int
    bias: float
    low: float | None
    high: float | None


def agreement(measured: NDArray[np.float64], reference: NDArray[np.float64]) -> Agreement:
    """Bias and 95 % limits of agreement of one or more pairs."""
    differences = measured - reference
    bias, reach = float(differences.mean()), None
    if len(differences) > 1:
        reach = 1.96 * float(differences.std(ddof=1))
    low, high = (None, None) if reach is None else (bias - reach, bias + reach)
    return Agreement(len(differences), bias, low, high)


def distributions_figure(columns: Sequence[tuple[str, Sequence[float], bool]]) -> bytes:
    """A histogram a measure.

    Args:
        columns: title, values, and whether the axis is logarithmic; values of 0 are then counted beside it.

    Returns:
        A PNG. A measure without values says so.
    """
    figure = Figure(figsize=(10.5, 2.5), dpi=DPI, layout="constrained")
    for axes, (title, values, is_log) in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        _draw_histogram(axes, np.asarray(values, float), is_log)
        axes.set_title(title, **TITLE)
        _quiet(axes)
    return to_png(figure)


def _draw_histogram(axes: Axes, values: NDArray[np.float64], is_log: bool) -> None:
    shown = values[values > 0] if is_log else values
    if not shown.size:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", fontsize=9, color=INK)
        return
    bins = min(MOST_BINS, 2 * math.ceil(math.sqrt(shown.size)))
    if is_log:
        low, high = np.log10(shown.min()), np.log10(shown.max())
        axes.hist(shown, np.logspace(low - 0.05, high + 0.05, bins + 1).tolist(), color=BLUE)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        whole = bool((shown == np.rint(shown)).all() and np.ptp(shown) < 25)
        edges = np.arange(shown.min() - 0.5, shown.max() + 1).tolist() if whole else bins
        axes.hist(shown, edges, color=BLUE, rwidth=0.9 if whole else 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
    median = float(np.median(shown))
    axes.axvline(median, color=INK, linewidth=1, linestyle="dashed")
    note = f"median {rounded(median)}"
    if len(shown) < len(values):
        note += f"\n{len(values) - len(shown)} without"
    # Whole cases, and room for the note above the bars.
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    axes.text(0.97, 0.95, note, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=INK, bbox=box)


def waterfall_figure(courses: Sequence[PatientCourse]) -> bytes:
    """The best change of every patient's tumour volume from the first scan, the largest growth first.

    Args:
        courses: those whose first scan holds tumour; at least one.

    Returns:
        A PNG, with the limits of progression and partial response by volume.
    """
    found = [(course, course.best) for course in courses]
    bars = sorted(((*best, course.patient) for course, best in found if best is not None), key=lambda bar: -bar[0])
    figure = Figure(figsize=(10.5, 3.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(bars))
    heights = np.minimum([bar[0] for bar in bars], HIGHEST_PERCENT)
    colours = [RESPONSES[bar[1]][1] for bar in bars]
    # One collection of lines: ten thousand bars of their own take a minute.
    width = 0.8 * 9.4 * 72 / max(len(bars), 8)
    axes.vlines(places, 0, heights, colors=colours, linewidth=max(width, 0.4))
    for limit, name in ((100 * VOLUME_PROGRESSIVE, "progression"), (100 * VOLUME_PARTIAL, "partial response")):
        axes.axhline(limit, color=INK, linewidth=0.8, linestyle="dashed")
        axes.annotate(
            f"{name}\n{limit:+.0f} %".replace("-", "−"), (1, limit), xycoords=("axes fraction", "data"),
            xytext=(4, 0), textcoords="offset points", va="center", annotation_clip=False, fontsize=8, color=INK,
        )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlim(-0.8, max(len(bars), 8) - 0.2)
    axes.set_ylim(-105, max(1.1 * float(heights.max()), 95))
    axes.set_ylabel("best change of tumour volume, %", fontsize=9, color=INK)
    _name_patients(axes, [bar[2] for bar in bars])
    _quiet(axes)
    _draw_key(axes, [bar[1] for bar in bars])
    return to_png(figure)


def swimmer_figure(courses: Sequence[PatientCourse]) -> bytes:
    """A lane a patient from the first to the last scan, with the response by volume at each; the longest on top.

    Args:
        courses: at least one; of more than 40 those followed longest are drawn.

    Returns:
        A PNG.
    """
    lanes = sorted(courses, key=lambda course: course.days[-1])[-MOST_SWIMMERS:]
    figure = Figure(figsize=(10.5, 1.1 + 0.22 * len(lanes)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.hlines(np.arange(len(lanes)), 0, [lane.days[-1] for lane in lanes], colors="#d5dbe2", linewidth=5)
    for lane, course in enumerate(lanes):
        axes.plot(0, lane, marker="|", color=INK, markersize=7)
        for day, response in zip(course.days[1:], course.responses, strict=True):
            _, colour, marker = RESPONSES[response]
            axes.plot(day, lane, marker=marker, color=colour, markersize=6)
        text = f"{rounded(course.volumes_ml[0])} → {quantity(course.volumes_ml[-1], 'mL')}"
        axes.annotate(
            text, (course.days[-1], lane), xytext=(8, 0), textcoords="offset points", va="center", fontsize=7.5,
            color=INK,
        )  # fmt: skip
    axes.set_yticks(np.arange(len(lanes)), [_short(lane.patient) for lane in lanes])
    axes.set_xlabel("days since the first scan", fontsize=9, color=INK)
    axes.set_xlim(0, 1.16 * max(lane.days[-1] for lane in lanes))
    axes.set_ylim(-0.7, len(lanes) - 0.3)
    _quiet(axes)
    axes.grid(visible=False)
    _draw_key(axes, [response for lane in lanes for response in lane.responses])
    return to_png(figure)


def agreement_figure(measured: NDArray[np.float64], reference: NDArray[np.float64]) -> bytes:
    """Bland-Altman plot of volumes, in mL and as a ratio, for which cases without tumour in either are left out.

    Args:
        measured: mL, one or more.
        reference: mL, of the same cases.

    Returns:
        A PNG. Limits of the ratio are those of the logarithms, taken back (Bland and Altman 1999,
        doi:10.1177/096228029900800204), since differences grow with the tumour.
    """
    figure = Figure(figsize=(10.5, 3.4), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_agreement(left, (measured + reference) / 2, measured - reference, agreement(measured, reference), "")
    left.set_title("measured minus reference, mL", **TITLE)
    left.set_xlabel("mean of both, mL", fontsize=9, color=INK)
    both = (measured > 0) & (reference > 0)
    right.set_title("measured over reference, %", **TITLE)
    right.set_xlabel("geometric mean of both, mL", fontsize=9, color=INK)
    if both.any():
        logs = np.log(measured[both]), np.log(reference[both])
        found = agreement(*logs)
        as_percent = [None if v is None else 100 * float(np.exp(v)) for v in (found.bias, found.low, found.high)]
        limits = Agreement(found.count, as_percent[0] or 0.0, as_percent[1], as_percent[2])
        _draw_agreement(right, np.exp(sum(logs) / 2), 100 * np.exp(logs[0] - logs[1]), limits, " %")
        right.set_xscale("log")
        right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return to_png(figure)


def _draw_agreement(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], limits: Agreement, unit: str) -> None:
    many = len(x) > 500
    axes.scatter(x, y, s=4 if many else 14, color=BLUE, alpha=0.3 if many else 0.75, linewidths=0)
    lines = ((limits.bias, "mean", "solid"), (limits.low, "−1.96 SD", "dashed"), (limits.high, "+1.96 SD", "dashed"))
    for value, name, style in lines:
        if value is not None:
            axes.axhline(value, color=ORANGE, linewidth=1.4, linestyle=style)
            axes.annotate(
                f"{name} {rounded(value)}{unit}", (1, value), xycoords=("axes fraction", "data"), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=8, color=INK, annotation_clip=False,
            )  # fmt: skip
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.6)
    axes.set_axisbelow(True)


def _name_patients(axes: Axes, names: Sequence[str]) -> None:
    if len(names) > MOST_SWIMMERS:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names)} patients", fontsize=9, color=INK)
        return
    axes.set_xticks(np.arange(len(names)), [_short(name) for name in names], rotation=60, ha="right")


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:7]}…{name[-7:]}"


def _draw_key(axes: Axes, seen: Sequence[TargetResponse]) -> None:
    style: dict[str, Any] = {"linestyle": "none", "markersize": 6}
    for response, (name, colour, marker) in RESPONSES.items():
        if response in seen:
            axes.plot([], [], marker=marker, color=colour, label=name, **style)
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
