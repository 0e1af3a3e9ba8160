"""What a lung without air at some places keeps, and what it must not take: drawn blocks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.measurement.closing import close_lung, find_masses

SPACING = (2.5, 2.5, 2.5)
SHAPE = (60, 50, 50)
LUNG = np.s_[5:55, 5:45, 5:45]


def block(*parts):
    """A left lung of 125 x 100 x 100 mm without the given parts, and what is not lung."""
    lung = np.zeros(SHAPE, bool)
    lung[LUNG] = True
    for part in parts:
        lung[part] = False
    return lung, ~lung


@pytest.mark.parametrize(
    "mass",
    [np.s_[20:40, 15:35, 15:35], np.s_[20:40, 25:45, 15:35], np.s_[20:40, 15:35, 25:45], np.s_[20:40, 25:45, 5:25]],
    ids=["inside", "at the wall behind", "at the wall beside", "in the corner of spine and wall"],
)
def test_a_mass_of_5_cm_belongs_to_the_lung(mass):
    lung, tissue = block(mass)
    found = find_masses(lung, tissue, SPACING, left=True)
    assert found[mass].mean() > 0.95
    assert not found[~np.isin(np.arange(SHAPE[0]), np.arange(20, 40))].any()
    assert close_lung(lung, tissue, SPACING, left=True)[mass].mean() > 0.95


@pytest.mark.parametrize(
    "organ",
    [np.s_[5:40, 15:35, 15:35], np.s_[20:40, 5:25, 5:25], np.s_[20:40, 15:35, 5:25], np.s_[10:52, 25:45, 15:35]],
    ids=["the dome of the diaphragm", "the heart in front", "the aorta", "an empyema 10.5 cm high"],
)
def test_an_organ_does_not_belong_to_the_lung(organ):
    lung, tissue = block(organ)
    assert not find_masses(lung, tissue, SPACING, left=True).any()
    # Its corners are rounded by the closing, no more.
    assert close_lung(lung, tissue, SPACING, left=True)[organ].mean() < 0.1


def test_the_other_lung_and_what_is_small_are_no_mass():
    mass = np.s_[20:40, 15:35, 15:35]
    lung, tissue = block(mass)
    tissue[mass] = False
    assert not find_masses(lung, tissue, SPACING, left=True).any()
    lung, tissue = block(np.s_[28:33, 20:25, 20:25])
    assert not find_masses(lung, tissue, SPACING, left=True).any()


def test_the_right_lung_is_the_mirror_of_the_left():
    lung, tissue = block(np.s_[20:40, 25:45, 5:25], np.s_[20:40, 5:20, 5:20])
    left = close_lung(lung, tissue, SPACING, left=True)
    right = close_lung(lung[:, :, ::-1], tissue[:, :, ::-1], SPACING, left=False)
    assert np.array_equal(left, right[:, :, ::-1])


def test_vessels_and_notches_of_15_mm_are_closed_and_gaps_of_30_mm_stay():
    notch, gap = np.s_[:, 20:26, 5:20], np.s_[:, 30:42, 5:20]
    lung, tissue = block(notch, gap)
    closed = close_lung(lung, tissue, SPACING, left=True)
    assert closed[5:55, 20:26, 8:20].all()
    assert not closed[5:55, 34:38, 5:14].any()


def test_one_voxel_and_a_lung_that_fills_its_box_stay_as_they_are():
    for lung in (np.ones((1, 1, 1), bool), np.ones((4, 5, 6), bool)):
        assert np.array_equal(close_lung(lung, ~lung, SPACING, left=True), lung)
