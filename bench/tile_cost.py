"""Does a window's measured time choose other windows than its number of voxels does?

Times windows of several sizes, fits a fixed and a growing part, and lets both that line and the constants of
`model/tiles.py` choose the windows of chests of many sizes. Processor seconds: those of the clock mean nothing on a
machine that others use too. Prints a table, then lines `name value`; --append adds a section to a file.
Usage: python bench/tile_cost.py [--weights lung] [--precision auto] [--turns 2] [--append FILE]
"""

from __future__ import annotations

import argparse
import datetime
import math
import time
from itertools import product
from pathlib import Path

import numpy as np
from inference import processor

from tumorspread.model import tiles
from tumorspread.model.predict import Predictor
from tumorspread.model.tiles import START_VOXELS, plan_window, tile_places

WINDOWS = ((80, 80, 80), (80, 80, 160), (112, 112, 112), (96, 96, 160), (144, 96, 96))
# Boxes about the lungs at 2 mm, from a child's to the largest chest.
CHESTS = tuple(product(range(80, 209, 16), range(96, 161, 16), range(128, 193, 16)))


def main(weights: str, precision: str, turns: int) -> list[str]:
    """Measure, print; gives the printed lines."""
    predictor = Predictor(weights, device="cpu", engine="openvino", precision=precision)  # type: ignore[arg-type]
    seconds = {window: measure(predictor, window, turns) for window in WINDOWS}
    voxels = np.array([math.prod(window) for window in WINDOWS])
    slope, start = np.polyfit(voxels, list(seconds.values()), 1)
    lines = [f"{'window':<16}{'cpu s':>7}{'a million voxels':>18}"]
    for window, cpu in seconds.items():
        lines.append(f"{window!s:<16}{cpu:7.3f}{1e6 * cpu / math.prod(window):18.3f}")
    apart = np.abs(slope * voxels + start - list(seconds.values())) / list(seconds.values())
    measured_start = max(0, round(start / slope))
    lines += [f"engine {predictor.engine.name} {predictor.engine.precision}"]
    lines += [f"line_off_percent {100 * apart.max():.1f}"]
    lines += [f"start_voxels {START_VOXELS}", f"start_voxels_measured {measured_start}"]
    gains = [gain(chest, predictor.info.tile, predictor.info.unet.stride, measured_start) for chest in CHESTS]
    lines += [f"chests {len(gains)}", f"chests_with_other_windows {np.count_nonzero(gains)}"]
    lines += [f"gain_percent_mean {100 * np.mean(gains):.2f}", f"gain_percent_most {100 * np.max(gains):.2f}"]
    print("\n".join(lines))
    return lines


def measure(predictor: Predictor, window: tuple[int, ...], turns: int) -> float:
    """Processor seconds of one window, the best of some."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 1, *window)).astype(np.float32)
    predictor.engine(noise)
    best = math.inf
    for _ in range(turns):
        start = time.process_time()
        predictor.engine(noise)
        best = min(best, time.process_time() - start)
    return best


def gain(chest: tuple[int, ...], tile: tuple[int, ...], multiple: int, measured: int) -> float:
    """Share of the network's time, as the measured line has it, that the windows chosen by it would save."""
    shared = tuple(round(edge / 2) for edge in tile)
    costs = []
    for start in (START_VOXELS, measured):
        tiles.START_VOXELS = start
        window = plan_window(chest, tile, shared, multiple)
        shape = tuple(max(edge, size) for edge, size in zip(chest, window, strict=True))
        costs.append(len(list(tile_places(shape, window, shared))) * (math.prod(window) + measured))
    tiles.START_VOXELS = START_VOXELS
    return 1 - costs[1] / costs[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="lung")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--append", type=Path)
    asked = parser.parse_args()
    found = main(asked.weights, asked.precision, asked.turns)
    if asked.append:
        head = f"\n## {datetime.date.today()}, {processor()}, time of a window\n"
        with asked.append.open("a", encoding="utf-8") as file:
            file.write("\n".join([head, "```", *found, "```\n"]))
