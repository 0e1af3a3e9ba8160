"""The free-response curve of weights: which share of the tumours is found, by size, at how many false lesions a scan.

On the scans of a data set that the weights were not trained on (`data implant` makes one). Prints a line for each
weights file, diameter and number of false lesions a scan, and how many tumours there were.
Usage: python bench/froc.py SET WEIGHTS [WEIGHTS ...] [--threshold P] [--split PART --fold N]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from tumorspread.data.cases import Case
from tumorspread.evaluate import PARTS, Job, check_calibration, hold_out_cases, pick_cases
from tumorspread.measurement.metrics import FOUND_SHARE
from tumorspread.model.calibrate import Judged, judge
from tumorspread.model.predict import Predictor

EDGES_MM = (0.0, 5.0, 10.0, 20.0, 50.0, 1000.0)
FALSE_A_SCAN = (0.25, 0.5, 0.9, 2.0, 4.0)


def main(cases: Sequence[Case], weights: Sequence[str], threshold: float | None) -> None:
    """A table for each of the weights."""
    print(f"{'weights':<28}{'mm':>12}{'tumours':>9}" + "".join(f"{false:>8}" for false in FALSE_A_SCAN))
    for name in weights:
        predictor = Predictor(name)
        check_calibration(predictor.info, predictor.info, cases)
        cut = predictor.info.threshold if threshold is None else threshold
        judged = [judge(scan, cut) for scan in hold_out_cases(predictor, cases)]
        sizes = np.concatenate([one.sizes_mm for one in judged])
        found = np.stack([recalled(judged, false) for false in FALSE_A_SCAN])
        for low, high in (*pairwise(EDGES_MM), (10.0, EDGES_MM[-1])):
            which = (sizes >= low) & (sizes < high)
            shares = "".join(f"{share:>8.3f}" for share in found[:, which].mean(axis=1))
            print(f"{Path(name).stem[-27:]:<28}{f'{low:.0f} to {high:.0f}':>12}{which.sum():>9}{shares}", flush=True)


def recalled(judged: Sequence[Judged], false_a_scan: float) -> np.ndarray:
    """Of each tumour, whether it is found where so many false pieces a scan are let in, the best first."""
    wrong = np.sort(np.concatenate([one.scores[~one.is_tumour] for one in judged]))[::-1]
    allowed = int(false_a_scan * len(judged))
    least = wrong[allowed] if allowed < len(wrong) else -1.0
    return np.concatenate([one.by_piece[:, one.scores > least].sum(axis=1) >= FOUND_SHARE for one in judged])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--split", choices=PARTS, default="all")
    parser.add_argument("--fold", type=int, default=0)
    asked = parser.parse_args()
    main(pick_cases(Job(asked.set, asked.split, Path(), asked.fold)), asked.weights, asked.threshold)
