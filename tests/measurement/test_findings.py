"""The JSON of the findings: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorspread.errors import ReadError
from tumorspread.measurement.findings import DISCLAIMER, SCHEMA_VERSION, Findings
from tumorspread.measurement.lesions import measure_lesions
from tumorspread.measurement.parts import Burden, Lesion, Lungs, Origin, ScanInfo, SideBurden, Spread
from tumorspread.measurement.pieces import label_lesions
from tumorspread.measurement.spread import measure_spread, sum_burden
from tumorspread.scan.volume import Remark, Volume

SEGMENT = ((1.0, -2.5, 3.25), (4.0, 5.0, -1e-3))
LESION = Lesion(1, 512, 0.5, 12.25, SEGMENT, 9.5, SEGMENT, 7, (0.1, 0.2, 0.3), "left", 0.05, -31.5, ("single_slice",))
UNKNOWN = replace(
    LESION, id=2, side=None, lung_share_percent=None, mean_hu=None, flags=(), reasons={"side": "no lungs"}
)
FINDINGS = Findings(
    scan=ScanInfo("ct.nii.gz", (40, 512, 512), (2.5, 0.7, 0.7)),
    origin=Origin("tumorspread 1", "model", "w.safetensors", "ab" * 32, 0.5, "2026-01-01T00:00:00+00:00"),
    lungs=Lungs(1000.0, 1500.5, 2500.5),
    lesions=(LESION, UNKNOWN),
    burden=Burden(2, 1.0, 0.04, 24.5),
    spread=Spread(SideBurden(1, 0.5, 0.05), None, None, 1, 50.0, 3.0, 3.0, {"right": "unknown"}),
    warnings=(Remark("thick_slices", "slices are 8 mm apart"),),
)

number = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | number
words = st.text(max_size=12)
reasons = st.dictionaries(words, words, max_size=2)
triple = st.tuples(number, number, number)
segment = st.tuples(triple, triple)
lesion = st.builds(
    Lesion, id=st.integers(1, 9999), voxel_count=st.integers(1), volume_ml=number, long_axis_mm=number,
    long_axis_ends_mm=segment, short_axis_mm=number, short_axis_ends_mm=segment, axial_slice=st.integers(0),
    centroid_mm=triple, side=st.sampled_from(["left", "right", None]), lung_share_percent=maybe, mean_hu=maybe,
    flags=st.lists(words, max_size=2).map(tuple), reasons=reasons,
)  # fmt: skip
side = st.none() | st.builds(SideBurden, st.integers(0), number, maybe, reasons)
findings = st.builds(
    Findings,
    scan=st.builds(ScanInfo, words, st.tuples(*[st.integers(1)] * 3), triple),
    origin=st.builds(Origin, words, words, st.none() | words, st.none() | words, maybe, st.none() | words),
    lungs=st.builds(Lungs, maybe, maybe, maybe, reasons),
    lesions=st.lists(lesion, max_size=2).map(tuple),
    burden=st.builds(Burden, st.integers(0), number, maybe, number, reasons),
    spread=st.builds(Spread, side, side, st.none() | st.integers(0, 2), st.none() | st.integers(1), maybe, maybe,
                     maybe, reasons),
    warnings=st.lists(st.builds(Remark, words, words), max_size=2).map(tuple),
    disclaimer=st.just(DISCLAIMER),
    schema=st.just(SCHEMA_VERSION),
)  # fmt: skip


def strict(text):
    """The JSON as any parser must read it: NaN and Infinity are not JSON."""

    def refuse(name):
        raise AssertionError(f"{name} in the JSON")

    return json.loads(text, parse_constant=refuse)


def broken(change):
    content = json.loads(FINDINGS.to_json())
    change(content)
    return json.dumps(content)


@settings(max_examples=60, deadline=None)
@given(findings)
def test_any_findings_come_back_from_their_json_to_the_last_digit(given_findings):
    text = given_findings.to_json()
    strict(text)
    assert Findings.from_json(text) == given_findings


def test_the_json_has_the_keys_that_the_users_were_promised():
    content = strict(FINDINGS.to_json())
    assert content["schema"] == 1
    assert set(content) == {f.name for f in fields(Findings)}
    assert {"scan", "lungs", "lesions", "burden", "spread", "warnings", "origin", "disclaimer"} < set(content)
    assert set(content["scan"]) == {"source", "shape_zyx", "spacing_mm"}
    assert set(content["lungs"]) == {"left_ml", "right_ml", "total_ml", "reasons", "parts"}
    promised = {
        "id",
        "volume_ml",
        "long_axis_mm",
        "short_axis_mm",
        "long_axis_ends_mm",
        "side",
        "centroid_mm",
        *("mesh_volume_ml", "surface_cm2", "sphericity", "elongation", "flatness", "max_3d_mm"),
        *("equivalent_diameter_mm", "who_product_mm2", "mean_hu", "sd_hu", "solid_percent", "mass_g", "zone"),
        *("lobe", "distance_to_pleura_mm", "pleural_contact_cm2", "recist_measurable", "flags"),
        *("volume_ml_error", "long_axis_mm_error", "short_axis_mm_error"),
    }
    assert promised < set(content["lesions"][0])
    assert set(content["burden"]) == {
        "count", "volume_ml", "lung_fraction_percent", "sum_of_long_axes_mm", "reasons", "target_ids",
        "sum_of_target_axes_mm",
    }  # fmt: skip
    assert content["warnings"] == [{"code": "thick_slices", "text": "slices are 8 mm apart"}]
    assert content["lesions"][0]["long_axis_ends_mm"] == [[1.0, -2.5, 3.25], [4.0, 5.0, -1e-3]]
    assert content["lesions"][1]["side"] is None


def test_the_text_is_indented_and_ends_in_a_newline():
    assert FINDINGS.to_json().startswith('{\n  "scan": {\n')
    assert FINDINGS.to_json().endswith("}\n")


def test_names_in_any_script_survive():
    name = "Lunge_Größe_肺.nii.gz"
    text = replace(FINDINGS, scan=replace(FINDINGS.scan, source=name)).to_json()
    assert Findings.from_json(text).scan.source == name


def test_no_nan_reaches_the_json_even_from_a_scan_that_holds_nothing_else():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]
    mask = Volume(np.pad(np.ones((2, 2, 2), bool), 1), affine)
    lungs = Lungs(None, None, None, {"left_ml": "none"})
    scan = Volume(np.full(mask.shape, np.nan, np.float32), affine)
    lesions = measure_lesions(scan, label_lesions(mask), None, lungs)
    text = replace(
        FINDINGS,
        lesions=lesions,
        lungs=lungs,
        burden=sum_burden(lesions, lungs),
        spread=measure_spread(lesions, lungs),
    ).to_json()
    assert strict(text)["lesions"][0]["mean_hu"] is None


DAMAGED = {
    "empty": "",
    "not json": "volume: 3 mL",
    "cut off": FINDINGS.to_json()[:300],
    "a list": "[]",
    "another file": '{"name": "Lung", "training": []}',
    "no lesions": broken(lambda c: c.pop("lesions")),
    "text for a number": broken(lambda c: c["lesions"][0].update(volume_ml="three")),
    "null for a number": broken(lambda c: c["lesions"][0].update(volume_ml=None)),
    "two coordinates": broken(lambda c: c["lesions"][0].update(centroid_mm=[1, 2])),
    "a third side": broken(lambda c: c["lesions"][0].update(side="middle")),
    "a lesion that is a number": broken(lambda c: c.update(lesions=[3])),
    "a later schema": broken(lambda c: c.update(schema=2)),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_json_is_refused_in_one_line(text):
    with pytest.raises(ReadError) as refusal:
        Findings.from_json(text)
    assert "findings.json" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_refusal_names_the_place():
    with pytest.raises(ReadError, match=r"lesions\.0\.volume_ml: .*number"):
        Findings.from_json(DAMAGED["text for a number"])
    with pytest.raises(ReadError, match="schema 2; this version reads 1"):
        Findings.from_json(DAMAGED["a later schema"])


@pytest.mark.parametrize("token", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(token):
    text = FINDINGS.to_json().replace('"volume_ml": 0.5', f'"volume_ml": {token}', 1)
    assert token in text
    with pytest.raises(ReadError):
        Findings.from_json(text)
