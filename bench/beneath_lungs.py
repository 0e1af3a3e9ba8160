"""Large pieces without lung beneath: liver, spleen, or a mass on the diaphragm? What `measurement.room` makes of them.

Large synthetic tumours, most on the diaphragm, go into chests that the weights have not seen, half of them with a
raised diaphragm. Prints each piece of 10 mL and more that has lung beneath less than a fifth of it, and its fate.
Usage: python bench/beneath_lungs.py WEIGHTS --left-out PATIENT [--left-out ...] [--data FOLDER] [--cases N]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tumorspread.data.hosts import HostSpec, find_list, read_hosts
from tumorspread.data.implant import ImplantConfig
from tumorspread.data.implant_set import ImplantCase, ImplantSetConfig, make_case
from tumorspread.data.shapes import ShapeLibrary
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.model.candidates import find_pieces
from tumorspread.model.detect import find_lungs
from tumorspread.model.predict import Predictor

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
# Parenchyma, vessel, fissure, pleura, apex, diaphragm, mediastinum, hilum.
ON_THE_DIAPHRAGM = (0.05, 0.0, 0.0, 0.2, 0.05, 0.6, 0.05, 0.05)
LARGE = ImplantConfig((2, 3), (30.0, 110.0), masses=3, mass_place_weights=ON_THE_DIAPHRAGM)
# A piece is one or the other if at least, or at most, this share of it is tumour.
TUMOUR, OTHER = 0.85, 0.15


def main(weights: Path, left_out: list[str], data: Path, cases: int) -> None:
    """Print the pieces and how many of each kind are kept."""
    predictor = Predictor(weights)
    hosts = tuple(host for host in read_hosts(find_list("shipped")) if host.who in left_out)
    counts: Counter[tuple[str, bool]] = Counter()
    for name, case in make_cases(hosts, data, cases):
        for volume_ml, share, is_kept in pieces(case, predictor):
            kind = "tumour" if share >= TUMOUR else "other" if share <= OTHER else "both"
            counts[kind, is_kept] += 1
            print(
                f"{name:<24}{volume_ml:8.1f} mL, {share:4.0%} tumour, {'kept' if is_kept else 'left out'}", flush=True
            )
    for kind in ("tumour", "both", "other"):
        print(f"beneath_{kind}_kept {counts[kind, True]} of {counts[kind, True] + counts[kind, False]}")


def make_cases(hosts: tuple[HostSpec, ...], data: Path, count: int) -> Iterator[tuple[str, ImplantCase]]:
    """Name and case."""
    shapes = ShapeLibrary.read(data / "lesion_masks")
    for raised, seed in ((0.0, 71), (1.0, 72)):
        config = ImplantSetConfig(
            hosts, data, data / "lesion_masks", seed, implant=LARGE, empty_p=0.15, raised_p=raised
        )
        for number in range(count):
            case = make_case(number, config, shapes)
            yield f"{case.host}_{'raised' if raised else 'plain'}_{number}", case


def pieces(case: ImplantCase, predictor: Predictor) -> Iterator[tuple[float, float, bool]]:
    """Volume, share that is tumour or unknown, and whether it is kept, of each large piece without lung beneath."""
    prepared = predictor.prepare(case.scan)
    way = prepared.way
    lungs = find_lungs(segment_lungs(case.scan).labels, way)
    if lungs is None:
        return
    tumour = case.mask.voxels > 0
    if case.ignored is not None:
        tumour |= case.ignored.voxels > 0
    truth = way.sample(way.turn.apply_array(tumour.astype(np.float32))).reshape(-1) > 0.5
    found = way.sample(way.turn.apply_array(predictor.probability(case.scan).voxels.astype(np.float32)))
    found[~lungs.near] = 0
    labels, held = find_pieces(found, predictor.info.threshold, lungs.room)
    for number, piece in enumerate(held, 1):
        if piece.hangs_below:
            share = float(truth[labels.reshape(-1) == number].mean())
            yield piece.voxels * lungs.room.voxel_ml, share, piece.is_inside


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("--left-out", action="append", required=True)
    parser.add_argument("--data", type=Path, default=BESIDE)
    parser.add_argument("--cases", type=int, default=15, help="of each kind")
    asked = parser.parse_args()
    main(asked.weights, asked.left_out, asked.data, asked.cases)
