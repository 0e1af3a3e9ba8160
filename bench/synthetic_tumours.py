"""Synthetic tumours in chests that weights have not seen: how many are found, by size, and what else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tumorspread import Analysis, Volume
from tumorspread.data.acquisition import AcquisitionConfig
from tumorspread.data.hosts import HostSpec
from tumorspread.data.implant_set import ImplantCase, ImplantSetConfig, make_case, read_library
from tumorspread.measurement.metrics import FOUND_SHARE
from tumorspread.measurement.pieces import drop_unknown
from tumorspread.model.candidates import expected_calibration_error

SEED = 1000
EDGES_MM = (0, 5, 10, 20, 50, 1000)
# The chest as it was taken: its own slices, kernel, dose and size.
AS_TAKEN = AcquisitionConfig(slice_mm=(0.0,), size=(1.0, 1.0), kernel_p=0.0, dose_p=0.0, pixel_mm=0.1)


@dataclass(frozen=True)
class SyntheticSet:
    """Cases to judge on.

    Attributes:
        kind: what the names of the figures begin with.
        hosts: by patient.
        data: folder that their paths are relative to.
        acquisition: what is drawn of each case.
        tumours: cases are made of a patient until it has so many.
    """

    kind: str
    hosts: dict[str, tuple[HostSpec, ...]]
    data: Path
    acquisition: AcquisitionConfig
    tumours: int

    def cases(self) -> Iterator[tuple[str, str, ImplantCase]]:
        """Patient, name and case; another process makes the next one meanwhile."""
        shapes = self.data / "lesion_masks"
        with ProcessPoolExecutor(1, get_context("spawn")) as maker:
            for patient, hosts in self.hosts.items():
                config = ImplantSetConfig(hosts, self.data, shapes, SEED, self.acquisition, empty_p=0.0)
                number = count = 0
                ahead = maker.submit(make_one, number, config)
                while count < self.tumours:
                    case = ahead.result()
                    ahead = maker.submit(make_one, number + 1, config)
                    yield patient, f"{patient}_{self.kind}_{number}", case
                    number, count = number + 1, count + len(case.lesions)


def make_one(number: int, config: ImplantSetConfig) -> ImplantCase:
    """A case, in the process that makes them."""
    return make_case(number, config, read_library(config.shapes))


@dataclass
class Tally:
    """What was found of all cases."""

    sizes_mm: list[float] = field(default_factory=list)
    was_found: list[bool] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    dices: list[float] = field(default_factory=list)
    false: list[int] = field(default_factory=list)
    likely: list[float] = field(default_factory=list)
    is_tumour: list[bool] = field(default_factory=list)

    def add(self, patient: str, case: ImplantCase, analysis: Analysis) -> None:
        """Count one case."""
        labels, truth = analysis.lesions.voxels, case.mask.voxels > 0
        labels = np.where(without_unknown(labels > 0, case), labels, 0)
        for lesion in case.lesions:
            near = ball(case.mask, lesion.centre_mm, lesion.diameter_mm / 2) & truth
            self.sizes_mm.append(lesion.diameter_mm)
            self.owners.append(patient)
            self.was_found.append(bool((labels[near] > 0).mean() >= FOUND_SHARE) if near.any() else False)
        shown, right = (set(np.unique(labels[where & (labels > 0)]).tolist()) for where in (True, truth))
        self.false.append(len(shown - right))
        self.dices.append(dice(labels > 0, truth))
        for n in analysis.findings.lesions:
            if n.probability is not None and n.id in shown:
                self.likely.append(n.probability)
                self.is_tumour.append(n.id in right)

    def figures(self, kind: str) -> dict[str, float]:
        """The figures, by name; prints how many of each size were found in each patient."""
        size, hit, owner = np.array(self.sizes_mm), np.array(self.was_found), np.array(self.owners)
        for patient in dict.fromkeys(self.owners):
            for low, high in pairwise(EDGES_MM):
                which = (owner == patient) & (size >= low) & (size < high)
                print(f"{kind:<12}{patient:<22}{low:>4} to {high:>4} mm: found {hit[which].sum()} of {which.sum()}")
        return {
            f"{kind}_tumours": float(len(size)),
            f"{kind}_recall_10mm": float(hit[size >= 10].mean()),
            f"{kind}_recall_5_10mm": float(hit[(size >= 5) & (size < 10)].mean()),
            f"{kind}_dice": float(np.mean(self.dices)),
            f"{kind}_fp_per_scan": float(np.mean(self.false)),
        }


def judge_synthetic(asked: SyntheticSet, look: Callable[[str, Volume, str], Analysis]) -> dict[str, float]:
    """Recall by size, Dice, false lesions, calibration; nothing where there is no patient.

    Args:
        asked: the cases.
        look: analyses the scan (second argument) of a name (first) with weights that have not seen a patient (third).
    """
    tally = Tally()
    for patient, name, case in asked.cases():
        tally.add(patient, case, look(name, case.scan, patient))
    if not tally.sizes_mm:
        return {}
    figures = tally.figures(asked.kind)
    if asked.kind == "synthetic" and tally.likely:
        figures["lesion_ece"] = expected_calibration_error(np.array(tally.likely), np.array(tally.is_tumour))
    return figures


def without_unknown(found: np.ndarray, case: ImplantCase) -> np.ndarray:
    """A mask without what lies where the host may have a tumour that nobody outlined."""
    return found if case.ignored is None else drop_unknown(found, case.mask.voxels > 0, case.ignored.voxels > 0)


def ball(grid: Volume, centre_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """The voxels within a radius of a point."""
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.linalg.norm(points - np.array(centre_mm), axis=-1) <= max(radius_mm, max(grid.spacing_mm))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Twice the overlap over the sum of both; 0 for two empty masks, where nothing was found."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 0.0
