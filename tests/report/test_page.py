from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tumorspread.measurement.hits import compare_lesions
from tumorspread.measurement.metrics import MaskMetrics
from tumorspread.measurement.parts import Burden, Lungs, Origin, PartBurden, Spread
from tumorspread.measurement.staging import propose_stage
from tumorspread.measurement.summary import CaseScore, Evaluation, Interval
from tumorspread.report import page
from tumorspread.report.page import MOST_PICTURES, evaluation_page, report_page
from tumorspread.report.plate import Plate
from tumorspread.report.rendering import Footnotes
from tumorspread.report.scene import Picture, Scene
from tumorspread.report.tables import rounded
from tumorspread.report.views import AXIAL, Frame
from tumorspread.scan.volume import Remark

VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Collects what a browser would see, and checks that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).replace("\u00a0", " ").split())

    def values(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.tags if attrs.get(name)]


PNG = b"\x89PNG not decoded by these tests"


@pytest.fixture
def unpictured(monkeypatch):
    """For tests of the words: drawing takes most of the time of a page."""
    names = ("axial", "soft", "whole", "coronal", "sagittal")
    monkeypatch.setattr(page, "overview_figure", lambda *_: [blank("coronal"), blank("sagittal")])
    monkeypatch.setattr(page, "lesion_figure", lambda *_: [blank(name) for name in names])


def blank(name: str) -> Picture:
    return Picture(name, name, Plate.blank(AXIAL, Frame((0, 0, 0), (9, 9, 9)), (1.0, 1.0, 1.0), 1.0))


@pytest.fixture(scope="module")
def full(thorax) -> Reader:
    return Reader(report_page(thorax.findings, thorax.scan, thorax.lesions, thorax.lungs))


def read(thorax, **changes) -> Reader:
    return Reader(report_page(replace(thorax.findings, **changes), thorax.scan, thorax.lesions, None))


def test_the_page_needs_nothing_from_elsewhere(full):
    assert all(source.startswith("data:image/jpeg;base64,") for source in full.values("src"))
    assert all(link.startswith("#") for link in full.values("href"))
    assert {tag for tag, _ in full.tags} & {"script", "link", "iframe"} == set()


def test_the_pictures_inside_are_two_projections_and_five_planes_a_lesion(full):
    sources = [base64.b64decode(source.split(",")[1]) for source in full.values("src")]
    sizes = [Image.open(io.BytesIO(picture)).size for picture in sources]
    assert len(sizes) == 2 + 5 * 2
    assert sum(width for width, _ in sizes[:2]) == pytest.approx(1500, abs=2)
    assert [width for width, _ in sizes[2:7]] == [760, 380, 342, 380, 380]  # the body is deeper than wide
    assert all(full.values("alt"))


def test_every_picture_has_a_histogram_beside_it(full):
    assert [tag for tag, _ in full.tags].count("svg") == 2
    assert "median 30.0 HU" in full.text


def test_the_front_page_shows_where_it_lies_and_the_proposal_before_the_table(thorax, unpictured):
    names = [f"{side}_{height}" for side in ("left", "right") for height in ("upper", "middle", "lower")]
    parts = tuple(PartBurden("zone", name, 1 if name == "left_upper" else 0, 4.32, 0.5) for name in names)
    stage = propose_stage(thorax.findings.lesions)
    reader = read(thorax, spread=replace(thorax.findings.spread, parts=parts), stage=stage)
    order = ["Where it lies", "upper zone–4.32 mL in 1", stage.t_rule, "Share of its lung"]
    places = [reader.text.find(words) for words in order]
    assert -1 not in places
    assert places == sorted(places)


def test_measures_of_a_lesion_have_their_error_bars(thorax, unpictured):
    lesion = replace(thorax.findings.lesions[0], volume_ml_error=0.25, long_axis_mm_error=1.5)
    reader = read(thorax, lesions=(lesion,))
    assert reader.text.count("4.32 ± 0.25 mL") == 2
    assert reader.text.count("18.0 ± 1.5 mm") == 2


def test_with_a_reference_hits_misses_and_false_alarms_are_told(thorax):
    drawn = np.zeros_like(thorax.lesions.voxels)
    drawn[14:17, 18:22, 34:38] = 1  # two thirds of lesion 1
    drawn[18:20, 20:22, 12:14] = 1  # nowhere in the result
    comparison = compare_lesions(thorax.lesions, thorax.lesions.with_voxels(drawn))
    html = report_page(thorax.findings, thorax.scan, thorax.lesions, thorax.lungs, comparison)
    reader = Reader(html)
    for words in ("Against the reference", "1 of 2of the reference's lesions found", "reference 1 hit",
                  "reference 2 miss", "result 2 false alarm", "100 %"):  # fmt: skip
        assert words in reader.text
    assert rounded(comparison.metrics.dice) in reader.text
    assert len(reader.values("src")) == 2 + 5 * 2 + 5 + 3


def test_a_reference_without_tumour_makes_every_lesion_a_false_alarm(thorax):
    empty = thorax.lesions.with_voxels(np.zeros_like(thorax.lesions.voxels))
    comparison = compare_lesions(thorax.lesions, empty)
    reader = Reader(report_page(thorax.findings, thorax.scan, thorax.lesions, thorax.lungs, comparison))
    assert reader.text.count("false alarm 4.32 mL") == 1
    assert reader.text.count("false alarm 0.480 mL") == 1
    assert "None" not in reader.text


def test_every_link_leads_to_a_place_on_the_page(full):
    assert {link[1:] for link in full.values("href")} <= set(full.values("id"))
    assert {"lesion-1", "lesion-2"} <= set(full.values("id"))


def test_the_banner_comes_first_then_the_warnings_then_the_answer(full):
    order = ["Research use only.", "compressed with loss", "2 lesions hold 4.80 mL", "Spread", "cannot tell"]
    places = [full.text.index(words) for words in order]
    assert places == sorted(places)


def test_the_tables_hold_the_findings_with_units(full):
    for words in ("4.32 mL", "18.0 mm", "16.0 mm", "0.480 mL", "78.4 mm", "97.3 %", "735 mL", "2 of 2"):
        assert words in full.text


def test_the_page_says_what_made_it_and_what_it_cannot_judge(full):
    for words in ("tumorspread 0.1.0", "lung-v1", "ab" * 32, "0.50", "24 × 40 × 48", "5.00 × 4.00 × 3.00 mm",
                  "malignant", "inflammation", "Lymph nodes", "chest wall", "metastases"):  # fmt: skip
        assert words in full.text


def test_a_flag_is_said_in_plain_words(full):
    assert "lies outside the outline of the lungs" in full.text
    assert "outside_lungs" not in full.text


def test_missing_numbers_are_dashes_whose_reason_stands_on_hover_and_below(thorax, unpictured):
    why = "no lungs were found in this scan"
    reader = read(
        thorax,
        lungs=Lungs(None, None, None, dict.fromkeys(("left_ml", "right_ml", "total_ml"), why)),
        burden=replace(thorax.findings.burden, lung_fraction_percent=None, reasons={"lung_fraction_percent": why}),
        spread=replace(thorax.findings.spread, left=None, right=None, reasons={"left": why, "right": why}),
    )
    assert reader.values("title").count(why) >= 8
    assert reader.text.count(why) == 1
    assert "Why numbers are missing" in reader.text
    assert "None" not in reader.text


def test_a_part_whose_lesions_are_unknown_shows_dashes_and_why(thorax, unpictured):
    why = "the zone of lesion 2 is unknown"
    reasons = dict.fromkeys(("count", "volume_ml", "lung_fraction_percent"), why)
    part = PartBurden("zone", "left_upper", None, None, None, reasons)
    reader = read(thorax, spread=replace(thorax.findings.spread, parts=(part,)))
    assert reader.values("title").count(why) == 3
    assert "None" not in reader.text


def test_a_mask_brought_along_has_no_weights_and_says_why(thorax, unpictured):
    reader = read(thorax, origin=Origin("tumorspread 0.1.0", "mask.nii.gz"))
    assert "no weights were used: the mask was brought along" in reader.text


def test_text_from_outside_cannot_become_markup(thorax, unpictured):
    evil = "<script>alert(1)</script>\"'&"
    html = report_page(
        replace(
            thorax.findings,
            scan=replace(thorax.findings.scan, source=evil),
            warnings=(Remark("x", evil),),
            origin=replace(thorax.findings.origin, weights=evil),
            lungs=Lungs(None, None, None, {"left_ml": evil}),
        ),
        thorax.scan, thorax.lesions, None,
    )  # fmt: skip
    assert "<script" not in html
    assert evil in Reader(html).text


def test_without_lesions_and_warnings_the_page_is_whole(thorax):
    none = thorax.lesions.with_voxels(np.zeros_like(thorax.lesions.voxels))
    findings = replace(
        thorax.findings, lesions=(), warnings=(), burden=Burden(0, 0.0, 0.0, 0.0),
        spread=Spread(None, None, 0, None, None, None, None, {"largest_distance_mm": "below two lesions"}),
    )  # fmt: skip
    reader = Reader(report_page(findings, thorax.scan, none, thorax.lungs))
    assert "No lesion stands in the mask" in reader.text
    assert "Read this first" not in reader.text
    assert "Lesion by lesion" not in reader.text


def test_of_many_lesions_the_largest_are_pictured_and_all_are_listed(thorax, unpictured, monkeypatch):
    lesions = tuple(replace(thorax.findings.lesions[0], id=n) for n in range(1, MOST_PICTURES + 9))
    section = page._section(Scene.of(thorax.scan, thorax.lesions), thorax.findings.lesions[0])
    monkeypatch.setattr(page, "_section", lambda _, lesion: replace(section, lesion=lesion))
    reader = read(thorax, lesions=lesions, burden=replace(thorax.findings.burden, count=len(lesions)))
    assert len(reader.values("src")) == 5 * MOST_PICTURES + 2
    assert f"The largest {MOST_PICTURES} of {len(lesions)} lesions are pictured" in reader.text
    assert {link[1:] for link in reader.values("href")} <= set(reader.values("id"))


def test_footnotes_are_numbered_once_a_reason():
    notes = Footnotes()
    assert [notes.number(reason) for reason in ("a", "b", "a", "c")] == [1, 2, 1, 3]
    assert notes.reasons == ["a", "b", "c"]


@pytest.fixture
def evaluation() -> Evaluation:
    good = MaskMetrics(0.75, 0.6, 0.99987, 0.8, 0.7, 0.99995, 0.91, 4.25, 1.5, 2.0, -0.5, -25.0, 2, 1, 3)
    empty = "the predicted mask is empty"
    missed = MaskMetrics(0.0, 0.0, 0.99, None, 0.0, 1.0, None, None, 0.0, 2.0, -2.0, -100.0, 1, 0, 0,
                         {"precision": empty, "nsd_2mm": empty, "hd95_mm": empty})  # fmt: skip
    cases = (CaseScore("lung_001", good), CaseScore("lung_<b>", missed))
    summary = {
        "dice": Interval(0.375, 0.0, 0.75, 0.375, 2),
        "hd95_mm": Interval(4.25, None, None, 4.25, 1, "1 case left out"),
        "nsd_2mm": Interval(None, None, None, None, 0, "slices are independent"),
    }
    recall, false_positives = Interval(0.333, 0.0, 0.5, 0.25, 2), Interval(1.5, 0.0, 3.0, 1.5, 2)
    return Evaluation("lung-v1", "Task06_Lung", "test", cases, summary, recall, false_positives)


def test_the_evaluation_shows_means_with_intervals_and_every_case(evaluation):
    reader = Reader(evaluation_page(evaluation, [("worst: lung_001", PNG)]))
    for words in (
        "0.375",
        "0 to 0.750",
        "lung_001",
        "lung_<b>",
        "4.25",
        "0.9999",
        "−25.0",
        "worst: lung_001",
    ):
        assert words in reader.text
    assert base64.b64decode(reader.values("src")[0].split(",")[1]) == PNG


def test_the_evaluation_says_why_numbers_are_missing_or_left_out(evaluation):
    reader = Reader(evaluation_page(evaluation, []))
    for reason in ("slices are independent", "1 case left out", "the predicted mask is empty"):
        assert reader.text.count(reason) == 1
    assert "None" not in reader.text


def test_the_evaluation_defines_its_measures_and_stays_inside(evaluation):
    reader = Reader(evaluation_page(evaluation, []))
    for words in ("95th percentile", "as MONAI", "within 2 mm", "at least 10%", "percentile bootstrap"):
        assert words in reader.text
    assert "Research use only" in reader.text
    assert all(link.startswith("#") for link in reader.values("href"))


def test_an_evaluation_without_cases_is_a_whole_page(evaluation):
    none = Interval(None, None, None, None, 0, "no cases")
    bare = replace(evaluation, cases=(), summary={"dice": none}, lesion_recall=none, false_positives_per_scan=none)
    assert "No case was evaluated" in Reader(evaluation_page(bare, [])).text
