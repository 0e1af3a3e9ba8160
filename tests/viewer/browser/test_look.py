"""What a reader sees: sides, windows, keys, the first slice, and two pictures side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page

from .conftest import LARGE, MARKERS_HU, Desk, picture, screenshot, wait_for_revision

Show = Callable[..., Page]
BONE = (-500.0, 1300.0)
# Plane, and the sides of the body at the left, right, top and bottom edge of its picture, as in report/views.py.
PLANES = (("axial", "RLAP"), ("coronal", "RLHF"), ("sagittal", "APHF"))


def _grey(hu: float) -> float:
    return 255 * (np.clip(hu, *BONE) - BONE[0]) / (BONE[1] - BONE[0])


def _at_edges(pixels: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Grey of the markers at the left, right, top and bottom: the plane lies in the middle of the picture."""
    grey = pixels.astype(float).mean(axis=2)
    # What is not air: the plane's own size in the picture follows from its markers.
    rows, columns = np.nonzero(grey > 20)
    middle_row, middle_column = grey.shape[0] // 2, grey.shape[1] // 2
    near_row, near_column = abs(rows - middle_row) < 12, abs(columns - middle_column) < 12
    across = columns[near_row & (abs(columns - middle_column) > 60)]
    down = rows[near_column & (abs(rows - middle_row) > 60)]
    left, right = across[across < middle_column], across[across > middle_column]
    top, bottom = down[down < middle_row], down[down > middle_row]
    # Beside the crosshair, which runs through the middle.
    row, column = slice(middle_row + 8, middle_row + 16), slice(middle_column + 8, middle_column + 16)
    return (
        float(np.median(grey[row, _middle(left)])),
        float(np.median(grey[row, _middle(right)])),
        float(np.median(grey[_middle(top), column])),
        float(np.median(grey[_middle(bottom), column])),
    )


def _middle(places: NDArray[np.intp]) -> int:
    return int(np.median(places))


@pytest.mark.parametrize("case", ["markers", "markers-turned"])
def test_each_side_of_the_body_is_where_radiologists_expect_it(show: Show, case: str) -> None:
    page = show(case)
    page.keyboard.press("o")
    page.keyboard.press("3")
    # From the lesion, where the page went, to the middle of the block.
    for plane, _ in PLANES:
        page.select_option("#layout", plane)
        box = page.locator("#scan").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for plane, sides in PLANES:
        page.select_option("#layout", plane)
        found = _at_edges(picture(page, f"{case}-{plane}"))
        for side, grey in zip(sides, found, strict=True):
            assert grey == pytest.approx(_grey(MARKERS_HU[side]), abs=12), (plane, side, found)


def test_the_first_slice_comes_soon(show: Show, desk: Desk) -> None:
    page = show("large")
    seconds = float(page.locator("body").get_attribute("data-first-slice-seconds") or "nan")
    print(f"\nfirst_slice_seconds {seconds:.1f}\nfirst_slice_shape {'x'.join(map(str, LARGE[::-1]))}")
    assert seconds < 60
    page.select_option("#layout", "planes+3d")
    screenshot(page, "planes-and-3d")
    page.select_option("#layout", "3d")
    volume = picture(page, "3d")
    # Something is drawn, and the lesions' colours are among it.
    assert volume.max() > 60


def test_the_mask_is_drawn_in_the_colour_of_its_lesion(show: Show) -> None:
    page = show("tour")
    page.select_option("#layout", "axial")
    page.evaluate("document.getElementById('opacity').value = 1")
    page.locator("#opacity").dispatch_event("input")
    opaque = picture(page, "opaque")
    orange = np.array([0xE6, 0x9F, 0x00])
    is_lesion = (abs(opaque.astype(int) - orange) < 8).all(axis=2)
    assert is_lesion.sum() > 500
    page.keyboard.press("o")
    hidden = picture(page, "hidden")
    assert not (abs(hidden.astype(int) - orange) < 8).all(axis=2).any()


def test_keys_windows_and_the_reading_list(show: Show) -> None:
    page = show("tour")
    for key, window in (("2", "soft"), ("3", "bone"), ("1", "lung")):
        page.keyboard.press(key)
        assert page.locator(f'[data-window="{window}"]').get_attribute("aria-checked") == "true"
    page.keyboard.press("j")
    assert page.locator('[data-lesion="2"]').get_attribute("aria-selected") == "true"
    assert "lesion 2" in page.locator("#place").inner_text()
    page.keyboard.press("k")
    page.keyboard.press("a")
    wait_for_revision(page, 1)
    assert "accepted" in page.locator("#measures-title").inner_text()
    page.keyboard.press("?")
    assert page.locator("#keys-dialog").is_visible()
    screenshot(page, "help")
    page.keyboard.press("Escape")
    assert not page.locator("#keys-dialog").is_visible()
    assert "Research use only" in page.locator(".disclaimer").inner_text()
    # Lesions 1 and 2 become one, which can be split again at the places that are clicked.
    before = page.locator("#lesions li").count()
    page.keyboard.press("m")
    page.locator('[data-lesion="2"]').click()
    wait_for_revision(page, 2)
    assert page.locator("#lesions li").count() == before - 1
    page.keyboard.press("c")
    page.wait_for_selector("body[data-compared]", state="attached")
    screenshot(page, "compared")
    page.keyboard.press("Control+z")
    wait_for_revision(page, 3)
    assert page.locator("#lesions li").count() == before
    page.keyboard.press("p")
    page.wait_for_selector('body[data-open="tools"]', state="attached")


def test_a_name_is_asked_for_once(show: Show) -> None:
    page = show("markers", None)
    page.keyboard.press("a")
    page.locator("#author-name").fill("Dr Eve")
    screenshot(page, "name")
    page.keyboard.press("Enter")
    wait_for_revision(page, 1)
    page.keyboard.press("a")
    wait_for_revision(page, 2)
    assert page.locator("#author").inner_text() == "Dr Eve"
    page.locator("#history-section > summary").click()
    assert page.locator("#history li").count() == 2
    assert "Dr Eve" in page.locator("#history li").first.inner_text()


def test_the_probability_layer_colours_what_is_likely_and_leaves_the_rest_alone(show: Show) -> None:
    page = show("markers")
    page.select_option("#layout", "axial")
    before = picture(page, "without-probability").astype(int)
    with page.expect_response("**/probability.nii.gz"):
        page.locator("#probability").check()
    page.wait_for_timeout(1500)
    changed = np.abs(picture(page, "probability").astype(int) - before).max(axis=2) > 40
    columns = np.nonzero(changed)[1]
    # Radiological convention: the patient's left is at the right.
    assert columns.min() > changed.shape[1] / 2
    assert 0.005 < changed.mean() < 0.1
