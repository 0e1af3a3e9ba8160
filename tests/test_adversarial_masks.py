"""Masks that nobody should draw and somebody will: a right answer or a clear refusal, never nonsense."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.errors import MaskError
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.measured import MeasureOptions
from tumorspread.pipeline import measure
from tumorspread.scan.volume import Volume


@pytest.fixture(scope="module")
def scan():
    """A chest with both lungs, 4 x 3 x 3 mm."""
    return make_phantom(5, PhantomConfig(spacing_mm=(4.0, 3.0, 3.0))).scan


def findings_of(scan, voxels, dust_mm3=0.0):
    """Measured, with every number checked: finite or None with its reason, in JSON and back."""
    findings = measure(scan, scan.with_voxels(voxels), options=MeasureOptions(dust_mm3)).findings
    assert Findings.from_json(findings.to_json()) == findings
    for lesion in findings.lesions:
        for name, value in vars(lesion).items():
            if isinstance(value, float):
                assert math.isfinite(value), name
            if value is None and name != "radiomics":
                assert lesion.reasons.get(name), f"{name} is missing without a reason"
        assert lesion.volume_ml > 0
        assert lesion.long_axis_mm >= lesion.short_axis_mm > 0
    assert findings.burden.volume_ml == pytest.approx(sum(lesion.volume_ml for lesion in findings.lesions))
    return findings


def test_an_empty_mask_is_no_lesion_and_no_stage(scan):
    findings = findings_of(scan, np.zeros(scan.shape, np.uint8))
    assert (findings.burden.count, findings.burden.volume_ml, findings.lesions) == (0, 0, ())


def test_a_full_mask_is_one_lesion_cut_on_all_sides_and_no_share_of_the_lungs(scan):
    findings = findings_of(scan, np.ones(scan.shape, np.uint8))
    (lesion,) = findings.lesions
    assert lesion.volume_ml == pytest.approx(scan.voxels.size * scan.voxel_ml)
    assert "cut_by_scan_edge" in lesion.flags
    assert findings.burden.lung_fraction_percent is None
    assert "lesion_cut_by_scan_edge" in [w.code for w in findings.warnings]


def test_one_voxel_is_measured_and_called_too_coarse(scan):
    mask = np.zeros(scan.shape, np.uint8)
    middle = tuple(n // 2 for n in scan.shape)
    mask[middle] = 1
    (lesion,) = findings_of(scan, mask).lesions
    assert lesion.volume_ml == pytest.approx(scan.voxel_ml)
    assert lesion.volume_ml_error > 0.25 * lesion.volume_ml
    assert {"single_slice", "too_coarse"} <= set(lesion.flags)
    assert lesion.recist_measurable is False
    assert lesion.centroid_mm == pytest.approx(scan.to_world(middle))


def test_one_voxel_below_the_dust_rule_is_left_out_with_a_word(scan):
    mask = np.zeros(scan.shape, np.uint8)
    mask[20, 30, 40] = 1
    findings = findings_of(scan, mask, dust_mm3=40.0)
    assert findings.lesions == ()
    assert "dust_left_out" in [w.code for w in findings.warnings]


def test_one_slice_has_an_area_and_wide_error_bars(scan):
    mask = np.zeros(scan.shape, np.uint8)
    mask[25, 30:40, 60:80] = 1
    (lesion,) = findings_of(scan, mask).lesions
    assert lesion.volume_ml == pytest.approx(200 * scan.voxel_ml)
    assert "single_slice" in lesion.flags
    # Seen on one slice, the longest diameter may be anywhere up to twice as long.
    assert lesion.long_axis_mm_error >= lesion.long_axis_mm


def test_a_lesion_through_the_whole_scan_is_cut_at_head_and_feet(scan):
    mask = np.zeros(scan.shape, np.uint8)
    mask[:, 30:36, 40:46] = 1
    (lesion,) = findings_of(scan, mask).lesions
    assert lesion.volume_ml == pytest.approx(mask.sum() * scan.voxel_ml)
    assert "cut_by_scan_edge" in lesion.flags


def test_5000_specks_are_5000_lesions_or_dust(scan):
    mask = np.zeros(scan.shape, np.uint8)
    specks = mask[::2, ::3, ::3]
    index = np.stack(np.meshgrid(*[np.arange(n) for n in specks.shape], indexing="ij"), -1).reshape(-1, 3)[:5000]
    mask[tuple((index * (2, 3, 3)).T)] = 1
    findings = findings_of(scan, mask)
    assert findings.burden.count == 5000
    assert [lesion.id for lesion in findings.lesions] == list(range(1, 5001))
    dusted = findings_of(scan, mask, dust_mm3=50.0)
    assert dusted.burden.count == 0
    (dust,) = [w for w in dusted.warnings if w.code == "dust_left_out"]
    assert "5000 pieces" in dust.text


def test_an_image_of_nan_gives_sizes_and_says_why_there_is_no_density_and_no_lung(scan):
    empty = scan.with_voxels(np.full(scan.shape, np.nan, np.float32))
    mask = np.zeros(scan.shape, np.uint8)
    mask[20:25, 30:36, 40:46] = 1
    findings = findings_of(empty, mask)
    (lesion,) = findings.lesions
    assert lesion.volume_ml == pytest.approx(180 * scan.voxel_ml)
    assert lesion.mean_hu is lesion.mass_g is lesion.side is None
    assert findings.lungs.total_ml is None


@pytest.mark.parametrize("shift_mm", [(0.0, 0.0, 3.0), (4.0, 0.0, 0.0)])
def test_a_mask_that_lies_elsewhere_is_refused(scan, shift_mm):
    affine = scan.affine.copy()
    affine[:3, 3] += shift_mm
    with pytest.raises(MaskError, match="grid"):
        measure(scan, Volume(np.ones(scan.shape, np.uint8), affine))


def test_a_mask_of_another_shape_is_refused(scan):
    with pytest.raises(MaskError, match="grid"):
        measure(scan, Volume(np.ones((3, 4, 5), np.uint8), scan.affine))
