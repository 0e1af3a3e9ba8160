"""How dense a lesion is, voxel by voxel, as a small drawing in the page itself."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from tumorspread.measurement.density import GROUND_GLASS_HU, SOLID_HU
from tumorspread.report.tables import rounded

# One scale for all lesions, so that two of them can be compared at a glance; the ends hold what lies beyond.
LOW_HU, HIGH_HU, STEP_HU = -1000, 400, 25
WIDTH, HEIGHT, FOOT, HEAD, MARGIN = 420, 150, 32, 16, 18
TICKS_HU = (-1000, -750, -500, -300, 0, 200, 400)


def density_histogram(values_hu: NDArray[np.floating | np.integer], colour: str) -> Markup:
    """An SVG of the share of voxels a bin of 25 HU, with the median and the limits of ground glass and solid.

    Args:
        values_hu: one or more; what is not a number is left out, and without a number there is no drawing.
        colour: of the bars.
    """
    values_hu = values_hu[np.isfinite(values_hu)]
    if not values_hu.size:
        return Markup()
    edges = np.arange(LOW_HU, HIGH_HU + STEP_HU, STEP_HU)
    counts, _ = np.histogram(np.clip(values_hu, LOW_HU, HIGH_HU - 1), edges)
    heights = counts / counts.max() * (HEIGHT - FOOT - HEAD)
    base = HEIGHT - FOOT
    bars = "".join(
        f"M{_across(low):.1f} {base}v{-height:.1f}h{_across(low + STEP_HU) - _across(low):.1f}V{base}z"
        for low, height in zip(edges[:-1], heights, strict=True)
        if height
    )
    median = float(np.median(values_hu))
    at = _across(float(np.clip(median, LOW_HU, HIGH_HU)))
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="11" fill="#1d2733" '
        f'aria-label="Histogram of the density, median {median:.0f} HU">'
        f'<path d="{bars}" fill="{colour}"></path>'
        + "".join(_limit(limit) for limit in (GROUND_GLASS_HU, SOLID_HU))
        + f'<path d="M{MARGIN} {base}H{WIDTH - MARGIN}" stroke="#5b6876"></path>'
        f'<path d="M{at:.1f} {base}V{HEAD - 4}" stroke="#1d2733" stroke-width="1.5"></path>'
        f'<text x="{at:.1f}" y="9" text-anchor="{"end" if median > 0 else "middle"}">median {rounded(median)} HU</text>'
        + "".join(_tick(tick) for tick in TICKS_HU)
        + _name(LOW_HU, GROUND_GLASS_HU, "air")
        + _name(GROUND_GLASS_HU, SOLID_HU, "ground glass")
        + _name(SOLID_HU, HIGH_HU, "solid")
        + "</svg>"
    )


def _across(hu: float) -> float:
    return MARGIN + (hu - LOW_HU) / (HIGH_HU - LOW_HU) * (WIDTH - 2 * MARGIN)


def _limit(hu: float) -> str:
    return f'<path d="M{_across(hu):.1f} {HEIGHT - FOOT}V{HEAD}" stroke="#b6c0cb" stroke-dasharray="3 3"></path>'


def _tick(hu: int) -> str:
    text = str(hu).replace("-", "−")
    return f'<text x="{_across(hu):.1f}" y="{HEIGHT - FOOT + 13}" text-anchor="middle">{text}</text>'


def _name(low: float, high: float, text: str) -> str:
    return (
        f'<text fill="#5b6876" x="{_across((low + high) / 2):.1f}" y="{HEIGHT - 4}" text-anchor="middle">{text}</text>'
    )
