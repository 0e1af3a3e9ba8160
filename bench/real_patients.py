"""The four real patients of the sample: what weights find, beside what an oncologist drew.

Crops about one lung, CC BY-NC 3.0: to evaluate with, never to train on. Prints a line a patient, then `real_dice`, the
mean, and `real_missed`, of how many patients nothing of the tumour was found. Fetches them by pip, or takes the wheel.
Usage: python bench/real_patients.py [WEIGHTS] [--wheel FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tumorspread import analyse, read, read_mask
from tumorspread.data.sample import PATIENTS, fetch_sample
from tumorspread.measurement.metrics import compare_masks
from tumorspread.model.predict import Predictor


def main(weights: str, wheel: Path | None) -> None:
    """Analyse and compare each."""
    predictor, dices = Predictor(weights), []
    print(f"{'patient':<10}{'oncologist mL':>14}{'ours mL':>10}{'Dice':>8}   lesions mL")
    for patient in sorted(PATIENTS):
        with tempfile.TemporaryDirectory() as place:
            folder = fetch_sample(Path(place) / patient, patient=patient, wheel=wheel)
            scan = read(folder / "ct")
            drawn = read_mask(folder / "rtstruct.dcm", scan, roi="GTV-1")
        found = analyse(scan, predictor)
        dices.append(compare_masks(found.mask, drawn).dice or 0.0)
        ours, theirs = (float((mask.voxels > 0).sum()) * scan.voxel_ml for mask in (found.mask, drawn))
        lesions = ", ".join(f"{lesion.volume_ml:.2f}" for lesion in found.findings.lesions)
        print(f"{patient:<10}{theirs:>14.1f}{ours:>10.1f}{dices[-1]:>8.3f}   {lesions}", flush=True)
    print(f"real_dice {sum(dices) / len(dices):.3f}")
    print(f"real_missed {sum(dice == 0 for dice in dices)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="?", default="lung")
    parser.add_argument("--wheel", type=Path)
    asked = parser.parse_args()
    main(asked.weights, asked.wheel)
