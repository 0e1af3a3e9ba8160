"""Every real scan at hand with its lungs outlined: a table, and a contact sheet to be looked at.

A number cannot tell a missing lobe from a small chest; eyes can. Folders that the reader refuses are listed too.
Usage: python bench/lungs_sheet.py [FOLDER_OF_DATA [PICTURE]]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tumorspread import read
from tumorspread.errors import TumorspreadError
from tumorspread.measurement.lungs import LEFT, RIGHT, LungMask, segment_lungs
from tumorspread.report.panel import INK, ORANGE, SKY, Panel, to_png
from tumorspread.report.views import AXIAL, CORONAL, LUNG, Frame, View, canonical, fullest_planes
from tumorspread.scan.volume import Volume

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ROOT.parent / "shared" / "data"
MASK_ENDINGS = ("_gtv", "_mask", "_nodule", "_reader1", "_reader2", "_reader3", "_reader4")
# The same crops are among the NIfTI files.
TWICE = ("RadPhantom-pat2", "RadPhantom-pat4")
ACROSS, WIDTH_INCHES, ROW_INCHES, DPI = 3, 17.0, 2.75, 110
COLOURS = {LEFT: ORANGE, RIGHT: SKY}


@dataclass(frozen=True)
class Tile:
    """What one scan adds to the sheet: its two planes, kept instead of the scan."""

    title: str
    planes: tuple[tuple[View, Frame, NDArray[np.float32], NDArray[np.uint8]], ...]
    spacing_mm: tuple[float, float, float]


def main(data: Path, picture: Path) -> None:
    """Print the table and write the sheet."""
    if not (data / "scans").is_dir():
        sys.exit(f"no folder scans at {data}; set TUMORSPREAD_TEST_DATA, or name the folder of data")
    print(f"{'scan':<30}{'left mL':>9}{'right mL':>9}{'seconds':>9}  warnings")
    tiles = []
    for path in find_scans(data):
        name = path.name.removesuffix(".nii.gz")
        try:
            scan = read(path)
        except TumorspreadError as refusal:
            print(f"{name:<30}  refused: {str(refusal)[:110]}")
            continue
        start = time.perf_counter()
        lungs = segment_lungs(scan)
        seconds = time.perf_counter() - start
        codes = ", ".join(dict.fromkeys(remark.code for remark in lungs.remarks)) or "none"
        print(f"{name:<30}{shown_ml(lungs, LEFT):>9}{shown_ml(lungs, RIGHT):>9}{seconds:>9.2f}  {codes}")
        tiles.append(make_tile(name, scan, lungs))
    picture.write_bytes(draw(tiles))
    print(f"{picture.name}: {len(tiles)} scans, {picture.stat().st_size / 1e6:.2f} MB")


def find_scans(data: Path) -> Iterator[Path]:
    """NIfTI files that are no masks, then each folder that holds DICOM files."""
    for path in sorted((data / "scans").glob("*.nii.gz")):
        if not path.name.removesuffix(".nii.gz").endswith(MASK_ENDINGS):
            yield path
    for folder in sorted(p for p in (data / "dicom").rglob("*") if p.is_dir() and p.name not in TWICE):
        if any(".dcm" in p.name for p in folder.iterdir() if p.is_file()):
            yield folder


def shown_ml(lungs: LungMask, side: int) -> str:
    """The volume of one side, or a dash where it is not known."""
    ml = lungs.volumes.left_ml if side == LEFT else lungs.volumes.right_ml
    return "-" if ml is None else f"{ml:.0f}"


def make_tile(name: str, scan: Volume, lungs: LungMask) -> Tile:
    """The coronal and the axial plane with most lung."""
    turned, (labels,) = canonical(scan, scan.with_voxels(lungs.labels))
    index = fullest_planes(labels > 0)
    frame = Frame.whole(turned.shape, turned.spacing_mm)
    planes = tuple(
        (
            view,
            frame,
            view.plane(turned.voxels, index[view.axis]).astype(np.float32),
            view.plane(labels, index[view.axis]),
        )
        for view in (CORONAL, AXIAL)
    )
    codes = ", ".join(dict.fromkeys(remark.code for remark in lungs.remarks)) or "no warnings"
    title = f"{name}   left {shown_ml(lungs, LEFT)}, right {shown_ml(lungs, RIGHT)} mL\n{codes}"
    return Tile(title, planes, turned.spacing_mm)


def draw(tiles: list[Tile]) -> bytes:
    """The sheet as PNG."""
    rows = -(-len(tiles) // ACROSS)
    figure = Figure(figsize=(WIDTH_INCHES, ROW_INCHES * rows + 0.4), dpi=DPI, layout="constrained")
    figure.suptitle(
        "Lungs: the patient's left in orange, right in blue; seen from the front and from the feet", color=INK
    )
    grid = figure.subfigures(rows, ACROSS, squeeze=False).ravel()
    for place, tile in zip(grid, tiles, strict=False):
        place.suptitle(tile.title, fontsize=8.5, color=INK)
        for axes, plane in zip(place.subplots(1, 2), tile.planes, strict=True):
            draw_plane(axes, plane, tile.spacing_mm)
    return to_png(figure)


def draw_plane(
    axes: Axes,
    plane: tuple[View, Frame, NDArray[np.float32], NDArray[np.uint8]],
    spacing_mm: tuple[float, float, float],
) -> None:
    """One plane with the outlines of both sides."""
    view, frame, hu, labels = plane
    panel = Panel(axes, view, frame, spacing_mm)
    panel.show(hu, LUNG)
    for side, colour in COLOURS.items():
        panel.outline(labels == side, colour, width=1.1)
    panel.annotate_sides()


if __name__ == "__main__":
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TUMORSPREAD_TEST_DATA", BESIDE))
    main(data, Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "lungs.png")
