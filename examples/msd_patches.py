"""Train a 2-D U-Net on 13 patients' patches of MSD Task06_Lung and judge it on 13 others.

Three of the 13 training patients choose the checkpoint; the test patients are looked at once, at the end.
Usage: python examples/msd_patches.py [FOLDER_WITH_HDF5_PATCHES] [WORK_FOLDER]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

# Draws patients 2, 6 and 8, whose tumours are of middle size (5th, 7th and 9th of 13 by their pixels): the
# largest, which alone holds 38 % of all tumour pixels, stays to be learnt from.
VALIDATION_SEED = 6
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def main(source: Path, work: Path) -> None:
    started = time.monotonic()
    if not source.is_dir():
        sys.exit(f"no patches at {source}; set TUMORSPREAD_TEST_DATA, or name their folder")
    if work.exists():
        shutil.rmtree(work)
    data, run, scores = work / "patches", work / "run", work / "scores"
    run_command("data", "convert", source, "-o", data, "--seed", VALIDATION_SEED)
    run_command("train", data, "-o", run, "--recipe", "msd-patches")
    run_command("evaluate", run / "weights.safetensors", data, "--split", "test", "-o", scores)
    summary = json.loads((scores / "evaluation.json").read_text())["summary"]
    print(f"seconds {time.monotonic() - started:.0f}")
    print(f"test_precision_per_patient {summary['precision']['mean']:.4f}")
    print(f"test_recall_per_patient {summary['recall']['mean']:.4f}")
    print(f"test_dice_per_patient {summary['dice']['mean']:.4f}")


def run_command(*arguments: object) -> None:
    words = [str(word) for word in arguments]
    print("\n$ tumorspread", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "tumorspread", *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    default = Path(os.environ.get("TUMORSPREAD_TEST_DATA", BESIDE)) / "msd_patches"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default, Path(sys.argv[2] if len(sys.argv) > 2 else "work/msd"))
