"""How volumes and the sum of the target axes went over time, as PNG."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tumorspread.followup.record import FollowUp, TimePoint, Track
from tumorspread.followup.response import ABSOLUTE_MM, PARTIAL, PROGRESSIVE
from tumorspread.report.panel import BLUE, DPI, GREEN, INK, TITLE, VERMILLION, lesion_style, to_png
from tumorspread.report.tables import rounded

# More lines than this cannot be told apart; the total holds the rest.
MOST_LINES = 10


def timeline_figure(followup: FollowUp) -> bytes:
    """Two charts side by side: volume of each track and of all, and the sum of target axes with RECIST's limits.

    Args:
        followup: two or more scans; without days they stand at equal distances.

    Returns:
        A PNG. Bars are the error bars of the findings.
    """
    figure = Figure(figsize=(11, 4.3), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    times, label = _times(followup.time_points)
    _draw_volumes(left, followup, times)
    _draw_targets(right, followup.time_points, times)
    for axes in (left, right):
        axes.set_xlabel(label, fontsize=9, color=INK)
        axes.set_xticks(times)
        axes.tick_params(labelsize=8.5, colors=INK)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.08)
    return to_png(figure)


def _times(points: Sequence[TimePoint]) -> tuple[list[float], str]:
    days = [point.day for point in points if point.day is not None]
    if len(days) == len(points):
        return days, "days since the baseline"
    return [float(number) for number in range(1, len(points) + 1)], "scan (no dates given)"


def _draw_volumes(axes: Axes, followup: FollowUp, times: Sequence[float]) -> None:
    axes.set_title("volume (mL)", **TITLE)
    points = followup.time_points
    if len(followup.tracks) > 1:
        # A scan that does not show the place of a lesion has no volume of all.
        unseen = {n for track in followup.tracks for n, p in enumerate(track.points) if p.state == "not_covered"}
        whole = [(t, p) for n, (t, p) in enumerate(zip(times, points, strict=True)) if n not in unseen]
        axes.errorbar(
            [t for t, _ in whole],
            [p.volume_ml for _, p in whole],
            [p.volume_ml_error or 0.0 for _, p in whole],
            color=INK, linewidth=2.6, marker="o", markersize=3, capsize=4, label="all",
        )  # fmt: skip
    for track in _largest(followup.tracks):
        shown = [(t, p) for t, p in zip(times, track.points, strict=True) if p.volume_ml is not None]
        colour, style = lesion_style(track.id)
        axes.errorbar(
            [t for t, _ in shown],
            [p.volume_ml or 0.0 for _, p in shown],
            [p.volume_ml_error or 0.0 for _, p in shown],
            color=colour, linestyle=style, marker="o", markersize=4, linewidth=1.6, capsize=3,
            label=f"track {track.id}",
        )  # fmt: skip
    if followup.tracks:
        hidden = len(followup.tracks) - MOST_LINES
        title = f"and {hidden} smaller" if hidden > 0 else None
        axes.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), title=title)


def _largest(tracks: Sequence[Track]) -> list[Track]:
    """Those with the largest volume at any time, in the order of their ids."""
    ranked = sorted(tracks, key=lambda track: -max(point.volume_ml or 0.0 for point in track.points))
    return sorted(ranked[:MOST_LINES], key=lambda track: track.id)


def _draw_targets(axes: Axes, points: Sequence[TimePoint], times: Sequence[float]) -> None:
    axes.set_title("sum of the targets' long axes (mm)", **TITLE)
    known = [(t, p) for t, p in zip(times, points, strict=True) if p.sum_of_target_axes_mm is not None]
    if not known or points[0].sum_of_target_axes_mm is None:
        text = "no lesion of the baseline is measurable"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=10, color=INK)
        return
    sums = [p.sum_of_target_axes_mm or 0.0 for _, p in known]
    axes.plot([t for t, _ in known], sums, color=BLUE, marker="o", linewidth=2)
    for (time, point), value in zip(known, sums, strict=True):
        text = rounded(value) + (f"\n{point.overall_response}" if point.overall_response else "\nbaseline")
        axes.annotate(text, (time, value), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9)
    partial = (1 + PARTIAL) * sums[0]
    axes.axhline(partial, color=GREEN, linestyle="dashed", linewidth=1.2, label="at or below: PR")
    limits = [_progression_mm(sums[: i + 1]) for i in range(len(sums) - 1)]
    later = [t for t, _ in known[1:]]
    axes.plot(later, limits, color=VERMILLION, linestyle="dotted", marker="_", markersize=22, label="at or above: PD")
    axes.set_ylim(top=1.18 * max(*sums, *limits, partial, 1.0) if limits else None)
    axes.legend(fontsize=8.5, frameon=False, loc="lower left")


def _progression_mm(so_far: Sequence[float]) -> float:
    nadir = min(so_far)
    return nadir + max(ABSOLUTE_MM, PROGRESSIVE * nadir)
