"""How well two scans of one patient are registered, on the elastix pair of right lungs (Apache-2.0).

The outlines that are compared were drawn by others and play no part in the registration, which goes by our own lungs.
Vessels are what is brighter than -400 HU 3 mm and more inside them. Prints lines `name value`, and draws the overlay
before and after with `--picture`. Usage: python bench/registration.py [FOLDER_OF_SCANS] [--picture FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from tumorspread import measure, read, read_mask
from tumorspread.followup.follow import Visit
from tumorspread.followup.registration import Registration, register, unregistered
from tumorspread.report.course_figures import registration_figure
from tumorspread.scan.volume import Volume

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
VESSEL_HU, INSIDE_MM = -400, 3.0


def main(scans: Path, picture: Path | None) -> None:
    """Print the figures."""
    if not (scans / "elastix_rightlung_baseline.nii.gz").is_file():
        sys.exit(f"no elastix_rightlung_baseline.nii.gz at {scans}; set TUMORSPREAD_TEST_DATA, or name the folder")
    before, before_lung = open_pair(scans, "baseline")
    after, after_lung = open_pair(scans, "followup")
    start = time.perf_counter()
    found = register(after.scan, before.scan, after.lungs, before.lungs)
    seconds = time.perf_counter() - start
    back = register(before.scan, after.scan, before.lungs, after.lungs)
    for what, one, other in (
        ("lung", before_lung, after_lung),
        ("vessel", vessels(before, before_lung), vessels(after, after_lung)),
    ):
        for when, way in (("before", unregistered()), ("after", found)):
            print(f"{what}_dice_{when} {overlap(way, one, other):.3f}")
    points = after_lung.to_world(np.argwhere(after_lung.voxels > 0)[::47])
    there_and_back = np.linalg.norm(back.map_points(found.map_points(points)) - points, axis=1)
    print(f"inverse_consistency_median_mm {np.median(there_and_back):.2f}")
    print(f"inverse_consistency_p95_mm {np.percentile(there_and_back, 95):.2f}")
    print(f"folded_percent {100 * folded_share(found, after_lung):.3f}")
    print(f"registration_s {seconds:.1f}")
    if picture is not None:
        picture.write_bytes(registration_figure(after, before, found) or b"")


def open_pair(scans: Path, name: str) -> tuple[Visit, Volume]:
    """A scan with the lungs that are found in it, and the outline of its right lung that others drew."""
    scan = read(scans / f"elastix_rightlung_{name}.nii.gz")
    lung = read_mask(scans / f"elastix_rightlung_{name}_mask.nii.gz", scan)
    nothing = scan.with_voxels(np.zeros(scan.shape, np.uint8))
    return Visit.of(measure(scan, nothing, source=name)), lung


def vessels(visit: Visit, lung: Volume) -> Volume:
    """What is bright well inside the lung."""
    assert visit.scan is not None
    depth = ndimage.distance_transform_edt(lung.voxels > 0, sampling=lung.spacing_mm)
    return lung.with_voxels(((visit.scan.voxels > VESSEL_HU) & (depth > INSIDE_MM)).astype(np.uint8))


def overlap(way: Registration, moving: Volume, fixed: Volume) -> float:
    """Dice of the moving mask, brought over, with the fixed one."""
    one, other = way.bring(moving, fixed).voxels > 0, fixed.voxels > 0
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def folded_share(way: Registration, lung: Volume) -> float:
    """Share of the lung where the way there turns space inside out: its Jacobian is not positive."""
    inside = lung.to_world(np.argwhere(lung.voxels > 0)[::47])
    steps = [way.map_points(inside + h) - way.map_points(inside - h) for h in np.eye(3) * 0.5]
    return float(np.mean(np.linalg.det(np.stack(steps, axis=-1)) <= 0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scans", nargs="?", type=Path)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    data = Path(os.environ.get("TUMORSPREAD_TEST_DATA", BESIDE))
    main(asked.scans or data / "scans", asked.picture)
