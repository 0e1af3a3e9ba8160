from __future__ import annotations

import csv
import io
from dataclasses import fields, replace

import pytest

from tumorspread.measurement.metrics import MaskMetrics
from tumorspread.measurement.summary import CaseScore, Evaluation, Interval
from tumorspread.report.tables import DASH, evaluation_csv, lesions_csv, quantity, rounded


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.345, "12.3"),
        (0.001234, "0.00123"),
        (3172.0, "3170"),
        (99.96, "100"),
        (0.9996, "1.00"),
        (0.0, "0"),
        (-0.0, "0"),
        (-36.66, "−36.7"),
        (7, "7.00"),
        (1e-7, "0.000000100"),
        (123456.0, "123000"),
        (None, DASH),
    ],
)
def test_numbers_are_shown_with_three_significant_figures_and_no_exponent(value, text):
    assert rounded(value) == text


def test_rounding_for_display_is_off_by_half_a_unit_of_the_last_figure_at_most():
    for exponent in range(-6, 7):
        for mantissa in (1.0049, 4.995, 9.9951, 5.5555):
            value = mantissa * 10.0**exponent
            assert float(rounded(value)) == pytest.approx(value, rel=0.0051)


def test_units_follow_a_space_that_does_not_break():
    assert quantity(12.34, "mL") == "12.3\u00a0mL"
    assert quantity(None, "mL") == DASH


def test_a_row_a_lesion_with_the_ends_of_its_axes_in_columns(thorax):
    rows = rows_of(lesions_csv(thorax.findings))
    assert [row["lesion"] for row in rows] == ["1", "2"]
    first, lesion = rows[0], thorax.findings.lesions[0]
    for axis, ends in (("long", lesion.long_axis_ends_mm), ("short", lesion.short_axis_ends_mm)):
        for name, point in zip(("start", "end"), ends, strict=True):
            found = [float(first[f"{axis}_axis_{name}_{c}_mm"]) for c in "xyz"]
            assert found == pytest.approx(point, rel=1e-6)
    assert float(first["volume_ml"]) == pytest.approx(lesion.volume_ml, rel=1e-6)
    assert first["scan"] == "patient_7.nii.gz"
    assert rows[1]["flags"] == "outside_lungs"


def test_a_missing_number_is_an_empty_cell_with_its_reason_in_the_row(thorax):
    lesion = replace(thorax.findings.lesions[0], side=None, mean_hu=None, reasons={"side": "no lungs, sorry"})
    (row,) = rows_of(lesions_csv(replace(thorax.findings, lesions=(lesion,))))
    assert row["side"] == row["mean_hu"] == ""
    assert row["reasons"] == "side: no lungs, sorry"


def test_without_lesions_only_the_header_is_written(thorax):
    text = lesions_csv(replace(thorax.findings, lesions=()))
    assert text.count("\n") == 1
    assert text.startswith("scan,lesion,side,volume_ml")


@pytest.mark.parametrize("name", ["=cmd|'/c calc'!A0", "+1", "-1", "@sum", "\tx"])
def test_a_name_that_a_spreadsheet_would_run_is_made_text(thorax, name):
    findings = replace(thorax.findings, scan=replace(thorax.findings.scan, source=name))
    assert rows_of(lesions_csv(findings))[0]["scan"] == "'" + name


def test_negative_numbers_stay_numbers(thorax):
    row = rows_of(lesions_csv(thorax.findings))[0]
    assert float(row["centroid_z_mm"]) == pytest.approx(-225.0)


def test_names_with_commas_quotes_and_line_breaks_survive(thorax):
    name = 'a "b", c\nd.nii'
    findings = replace(thorax.findings, scan=replace(thorax.findings.scan, source=name))
    assert rows_of(lesions_csv(findings))[0]["scan"] == name


def make_evaluation(*metrics: MaskMetrics) -> Evaluation:
    none = Interval(None, None, None, None, 0, "no cases")
    cases = tuple(CaseScore(f"lung_{i:03}", m) for i, m in enumerate(metrics))
    return Evaluation("lung-v1", "Task06_Lung", "test", cases, {"dice": none}, none, none)


def test_the_evaluation_has_a_row_a_case_and_every_metric():
    metrics = MaskMetrics(0.75, 0.6, 0.99987654, 0.8, 0.7, 1.0, None, None, 1.5, 2.0, -0.5, -25.0, 2, 1, 3,
                          {"nsd_2mm": "slices are independent"})  # fmt: skip
    (row,) = rows_of(evaluation_csv(make_evaluation(metrics)))
    assert set(row) == {"case", *(f.name for f in fields(MaskMetrics))}
    assert (row["case"], row["nsd_2mm"], row["false_positives"]) == ("lung_000", "", "3")
    assert float(row["accuracy"]) == pytest.approx(0.99987654, rel=1e-6)
    assert row["reasons"] == "nsd_2mm: slices are independent"


def test_an_evaluation_without_cases_is_a_header():
    assert evaluation_csv(make_evaluation()).count("\n") == 1
