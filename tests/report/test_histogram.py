from __future__ import annotations

import re

import numpy as np

from tumorspread.report.histogram import HIGH_HU, LOW_HU, MARGIN, STEP_HU, WIDTH, density_histogram


def bars(svg: str) -> list[tuple[float, float]]:
    """Left edge and height of every bar."""
    drawn = re.search(r'<path d="([^"]*)" fill', svg)[1]
    return [(float(x), -float(h)) for x, h in re.findall(r"M([\d.]+) \d+v(-[\d.]+)h", drawn)]


def across(hu: float) -> float:
    return MARGIN + (hu - LOW_HU) / (HIGH_HU - LOW_HU) * (WIDTH - 2 * MARGIN)


def test_bars_stand_where_the_densities_are_and_as_high_as_their_share():
    found = bars(density_histogram(np.array([-500] * 4 + [100] * 2), "#123456"))
    assert [round(x, 1) for x, _ in found] == [round(across(-500), 1), round(across(100), 1)]
    assert found[0][1] == 2 * found[1][1]


def test_what_lies_beyond_the_ends_is_counted_in_them():
    found = bars(density_histogram(np.array([-3024, 3000]), "red"))
    assert [round(x, 1) for x, _ in found] == [round(across(LOW_HU), 1), round(across(HIGH_HU - STEP_HU), 1)]


def test_the_median_is_told():
    assert "median −40.0 HU" in density_histogram(np.array([-60, -40, 900]), "red")


def test_without_a_number_there_is_no_drawing():
    assert density_histogram(np.array([np.nan, np.inf]), "red") == ""
