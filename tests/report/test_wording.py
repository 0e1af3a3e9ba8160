from __future__ import annotations

from dataclasses import fields, replace

from tumorspread.measurement.metrics import MaskMetrics
from tumorspread.measurement.parts import Burden
from tumorspread.report.wording import METRICS, summary


def test_the_summary_says_how_much_where_and_how_far(thorax):
    text = summary(thorax.findings).replace("\u00a0", " ")
    assert text == (
        "2 lesions hold 4.80 mL in all, those in the lungs 0.400 % of the lung volume. There is 1 lesion in the left "
        "lung (4.32 mL) and 1 lesion in the right lung (0.480 mL). The largest measures 4.32 mL, "
        "18.0 by 16.0 mm in the axial plane. The two furthest apart are 78.4 mm from each other."
    )


def test_where_all_lie_in_the_lungs_the_share_is_that_of_all(thorax):
    inside = tuple(replace(lesion, flags=()) for lesion in thorax.findings.lesions)
    text = summary(replace(thorax.findings, lesions=inside)).replace("\u00a0", " ")
    assert "4.80 mL in all, 0.400 % of the lung volume." in text


def test_without_lesions_the_summary_does_not_promise_health(thorax):
    text = summary(replace(thorax.findings, lesions=(), burden=Burden(0, 0.0, 0.0, 0.0)))
    assert text.startswith("No lesion")
    assert "no proof" in text


def test_without_lungs_no_side_and_no_share_is_claimed(thorax):
    spread = replace(thorax.findings.spread, left=None, right=None, sides_involved=None)
    burden = replace(thorax.findings.burden, lung_fraction_percent=None)
    text = summary(replace(thorax.findings, spread=spread, burden=burden))
    assert "In which lung they lie is not known" in text
    assert "lung volume" not in text


def test_lesions_of_neither_lung_are_named(thorax):
    burden = replace(thorax.findings.burden, count=5)
    assert "3 lesions assigned to neither" in summary(replace(thorax.findings, burden=burden))


def test_every_metric_is_explained():
    assert set(METRICS) == {f.name for f in fields(MaskMetrics)} - {"reasons"}
