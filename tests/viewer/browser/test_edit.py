"""A reader corrects lesions in the page, and the numbers follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

import tumorspread
from tumorspread.scan.volume import Reorientation, Volume

from .conftest import Desk, burden_ml, export, screenshot, volume_ml, wait_for_revision

Show = Callable[..., Page]
ACROSS, BACK = np.array([25.0, 0.0, 0.0]), np.array([0.0, 25.0, 0.0])


class AxialPicture:
    """Where a point of the body lies on the screen while the page shows one axial plane."""

    def __init__(self, page: Page, scan: Volume) -> None:
        upright = Reorientation.to_canonical(scan).apply(scan)
        self.grid = upright
        box = page.locator("#scan").bounding_box()
        assert box is not None
        self.box = box
        _, rows, columns = upright.shape
        _, row_mm, column_mm = upright.spacing_mm
        self.size_mm = (columns * column_mm, rows * row_mm)
        self.scale = min(box["width"] / self.size_mm[0], box["height"] / self.size_mm[1])

    def at(self, point_mm: np.ndarray) -> tuple[float, float]:
        _, y, x = self.grid.to_index(point_mm)
        _, row_mm, column_mm = self.grid.spacing_mm
        across = self.box["width"] / 2 + ((x + 0.5) * column_mm - self.size_mm[0] / 2) * self.scale
        down = self.box["height"] / 2 + ((y + 0.5) * row_mm - self.size_mm[1] / 2) * self.scale
        return self.box["x"] + across, self.box["y"] + down


def _draw(page: Page, start: tuple[float, float], stop: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*stop, steps=6)
    page.mouse.up()


def test_a_stroke_changes_a_lesion_to_what_measure_gives_and_can_be_undone(
    show: Show, desk: Desk, tmp_path: Path
) -> None:
    page = show("stroke")
    first = tumorspread.measure(desk.scan_of("stroke"), desk.results / "stroke" / "mask.nii.gz").findings
    lesion = first.lesions[1]
    assert volume_ml(page, lesion.id) == lesion.volume_ml
    page.locator(f'[data-lesion="{lesion.id}"]').click()
    page.select_option("#layout", "axial")
    assert f"lesion {lesion.id}" in page.locator("#place").inner_text()
    screenshot(page, "jumped")

    centre = np.array(lesion.centroid_mm)
    plane = AxialPicture(page, tumorspread.read(desk.scan_of("stroke")))
    page.keyboard.press("b")
    _draw(page, plane.at(centre - ACROSS), plane.at(centre + ACROSS))
    wait_for_revision(page, 1)
    screenshot(page, "stroke")
    painted_ml = volume_ml(page, lesion.id)
    assert painted_ml > 1.2 * lesion.volume_ml

    mask = export(page, "mask.nii.gz", tmp_path)
    again = tumorspread.measure(desk.scan_of("stroke"), mask)
    by_volume = {found.volume_ml: found for found in again.findings.lesions}
    assert painted_ml in by_volume
    assert burden_ml(page) == again.findings.burden.volume_ml
    # The stroke lies where it was drawn, on a file whose axes are not those of the picture.
    found = tumorspread.read(mask)
    for point in (centre - 0.95 * ACROSS, centre, centre + 0.95 * ACROSS):
        assert found.voxels[tuple(np.round(found.to_index(point)).astype(int))] == 1

    page.keyboard.press("Control+z")
    wait_for_revision(page, 2)
    assert volume_ml(page, lesion.id) == lesion.volume_ml
    page.keyboard.press("Control+Shift+z")
    wait_for_revision(page, 3)
    page.reload()
    page.wait_for_selector('body[data-open="stroke"]', state="attached")
    assert volume_ml(page, lesion.id) == painted_ml
    page.locator("#history-section > summary").click()
    assert "Dr Ada" in page.locator("#history").inner_text()
    screenshot(page, "reloaded")


def test_an_eraser_takes_voxels_away_and_the_first_result_stays(show: Show, desk: Desk, tmp_path: Path) -> None:
    page = show("tools")
    before = (desk.results / "tools" / "mask.nii.gz").read_bytes()
    lesion = tumorspread.measure(desk.scan_of("tools"), desk.results / "tools" / "mask.nii.gz").findings.lesions[0]
    page.locator(f'[data-lesion="{lesion.id}"]').click()
    page.select_option("#layout", "axial")
    plane = AxialPicture(page, tumorspread.read(desk.scan_of("tools")))
    page.keyboard.press("e")
    centre = np.array(lesion.centroid_mm)
    _draw(page, plane.at(centre), plane.at(centre + BACK))
    wait_for_revision(page, 1)
    assert volume_ml(page, lesion.id) < lesion.volume_ml
    table = export(page, "lesions.csv", tmp_path).read_text().splitlines()
    assert len(table) == 1 + page.locator("#lesions li").count()
    assert (desk.results / "tools" / "mask.nii.gz").read_bytes() == before


def test_two_clicks_split_a_lesion_and_one_grows_it_anew_where_it_was_deleted(show: Show, desk: Desk) -> None:
    page = show("clicks")
    lesion = tumorspread.measure(desk.scan_of("clicks"), desk.results / "clicks" / "mask.nii.gz").findings.lesions[0]
    whole_ml, centre = volume_ml(page, lesion.id), np.array(lesion.centroid_mm)
    page.locator(f'[data-lesion="{lesion.id}"]').click()
    page.select_option("#layout", "axial")
    plane = AxialPicture(page, tumorspread.read(desk.scan_of("clicks")))
    page.keyboard.press("s")
    page.mouse.click(*plane.at(centre - 0.3 * ACROSS))
    page.mouse.click(*plane.at(centre + 0.3 * ACROSS))
    wait_for_revision(page, 1)
    assert page.locator("#lesions li").count() == 5
    halves_ml = volume_ml(page, lesion.id), volume_ml(page, 5)
    assert sum(halves_ml) == pytest.approx(whole_ml, abs=1e-9)
    assert min(halves_ml) > 0.25 * whole_ml
    screenshot(page, "split")
    page.keyboard.press("Control+z")
    wait_for_revision(page, 2)

    page.locator(f'[data-lesion="{lesion.id}"]').click()
    page.keyboard.press("Delete")
    wait_for_revision(page, 3)
    page.select_option("#target", "new")
    page.keyboard.press("g")
    page.mouse.click(*plane.at(centre))
    wait_for_revision(page, 4)
    listed = page.locator("#lesions li").evaluate_all("items => items.map(item => Number(item.dataset.lesion))")
    (grown,) = set(listed) - {2, 3, 4}
    assert volume_ml(page, grown) == pytest.approx(whole_ml, rel=0.25)
    screenshot(page, "grown")


def test_deleting_a_lesion_lowers_the_burden_and_the_export_holds_the_rest(
    show: Show, desk: Desk, tmp_path: Path
) -> None:
    page = show("burden")
    before, largest = burden_ml(page), volume_ml(page, 1)
    page.locator('[data-lesion="1"]').click()
    page.keyboard.press("Delete")
    wait_for_revision(page, 1)
    assert burden_ml(page) == pytest.approx(before - largest, abs=1e-9)
    assert page.locator('[data-lesion="1"]').count() == 0
    findings = tumorspread.Findings.from_json(export(page, "findings.json", tmp_path).read_text())
    assert findings.burden.volume_ml == burden_ml(page)
    again = tumorspread.measure(desk.scan_of("burden"), export(page, "mask.nii.gz", tmp_path)).findings
    assert again.burden.volume_ml == burden_ml(page)
    assert again.burden.count == page.locator("#lesions li").count()


def test_two_pages_at_once_lose_no_edit(show: Show, desk: Desk) -> None:
    ada, bob = show("pages", "Dr Ada"), show("pages", "Dr Bob")
    volumes = {lesion: volume_ml(ada, lesion) for lesion in (1, 2, 3, 4)}
    answers: list[int] = []
    bob.on("response", lambda response: answers.append(response.status))
    # Bob's page has not heard of Ada's edit when he makes his: the server refuses it, and the page makes it again.
    bob.route("**/api/cases/pages", lambda route: route.abort() if route.request.method == "GET" else route.continue_())
    ada.locator('[data-lesion="4"]').click()
    ada.keyboard.press("Delete")
    wait_for_revision(ada, 1)
    bob.unroute("**/api/cases/pages")
    bob.locator('[data-lesion="3"]').click()
    bob.keyboard.press("Delete")
    wait_for_revision(bob, 2)
    assert answers.count(409) == 1
    assert bob.locator("#lesions li").count() == 2
    # Ada's page hears of it by itself.
    wait_for_revision(ada, 2)
    for page in (ada, bob):
        assert burden_ml(page) == pytest.approx(volumes[1] + volumes[2], abs=1e-9)
    # A lesion that is gone cannot be edited any more: this is said, and nothing else happens.
    ada.locator("#history-section > summary").click()
    told = ada.locator("#history").inner_text()
    assert "Dr Ada" in told
    assert "Dr Bob" in told
