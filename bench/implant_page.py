"""A page of implanted tumours among real ones: can the reader tell them apart at a glance?

Hosts and real tumours: LIDC-IDRI and Lung-PET-CT-Dx, CPTAC, Lung-Fused-CT-Pathology, ACRIN-FLT-Breast (TCIA,
CC BY 3.0 and 4.0). Writes a grey PNG. Usage: python bench/implant_page.py [OUT.png] [FOLDER_OF_DATA]
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorspread import read
from tumorspread.data.distractors import DistractorConfig
from tumorspread.data.implant import ImplantConfig, ShapeLibrary, implant
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.scan.volume import Reorientation, Volume

ROOT = Path(__file__).resolve().parents[1]
TILE, COLUMNS, SEED = 168, 8, 11
LUNG, SOFT = (-500.0, 1500.0), (40.0, 400.0)
HOSTS = ("LIDC-IDRI-0314", "CPTAC-C3N-00247", "Lung_Dx-A0001_s3", "LungFCP-01-0001", "ACRIN-FLT-001_19600101_2")
DIAMETERS_MM = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 20, 22, 24, 26, 28, 31, 34, 38, 42, 46, 50, 55,
                60, 65, 70, 76, 82, 88, 95, 104, 114)  # fmt: skip
REAL_SLICES = (43, 46, 49)

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class View:
    """A point of a scan to be pictured."""

    scan: Volume
    index: tuple[int, int, int]
    width_mm: float
    caption: str
    window: tuple[float, float] = LUNG


def main(out: Path, data: Path) -> None:
    """Draw the page."""
    if not (data / "scans" / f"{HOSTS[0]}.nii.gz").is_file():
        sys.exit(f"no real scans at {data}; set TUMORSPREAD_TEST_DATA, or name the folder of data")
    tiles = [picture(view) for view in [*real_views(data), *synthetic_views(data)]]
    order = np.random.default_rng(SEED).permutation(len(tiles))
    tiles = [tiles[i] for i in order]
    tiles += [np.full((TILE, TILE), 255, np.uint8)] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    out.parent.mkdir(parents=True, exist_ok=True)
    # 64 greys: a third less to store, and no difference to see.
    cv2.imwrite(str(out), np.vstack(rows) // 4 * 4, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{len(order)} tumours -> {out}")


def real_views(data: Path) -> Iterator[View]:
    """The real tumours, lung window and soft tissue."""
    scans = data / "scans"
    scan, nodule = upright(scans / f"{HOSTS[0]}.nii.gz"), upright(scans / f"{HOSTS[0]}_nodule.nii.gz")
    z, y, x = (int(i) for i in np.argwhere(nodule.voxels).mean(axis=0))
    for step in (-4, 0, 4):
        yield View(scan, (z + step, y, x), 55, "real")
    scan = upright(scans / f"{HOSTS[2]}.nii.gz")
    with (scans / "Lung_Dx_boxes.csv").open(newline="", encoding="utf-8") as lines:
        boxes = {int(b["slice_index"]): b for b in csv.DictReader(lines) if b["volume"] == HOSTS[2]}
    for number in REAL_SLICES:
        box = boxes[number]
        row, column = ((int(box[f"{a}min"]) + int(box[f"{a}max"])) // 2 for a in "yx")
        slice_ = round(float(scan.to_index((0, 0, float(box["z_mm"])))[0]))
        yield View(scan, (slice_, row, column), 130, "real", SOFT if number == REAL_SLICES[1] else LUNG)
    yield replace(View(scan, (slice_ - 2, row, column), 130, "real"), width_mm=150)


def synthetic_views(data: Path) -> Iterator[View]:
    """One tumour a host, from small to large; every third mass in the soft-tissue window."""
    shapes = ShapeLibrary.read(data / "lesion_masks")
    hosts = []
    for name in HOSTS:
        scan = upright(data / "scans" / f"{name}.nii.gz")
        hosts.append((scan, np.ascontiguousarray(segment_lungs(scan).labels)))
    calm = DistractorConfig(**{name: 0.5 * p for name, p in vars(DistractorConfig()).items()})
    for number, diameter in enumerate(DIAMETERS_MM):
        scan, lungs = hosts[number % len(hosts)] if diameter < 40 else hosts[number % 3]
        config = ImplantConfig(lesions=(1, 1), diameter_mm=(diameter, diameter * 1.02), distractors=calm)
        done = implant(scan, lungs, np.random.default_rng(SEED + number), config, shapes)
        for lesion in done.lesions:
            z, y, x = (round(float(i)) for i in done.scan.to_index(lesion.centre_mm))
            window = SOFT if diameter > 40 and number % 3 == 0 else LUNG
            caption = f"synthetic {lesion.diameter_mm:.0f} mm"
            yield View(done.scan, (z, y, x), float(np.clip(2.2 * diameter, 48, 200)), caption, window)


def upright(path: Path) -> Volume:
    """A scan with its axes to head, back and left."""
    scan = read(path)
    return Reorientation.to_canonical(scan).apply(scan)


def picture(view: View) -> Image:
    """An axial crop with its caption."""
    z, y, x = view.index
    half = [round(view.width_mm / 2 / s) for s in view.scan.spacing_mm[1:]]
    pad = max(half) + 1
    plane = np.pad(np.asarray(view.scan.voxels[z], np.float32), pad, constant_values=-1024)
    crop = plane[y + pad - half[0] : y + pad + half[0], x + pad - half[1] : x + pad + half[1]]
    centre, width = view.window
    grey = np.clip((crop - centre) / width + 0.5, 0, 1) * 255
    tile = np.clip(cv2.resize(grey, (TILE, TILE), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    tile[-13:, : 7 * len(view.caption) - 4] = 0
    cv2.putText(tile, view.caption, (3, TILE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.33, 255, 1, cv2.LINE_AA)
    tile[[0, -1]] = tile[:, [0, -1]] = 0
    return tile


if __name__ == "__main__":
    beside = os.environ.get("TUMORSPREAD_TEST_DATA", ROOT.parent / "shared" / "data")
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "implants.png",
        Path(sys.argv[2]) if len(sys.argv) > 2 else Path(beside),
    )
