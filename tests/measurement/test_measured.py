"""Scan and mask in, all measures out: what hangs together across the modules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.measurement.conftest import SPACING, balls, box_lungs

from tumorspread.measurement import measured
from tumorspread.measurement.lungs import LungMask
from tumorspread.measurement.parts import Lungs
from tumorspread.scan.volume import Volume

NOT_TOLD = "the two lungs could not be told apart"


@pytest.fixture
def scan():
    """A scan of nothing: the lungs are given."""
    return Volume.upright(np.zeros(box_lungs().shape, np.int16), SPACING)


def measure(scan, mask, lungs, monkeypatch):
    monkeypatch.setattr(measured, "segment_lungs", lambda _: lungs)
    return measured.measure_mask(scan, scan.with_voxels(mask))


def test_lungs_that_were_not_told_apart_have_no_parts_and_no_counts(scan, monkeypatch):
    volumes = Lungs(None, None, 2700.0, dict.fromkeys(("left_ml", "right_ml"), NOT_TOLD))
    lungs = LungMask(box_lungs(), volumes, ())
    found = measure(scan, balls(((100.0, 75.0, 60.0), 6.0)), lungs, monkeypatch)
    assert (found.lungs.parts, found.spread.parts) == ((), ())
    assert found.spread.zones_involved is None
    assert found.spread.reasons["zones_involved"] == NOT_TOLD


def test_a_lesion_in_the_liver_is_no_metastasis_in_the_other_lung(scan, monkeypatch):
    lungs = LungMask(box_lungs(), Lungs(1350.0, 1350.0, 2700.0), ())
    mask = balls(((100.0, 75.0, 190.0), 9.0), ((10.0, 75.0, 60.0), 7.0))
    found = measure(scan, mask, lungs, monkeypatch)
    assert [lesion.side for lesion in found.lesions] == ["left", None]
    assert (found.stage.t, found.stage.m) == ("T1b", None)
    assert "lesion 2" in found.stage.m_rule
    assert found.spread.right == replace(found.spread.right, count=0, volume_ml=0)
