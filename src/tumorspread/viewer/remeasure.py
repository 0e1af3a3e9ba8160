"""Findings of an edited map: what was touched is measured again, what was not is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tumorspread.measurement.findings import Findings
from tumorspread.measurement.lungs import LungMask
from tumorspread.measurement.measured import MeasureOptions, measure_labels
from tumorspread.measurement.parts import Lesion
from tumorspread.scan.volume import Volume, sparse_zeros
from tumorspread.viewer.lesion_map import LesionMap

BY_HAND = "the lesion was edited by hand"


def remeasure(
    scan: Volume, lesions: LesionMap, lungs: LungMask, findings: Findings, changed: frozenset[int]
) -> Findings:
    """Findings of the map as it is now."""
    order = sorted(lesions.boxes, key=lambda n: -int(np.count_nonzero(lesions.labels[lesions.boxes[n]] == n)))
    ranked = sparse_zeros(scan.shape, np.uint16)
    for rank, number in enumerate(order, 1):
        box = lesions.boxes[number]
        ranked[box][lesions.labels[box] == number] = rank
    measured = measure_labels(scan, scan.with_voxels(ranked), MeasureOptions(), lungs=lungs)
    known = {lesion.id: lesion for lesion in findings.lesions}
    made = tuple(_named(lesion, order, known, changed) for lesion in measured.lesions)
    return replace(findings, lesions=made, burden=measured.burden, spread=measured.spread, stage=measured.stage)


def _named(lesion: Lesion, order: list[int], known: dict[int, Lesion], changed: frozenset[int]) -> Lesion:
    number = order[lesion.id - 1]
    nearest = None if lesion.nearest_lesion_id is None else order[lesion.nearest_lesion_id - 1]
    lesion = replace(lesion, id=number, nearest_lesion_id=nearest)
    if number in known and number not in changed:
        return replace(lesion, probability=known[number].probability, reasons=known[number].reasons)
    return replace(lesion, reasons={**lesion.reasons, "probability": BY_HAND})
