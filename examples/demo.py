"""The main job in miniature: phantoms with known tumours, a U-Net trained on them, and its report; then a real tumour.

Runs the commands that a user would type, prints each, and ends with the figures as lines `name value`. The real tumour
is fetched, and found with the weights that come with the package; without a network it is left out.
Usage: python examples/demo.py FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from commands import run_command
from real_tumour import show_real_tumour

from tumorspread.data.phantom import TrueLesion
from tumorspread.data.phantom_set import read_truth
from tumorspread.data.splits import read_split
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Lesion

COUNT = 16
ROW = "{:>8} {:>7} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}"


def main(folder: Path) -> None:
    started = time.monotonic()
    if folder.exists():
        shutil.rmtree(folder)
    data, run, scores, result = (folder / name for name in ("phantoms", "run", "scores", "result"))
    run_command(f"data phantoms {data} --count {COUNT}")
    run_command(f"data check {data}")
    run_command(f"data split {data} --fractions 0.6,0.15,0.25")
    run_command(f"data preview {data} --recipe demo -o {folder / 'patches.png'}")
    run_command(f"train {data} -o {run} --recipe demo")
    weights = run / "weights.safetensors"
    run_command(f"evaluate {weights} {data} --split val -o {folder / 'scores_val'}")
    run_command(f"evaluate {weights} {data} --split test -o {scores}")
    case = read_split(data).test[0]
    run_command(f"analyse {data}/imagesTr/{case}.nii.gz -o {result} --weights {weights}")
    findings = Findings.from_json((result / "findings.json").read_text())
    print(f"\nTrue against measured, {case} (volumes in mL, axes in mm):")
    print(ROW.format("lesion", "side", "true mL", "measured", "true long", "measured", "true short", "measured"))
    for truth, found in match(read_truth(data)[case], findings):
        print(row(truth, found))
    real = show_real_tumour(folder / "real")
    print("\nLook at:")
    for path in (result / "report.html", scores / "evaluation.html", scores / "pictures", run / "curves.png",
                 folder / "patches.png", *(real.files if real else ())):  # fmt: skip
        print(f"  {path}")
    evaluation = json.loads((scores / "evaluation.json").read_text())
    print(f"\ntest_dice {evaluation['summary']['dice']['mean']:.4f}")
    print(f"test_lesion_recall {evaluation['lesion_recall']['mean']:.4f}")
    print(f"test_false_positives_per_scan {evaluation['false_positives_per_scan']['mean']:.4f}")
    for name, value in real.figures.items() if real else ():
        print(f"{name} {value:.4g}")
    print(f"demo_seconds {time.monotonic() - started:.0f}")


def match(truth: tuple[TrueLesion, ...], findings: Findings) -> list[tuple[TrueLesion | None, Lesion | None]]:
    """Each true lesion with the measured one whose centre is nearest, within its radius; then what is left over."""
    left = list(findings.lesions)
    pairs: list[tuple[TrueLesion | None, Lesion | None]] = []
    for lesion in truth:
        apart = [np.linalg.norm(np.subtract(found.centroid_mm, lesion.centre_mm)) for found in left]
        hit = apart and min(apart) < lesion.long_axis_mm / 2
        pairs.append((lesion, left.pop(int(np.argmin(apart))) if hit else None))
    return [*pairs, *((None, found) for found in left)]


def row(truth: TrueLesion | None, found: Lesion | None) -> str:
    names = (("volume_ml", "volume_ml"), ("long_axis_mm", "long_axis_mm"), ("short_axis_mm", "short_axis_mm"))
    cells = []
    for true_name, found_name in names:
        cells.append(f"{getattr(truth, true_name):.2f}" if truth else "none")
        cells.append(f"{getattr(found, found_name):.2f}" if found else "missed")
    side = truth.side if truth else (found.side if found else None)
    return ROW.format(found.id if found else "-", side or "-", *cells)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
