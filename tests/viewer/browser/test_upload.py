"""A scan that is brought to the page is analysed there, and can be stopped."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

from .conftest import Desk, screenshot

Show = Callable[..., Page]


def test_a_scan_on_its_way_can_be_cancelled_and_leaves_nothing(show: Show, desk: Desk) -> None:
    page = show("markers")
    before = page.locator("#cases li").count()
    page.set_input_files("#file", desk.scan_of("large"))
    page.locator("#job-cancel").wait_for()
    screenshot(page, "analysing")
    page.locator("#job-cancel").click()
    page.locator("#job").wait_for(state="hidden")
    assert page.locator("#message").inner_text().startswith(("the analysis was cancelled", "stopped"))
    page.reload()
    page.wait_for_selector('body[data-open="markers"]', state="attached")
    assert page.locator("#cases li").count() == before


def test_a_scan_that_is_brought_joins_the_reading_list_with_its_findings(show: Show, desk: Desk) -> None:
    page = show("markers")
    before = page.locator("#cases li").count()
    page.set_input_files("#file", desk.scan_of("tour"))
    # The network takes seconds on an idle machine, and has taken minutes on a crowded one.
    page.wait_for_selector('body[data-open]:not([data-open="markers"])', state="attached", timeout=400_000)
    assert page.locator("#cases li").count() == before + 1
    assert page.locator("#burden").inner_text()


def test_what_is_no_scan_is_refused_in_one_sentence(show: Show) -> None:
    page = show("markers")
    page.set_input_files("#file", {"name": "notes.nii.gz", "mimeType": "application/gzip", "buffer": b"no scan"})
    page.locator("#message.is-refusal").wait_for()
    assert page.locator("#message").inner_text()
    assert page.locator("#job").is_hidden()
