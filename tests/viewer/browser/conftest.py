"""A browser, and the viewer started as a user starts it, over results of small synthetic chests.

Debian's Chromium draws in software here: a scan of 96 x 96 x 60 shows in seconds, one of 512 x 512 x 280 in a minute.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

import tumorspread
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.report.folder import open_folder, write_analysis
from tumorspread.report.scan_note import note_scan
from tumorspread.scan.volume import Volume
from tumorspread.viewer.niivue import SCRIPT, STATIC

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 120_000
PICTURES = Path(os.environ.get("TUMORSPREAD_SCREENSHOTS", Path(__file__).parents[3] / "build" / "screenshots"))
CHEST = PhantomConfig(spacing_mm=(3.4, 3.5, 3.5), extent_mm=(204.0, 240.0, 336.0), tumours=(4, 4))
LARGE = (120, 256, 256)
# Axes of the file in place of (z, y, x) that run to the head, the back and the left: which, and whether turned round.
TURNED = ((1, True), (2, True), (0, False))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
            # The first of them also makes the cases and starts the viewer.
            item.add_marker(pytest.mark.timeout(600))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if PICTURES.is_dir():
        terminalreporter.write_line(f"screenshots of the viewer: {PICTURES}")


@dataclass(frozen=True)
class Desk:
    """The running viewer: its address, and the folders of its cases."""

    url: str
    results: Path
    scans: Path

    def scan_of(self, case: str) -> Path:
        return self.scans / f"{case}.nii.gz"


def turned(volume: Volume, axes: tuple[tuple[int, bool], ...] = TURNED) -> Volume:
    """The same voxels in the same places, stored along other axes."""
    order = [axis for axis, _ in axes]
    affine = volume.affine[:, [*order, 3]]
    voxels = volume.voxels.transpose(order)
    for place, (_, is_flipped) in enumerate(axes):
        if is_flipped:
            voxels = np.flip(voxels, place)
            affine[:, 3] += (voxels.shape[place] - 1) * affine[:, place]
            affine[:, place] *= -1
    return Volume(np.ascontiguousarray(voxels), affine)


def markers() -> tuple[Volume, Volume]:
    """A block with a cube of its own density near each side of the body, and a mask of the one at the right."""
    hu = np.full((48, 64, 64), -1000, np.int16)
    middle = {axis: slice(n // 2 - 6, n // 2 + 6) for axis, n in enumerate(hu.shape)}
    low, high = slice(4, 14), slice(-14, -4)
    # (z, y, x) of an upright volume run to the head, the back and the left.
    sides = {"F": (0, low), "H": (0, high), "A": (1, low), "P": (1, high), "R": (2, low), "L": (2, high)}
    mask = np.zeros(hu.shape, np.uint8)
    for side, (axis, place) in sides.items():
        box = tuple(place if axis == other else middle[other] for other in range(3))
        hu[box] = MARKERS_HU[side]
        mask[box] = side == "R"
    return Volume.upright(hu, (3.0, 2.5, 2.5)), Volume.upright(mask, (3.0, 2.5, 2.5))


MARKERS_HU = {"R": 1300, "L": 1000, "A": 700, "P": 400, "H": 100, "F": -200}


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """`tumorspread view` over the results of all cases that the tests look at."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium")
    if not (STATIC / SCRIPT).exists():
        pytest.skip("no NiiVue: python tools/fetch_niivue.py")
    root = tmp_path_factory.mktemp("desk")
    results, scans = root / "results", root / "scans"
    results.mkdir()
    scans.mkdir()
    chest = make_phantom(5, CHEST)
    _measure("burden", chest.scan, chest.mask, results, scans)
    for case in ("clicks", "pages", "tools", "tour"):
        _copy("burden", case, results, scans)
    _measure("stroke", turned(chest.scan), turned(chest.mask), results, scans)
    scan, mask = markers()
    _measure("markers", scan, mask, results, scans)
    _measure("markers-turned", turned(scan), turned(mask), results, scans)
    _measure("large", enlarged(chest.scan), enlarged(chest.mask), results, scans)
    # What `analyse --probability` leaves, in percent: next to nothing but for one block at the left.
    percent = np.full(markers()[0].shape, 3, np.uint8)
    percent[18:30, 26:38, -14:-4] = 100
    tumorspread.write_nifti(scan.with_voxels(percent), results / "markers" / "probability.nii.gz")
    with serving(results) as url:
        yield Desk(url, results, scans)


def enlarged(volume: Volume) -> Volume:
    """The same chest with more and smaller voxels."""
    picks = [np.arange(new) * old // new for new, old in zip(LARGE, volume.shape, strict=True)]
    spacing = tuple(step * old / new for step, old, new in zip(volume.spacing_mm, volume.shape, LARGE, strict=True))
    return Volume.upright(volume.voxels[np.ix_(*picks)], spacing, centred=True)


def _measure(case: str, scan: Volume, mask: Volume, results: Path, scans: Path) -> None:
    path, drawn = scans / f"{case}.nii.gz", scans / f"{case}-mask.nii.gz"
    tumorspread.write_nifti(scan, path)
    tumorspread.write_nifti(mask, drawn)
    analysis = tumorspread.measure(path, drawn)
    with open_folder(results / case) as folder:
        write_analysis(analysis, folder)
        note_scan(folder, path)


def _copy(case: str, name: str, results: Path, scans: Path) -> None:
    shutil.copytree(results / case, results / name)
    shutil.copy(scans / f"{case}.nii.gz", scans / f"{name}.nii.gz")
    note_scan(results / name, scans / f"{name}.nii.gz")


class serving:  # noqa: N801
    """The viewer in a process of its own, stopped at the end."""

    def __init__(self, *folders: Path) -> None:
        command = [sys.executable, "-m", "tumorspread", "view", *map(str, folders), "--port", "0", "--no-browser"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def __enter__(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            address = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
            if address:
                return address[0]
        raise RuntimeError("the viewer ended without an address")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), timeout=PATIENCE_MS)
        yield chromium
        chromium.close()


@pytest.fixture
def show(desk: Desk, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a case in a browser of its own that knows the reader's name; any error of the page fails the test."""
    errors: list[str] = []
    contexts = []

    def open_case(case: str, author: str | None = "Dr Ada") -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        if author is not None:
            context.add_init_script(f"localStorage.setItem('tumorspread-author', '{author}')")
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.goto(f"{desk.url}#{case}")
        page.wait_for_selector(f'body[data-open="{case}"]', state="attached")
        return page

    yield open_case
    for context in contexts:
        context.close()
    # Refusals that the page handles, and requests that a test let fail.
    assert [error for error in errors if not re.search(r"status of 4(09|22)|ERR_FAILED", error)] == []


def picture(page: Page, name: str) -> NDArray[np.uint8]:
    """The canvas of the scan as (rows, columns, 3), kept as PNG among the screenshots."""
    from PIL import Image

    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    page.locator("#scan").screenshot(path=path)
    return np.asarray(Image.open(path).convert("RGB"))


def screenshot(page: Page, name: str) -> None:
    """Keep the whole page as PNG."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


def volume_ml(page: Page, lesion: int) -> float:
    """As the list of lesions holds it."""
    return float(page.locator(f'[data-lesion="{lesion}"]').get_attribute("data-volume-ml") or "nan")


def burden_ml(page: Page) -> float:
    return float(page.locator("#burden").get_attribute("data-volume-ml") or "nan")


def wait_for_revision(page: Page, revision: int) -> None:
    page.wait_for_selector(f'body[data-revision="{revision}"]', state="attached")


def export(page: Page, name: str, folder: Path) -> Path:
    """Fetch a file through the page's menu."""
    page.locator("#export > summary").click()
    with page.expect_download() as download:
        page.locator(f'[data-export="{name}"]').click()
    path = folder / name
    shutil.copy(download.value.path(), path)
    return path
