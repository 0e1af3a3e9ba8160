"""One nodule, four readers and their consensus: how much the outline matters beside the voxels.

LIDC-IDRI-0314 (TCIA, CC BY 3.0). Prints a table, then the spread between the readers as lines `name value`.
Usage: python bench/readers.py [FOLDER_OF_SCANS]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from tumorspread import measure, read
from tumorspread.measurement.parts import Lesion

CASE = "LIDC-IDRI-0314"
OUTLINES = ("nodule", "reader1", "reader2", "reader3", "reader4")
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def main(scans: Path) -> None:
    """Print the table and the figures."""
    if not (scans / f"{CASE}.nii.gz").is_file():
        sys.exit(f"no {CASE}.nii.gz at {scans}; set TUMORSPREAD_TEST_DATA, or name the folder of scans")
    scan = read(scans / f"{CASE}.nii.gz")
    lesions = {who: largest(scan, scans / f"{CASE}_{who}.nii.gz") for who in OUTLINES}
    print(f"{'outline':<10}{'volume mL':>18}{'long axis mm':>18}{'short axis mm':>18}{'mean HU':>10}")
    for who, lesion in lesions.items():
        pairs = (
            (lesion.volume_ml, lesion.volume_ml_error),
            (lesion.long_axis_mm, lesion.long_axis_mm_error),
            (lesion.short_axis_mm, lesion.short_axis_mm_error),
        )
        print(f"{who:<10}" + "".join(f"{v:>10.2f} +- {e:4.2f}" for v, e in pairs) + f"{lesion.mean_hu:>10.0f}")
    readers = [lesion for who, lesion in lesions.items() if who != "nodule"]
    for name in ("volume_ml", "long_axis_mm", "short_axis_mm"):
        values = np.array([getattr(lesion, name) for lesion in readers])
        print(f"readers_{name}_range_percent {100 * np.ptp(values) / values.mean():.1f}")
        print(f"readers_{name}_sd_percent {100 * values.std(ddof=1) / values.mean():.1f}")


def largest(scan: object, mask: Path) -> Lesion:
    """The nodule itself; an outline may have a stray voxel beside it."""
    return measure(scan, mask).findings.lesions[0]  # type: ignore[arg-type]


if __name__ == "__main__":
    data = Path(os.environ.get("TUMORSPREAD_TEST_DATA", BESIDE))
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else data / "scans")
