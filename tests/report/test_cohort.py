from __future__ import annotations

import io
import json
import re
import shutil
from datetime import date, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tumorspread.errors import MaskError
from tumorspread.report.cohort import ROWS_A_PAGE, CohortCase, FollowedPatient, cohort_page, thumbnail
from tumorspread.report.cohort_case import rank_cases, volume_limits_ml
from tumorspread.report.cohort_courses import patient_courses
from tumorspread.report.cohort_figures import agreement
from tumorspread.report.cohort_followup import worst_first
from tumorspread.scan.volume import Volume


def case(name: str, volume_ml: float = 10.0, **more) -> CohortCase:
    return CohortCase(name, "ok", **({"lesions": 1, "volume_ml": volume_ml} | more))


def rows_of(html: str) -> list[dict]:
    text = re.search(r'<script type="application/json" id="cases">(.*?)</script>', html, re.DOTALL)[1]
    return json.loads(text)["rows"]


class Hrefs(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def test_failed_cases_come_first_then_volumes_far_off_then_bad_dice_then_warnings():
    rng = np.random.default_rng(3)
    usual = [case(f"usual_{n}", float(v)) for n, v in enumerate(rng.lognormal(2, 0.3, 40))]
    odd = [
        CohortCase("skipped", "skipped", reason="not a chest CT"),
        case("warned", warnings=("compressed with loss",)),
        case("bad", dice=0.2, reference_volume_ml=9.0),
        case("huge", 5000.0),
        CohortCase("broken", "failed", reason="a slice is missing"),
    ]
    ranked = rank_cases([*usual, *odd])
    assert [r.case.case for r in ranked[:5]] == ["broken", "huge", "bad", "warned", "skipped"]
    assert [r.why for r in ranked[:2]] == ["a slice is missing", "5000\u00a0mL is unusually large for this cohort"]
    assert not any(r.why for r in ranked[5:])


def test_limits_of_volume_are_those_of_the_modified_z_score():
    volumes = 10.0 ** np.array([-1, -0.5, -0.25, 0, 0, 0.25, 0.5, 1, 0])
    low, high = volume_limits_ml(list(volumes))
    # The median of the logarithms is 0 and their median deviation 0.25.
    assert np.log10([low, high]) == pytest.approx([-3.5 * 0.25 / 0.6745, 3.5 * 0.25 / 0.6745])


@pytest.mark.parametrize("volumes", [[], [1.0], [5.0] * 20, [1.0, 2.0, 4000.0]])
def test_few_or_equal_volumes_make_no_outliers(volumes):
    assert volume_limits_ml(volumes) == (0.0, float("inf"))


def test_the_table_holds_every_case_and_the_page_the_first_ones():
    cases = [case(f"case_{n:03d}", n + 1.0) for n in range(ROWS_A_PAGE + 20)]
    html = cohort_page(cases)
    assert sorted(row["v"][0] for row in rows_of(html)) == [c.case for c in cases]
    assert html.count('<td class="why">') == ROWS_A_PAGE


def test_columns_without_a_value_are_left_out():
    html = cohort_page([case("a")])
    assert "Dice" not in re.search("<thead>.*?</thead>", html, re.DOTALL)[0]
    assert "Against the reference" not in html
    assert "Patients with several dates" not in html


def test_text_from_outside_cannot_become_markup_or_leave_the_data():
    evil = "</script><script>alert(1)</script>\"'&\u2028"
    html = cohort_page([case(evil, patient=evil, warnings=(evil,)), CohortCase("b", "failed", reason=evil)], title=evil)
    assert "<script>alert" not in html
    assert {row["v"][0] for row in rows_of(html)} == {evil, "b"}


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("cases/a/report.html", "cases/a/report.html"),
        ("a b#1?.html", "a%20b%231%3F.html"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("//elsewhere/x", "elsewhere/x"),
        ("https://elsewhere/x", "https%3A//elsewhere/x"),
    ],
)
def test_links_lead_to_files_beside_the_page_and_nowhere_else(link, expected):
    html = cohort_page([case("a", report=link, thumbnail=link)])
    assert {h for h in Hrefs(html).found if not h.startswith(("#", "data:"))} == {expected}
    assert rows_of(html)[0]["r"] == rows_of(html)[0]["t"] == expected


def test_a_course_is_in_the_order_of_dates_with_the_response_by_volume():
    cases = [
        case("c", 40.0, patient="P", date="2024-06-01"),
        case("a", 20.0, patient="P", date="2024-01-01"),
        case("b", 5.0, patient="P", date="2024-03-01T10:00:00"),
        case("same day", 99.0, patient="P", date="2024-03-01"),
        case("alone", 5.0, patient="Q", date="2024-03-01"),
        case("undated", 5.0, patient="Q", date="spring"),
        CohortCase("failed", "failed", "Q", "2024-04-01"),
    ]
    (course,) = patient_courses(cases)
    assert (course.patient, course.days, course.volumes_ml) == ("P", (0, 60, 152), (20.0, 5.0, 40.0))
    assert course.responses == ("PR", "PD")
    assert course.best == (pytest.approx(-75.0), "PR")


def test_a_patient_without_tumour_at_first_has_no_best_change():
    cases = [case("a", 0.0, patient="P", date="2024-01-01"), case("b", 3.0, patient="P", date="2024-02-01")]
    assert patient_courses(cases)[0].best is None
    assert "1 of 1 patients had no tumour" not in cohort_page(cases)  # no waterfall to leave it out of


def test_limits_of_agreement_are_mean_and_twice_the_deviation():
    found = agreement(np.array([11.0, 19.0, 33.0]), np.array([10.0, 20.0, 30.0]))
    assert (found.count, found.bias) == (3, pytest.approx(1.0))
    assert (found.low, found.high) == (pytest.approx(1 - 1.96 * 2), pytest.approx(1 + 1.96 * 2))
    assert agreement(np.array([3.0]), np.array([1.0])).low is None


def test_a_study_with_everything_has_all_its_charts():
    rng = np.random.default_rng(5)
    start = date(2024, 1, 1)
    cases = [
        case(f"{p}_{n}", float(v), patient=f"P{p}", date=str(start + timedelta(90 * n)), lesions=int(p % 3),
             reference_volume_ml=float(v * rng.lognormal(0, 0.1)), dice=0.8, seconds=5.0, largest_mm=12.0,
             lung_fraction_percent=0.4)
        for p in range(12) for n, v in enumerate(rng.lognormal(1, 1, 3))
    ]  # fmt: skip
    html = cohort_page(cases)
    for words in ("Distributions", "Waterfall plot", "Swimmer plot", "Bland-Altman plot", "median Dice of 36 is 0.800"):
        assert words in html


def test_a_study_of_no_case_or_of_failures_alone_is_a_whole_page():
    assert "No case" in cohort_page([])
    html = cohort_page([CohortCase("a", "failed", reason="damaged")])
    assert "damaged" in html
    assert "Distributions" not in html


def test_a_thumbnail_shows_each_lesion_on_its_side(thorax):
    picture = Image.open(io.BytesIO(thumbnail(thorax.scan, thorax.lesions, thorax.lungs)))
    assert max(picture.size) == 192
    depth, _, width = np.array(thorax.scan.shape) * thorax.scan.spacing_mm
    assert picture.size[0] / picture.size[1] == pytest.approx(width / depth, rel=0.02)


def test_a_thumbnail_loses_no_lesion_of_one_voxel():
    labels = np.zeros((40, 60, 900), np.uint8)
    labels[7, 30, 501] = 1
    scan = Volume.upright(np.full(labels.shape, -800, np.int16), (2.0, 1.0, 0.2))
    pixels = np.asarray(Image.open(io.BytesIO(thumbnail(scan, scan.with_voxels(labels), None))).convert("RGB"), int)
    assert (pixels[..., 0] - pixels[..., 2]).max() > 40


def test_a_thumbnail_of_another_grid_is_refused(thorax):
    with pytest.raises(MaskError):
        thumbnail(thorax.scan, Volume(thorax.lesions.voxels[1:], thorax.lesions.affine), None)


@pytest.fixture(scope="module")
def browser_page():
    chromium = shutil.which("chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    if chromium is None:
        pytest.skip("no chromium")
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser.new_page()
        browser.close()


def test_the_table_sorts_searches_filters_and_turns_pages(browser_page, tmp_path):
    cases = [case(f"case_{n}", float(n * 37 % 120 + 1), patient=f"P{n % 7}") for n in range(120)]
    cases.append(CohortCase("broken", "failed", "P9", reason="Slice missing"))
    (tmp_path / "cohort.html").write_text(cohort_page(cases), encoding="utf-8")
    errors = []
    browser_page.on("pageerror", lambda error: errors.append(error))
    browser_page.goto((tmp_path / "cohort.html").as_uri())

    def column(number: int) -> list[str]:
        return browser_page.locator(f"#rows tr td:nth-child({number})").all_inner_texts()

    assert column(2)[0] == "broken"
    browser_page.get_by_role("button", name="Volume, mL").click()
    assert [float(v) for v in column(5)] == sorted((c.volume_ml for c in cases if c.volume_ml), reverse=True)[:50]
    browser_page.get_by_role("button", name="Volume, mL").click()
    assert column(5)[0] == "1.00"
    browser_page.get_by_role("button", name="Case", exact=True).click()
    assert column(2)[:4] == ["broken", "case_0", "case_1", "case_2"]
    browser_page.get_by_role("button", name="Next").click()
    assert browser_page.locator("#place").inner_text() == "51 to 100 of 121"
    browser_page.locator("#search").fill("p3 case")
    assert set(column(3)) == {"P3"}
    browser_page.locator("#search").fill("missing")
    assert column(2) == ["broken"]
    browser_page.locator("#search").fill("")
    browser_page.locator("#concern").select_option("failed")
    assert column(2) == ["broken"]
    assert errors == []


def test_followed_patients_are_shown_with_progression_and_new_lesions_first():
    found = [
        FollowedPatient("stable", 2, 91, "SD", 0, 4.0, False),
        FollowedPatient("unknown", 2, 91, None, 0, None, None, ("check the matches",)),
        FollowedPatient("grown", 2, 91, "PD", 0, 300.0, True),
        FollowedPatient("spread", 3, 182, "PD", 2, 5.0, True, report="patients/spread/report.html"),
        FollowedPatient("<b>gone", 2, 91, "CR", 0, -100.0, None),
    ]
    assert [one.patient for one in worst_first(found)] == ["spread", "grown", "stable", "<b>gone", "unknown"]
    html = cohort_page([case("a")], followed=found)
    assert (
        html.index(">spread</a>") < html.index("grown") < html.index("+4 (within error)") < html.index("&lt;b&gt;gone")
    )
    assert Hrefs(html).found[-1] == "patients/spread/report.html"
    assert "Followed patients" not in cohort_page([case("a")])
