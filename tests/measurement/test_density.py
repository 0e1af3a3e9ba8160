"""Density of lesions by their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.measurement.density import measure_density


def test_statistics_are_those_of_numpy():
    hu = np.random.default_rng(0).integers(-1000, 300, 500).astype(np.int16)
    found = measure_density(hu, 0.001)
    assert (found.mean_hu, found.sd_hu) == (pytest.approx(hu.mean()), pytest.approx(hu.std()))
    assert found.percentiles_hu == pytest.approx(np.percentile(hu, (5, 25, 50, 75, 95)))


def test_shares_part_at_minus_300_and_minus_750():
    found = measure_density(np.array([-301, -300, -299, -750, -751, -1000, 40, 40]), 1.0)
    assert (found.solid_percent, found.ground_glass_percent) == (50.0, 25.0)


@pytest.mark.parametrize(("hu", "grams_per_ml"), [(-1000, 0.0), (0, 1.0), (50, 1.05), (-500, 0.5), (-2000, 0.0)])
def test_water_weighs_a_gram_and_air_nothing(hu, grams_per_ml):
    found = measure_density(np.full(7, hu, np.int16), 0.5)
    assert found.mass_g == pytest.approx(7 * 0.5 * grams_per_ml)
    assert found.sd_hu == 0


def test_padding_counts_as_air():
    assert measure_density(np.array([-3024, -1024], np.int16), 1.0).mean_hu == -1024


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_give_no_density(bad):
    assert measure_density(np.array([1.0, bad]), 1.0) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_any_type_of_image_is_taken(dtype):
    assert measure_density(np.array([10, 20], dtype), 1.0).mean_hu == pytest.approx(15)
