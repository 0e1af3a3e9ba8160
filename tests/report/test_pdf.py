from __future__ import annotations

import builtins
import re
from dataclasses import replace

import pytest
from PIL import ImageFile
from pypdf import PdfReader

from tumorspread.errors import OutputError
from tumorspread.pipeline import Analysis
from tumorspread.report.folder import write_analysis
from tumorspread.report.page import report_page
from tumorspread.report.pdf import check_pdf, write_pdf

try:
    check_pdf()
except OutputError as missing:
    pytest.skip(str(missing), allow_module_level=True)


def test_what_weasyprint_allows_pictures_to_be_is_not_allowed_to_scans():
    check_pdf()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.fixture(scope="module")
def pages(thorax, tmp_path_factory) -> list[str]:
    path = tmp_path_factory.mktemp("pdf") / "report.pdf"
    write_pdf(report_page(thorax.findings, thorax.scan, thorax.lesions, thorax.lungs), path)
    return [" ".join(page.extract_text().split()) for page in PdfReader(path).pages]


def test_each_lesion_begins_a_page_of_its_own(pages):
    starts = [n for n, text in enumerate(pages) if re.search(r"Lesion \d · ", text)]
    assert len(starts) == 2
    assert len(set(starts)) == 2


def test_every_page_has_its_number_and_the_disclaimer_and_no_patient_in_its_head(pages):
    for number, text in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in text
        assert "Research use only" in text
        assert number == 1 or "patient_7" not in text or "How it was made" in text


def test_the_front_page_says_the_warning_and_how_much(pages):
    assert "compressed with loss" in pages[0]
    assert "2 lesions hold 4.80 mL" in pages[0].replace("\u00a0", " ")


def test_a_page_that_asks_for_something_from_elsewhere_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"x")
    page = f'<img src="file://{tmp_path}/secret.png">'
    with pytest.raises(OutputError, match="not complete in itself"):
        write_pdf(page, tmp_path / "report.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["secret.png"]


@pytest.mark.parametrize(
    ("error", "words"),
    [(ImportError("no module"), r"tumorspread\[pdf\]"), (OSError("libpango not found"), "Pango")],
)
def test_what_is_missing_is_said_in_one_line(monkeypatch, error, words):
    real = builtins.__import__

    def fail(name, *rest):
        if name == "weasyprint":
            raise error
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(OutputError, match=words) as refused:
        check_pdf()
    assert "\n" not in str(refused.value)


def test_the_folder_holds_the_pdf_only_when_asked(thorax, tmp_path):
    findings = replace(thorax.findings, lesions=thorax.findings.lesions[:1])
    analysis = Analysis(thorax.scan, thorax.lesions, None, findings)
    write_analysis(analysis, tmp_path)
    assert not (tmp_path / "report.pdf").exists()
    write_analysis(analysis, tmp_path, pdf=True)
    assert (tmp_path / "report.pdf").read_bytes()[:5] == b"%PDF-"
