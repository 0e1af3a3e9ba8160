"""Weights against the truth: a data set's cases one after another, then the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tumorspread.data.cases import Case, DatasetInfo, find_cases, join_names, read_dataset_info
from tumorspread.data.splits import read_split
from tumorspread.errors import DatasetError, GeometryError, ReadError, RecipeError
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.measurement.metrics import compare_masks
from tumorspread.measurement.pieces import drop_unknown
from tumorspread.measurement.summary import CaseScore, Evaluation, summarise
from tumorspread.model.calibrate import THRESHOLDS, Calibration, HeldOut, calibrate, hold_out
from tumorspread.model.predict import Predictor
from tumorspread.model.preprocess import prepare_mask
from tumorspread.model.weights import WeightsInfo
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.read import read_mask

PARTS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class Job:
    """One evaluation.

    Attributes:
        data: folder of the data set, in MSD layout.
        part: `train`, `val` or `test` of its `splits.json`, or `all` cases.
        out: folder for the predicted masks, one `NAME.nii.gz` a case.
        fold: number of the split in `splits.json`.
        threshold: probabilities above it are tumour; None takes that of the weights.
    """

    data: Path
    part: str
    out: Path
    fold: int = 0
    threshold: float | None = None


def evaluate(predictor: Predictor, job: Job, *, progress: Callable[[int, int], None] | None = None) -> Evaluation:
    """Segment the cases of a split and compare each mask with the truth, on the scan's own grid.

    What a case ignores counts neither for nor against; see `Case`.

    Args:
        predictor: the weights, loaded.
        job: which cases, and where their masks go.
        progress: called with (cases done, cases in all).

    Raises:
        DatasetError: the data set or its split is wrong, or the part has no case.
        ReadError, GeometryError, MaskError: a case cannot be read right; nothing is left out in silence.
    """
    info = read_dataset_info(job.data)
    cases = pick_cases(job)
    scores = []
    for score in _score(predictor, job, cases, info):
        scores.append(score)
        if progress is not None:
            progress(len(scores), len(cases))
    return summarise(scores, weights=predictor.info.name, data=info.name, split=job.part)


def calibrate_on(
    folds: Iterable[tuple[Predictor, Sequence[Case]]], *, progress: Callable[[int], None] | None = None
) -> Calibration:
    """Threshold, probabilities and operating points of weights, from scans of patients they were not trained on.

    Args:
        folds: weights, loaded, and scans that they have not seen, with the outlines of all their tumours. Several are
            of one recipe, each trained without some of the patients (cross-validation).
        progress: called with the number of cases done.

    Raises:
        ReadError, GeometryError, MaskError: a case cannot be read right.
        RecipeError: the scans hold no tumour that was found, or nothing false.
    """
    held_out: list[HeldOut] = []
    for predictor, cases in folds:
        for scan in hold_out_cases(predictor, cases):
            held_out.append(scan)
            if progress is not None:
                progress(len(held_out))
    return calibrate(held_out)


def hold_out_cases(predictor: Predictor, cases: Sequence[Case]) -> Iterator[HeldOut]:
    """What the weights say about each case, beside its truth; nothing where a tumour may have no outline.

    Raises:
        ReadError, GeometryError, MaskError: a case cannot be read right.
    """
    for case in cases:
        scan = read_nifti(case.image)
        try:
            prepared = predictor.prepare(scan)
        except (ReadError, GeometryError) as error:
            raise type(error)(f"{case.name}: {error}") from error
        probability, lungs = predictor.look(prepared, segment_lungs(scan).labels)
        truth = prepare_mask(read_mask(case.mask, scan), predictor.info.preprocess) > 0
        if case.ignored is not None:
            unknown = prepare_mask(read_mask(case.ignored, scan), predictor.info.preprocess) > 0
            least = probability > min(THRESHOLDS)
            probability[least & ~drop_unknown(least, truth, unknown)] = 0
        yield hold_out(probability, truth, lungs, float(np.prod(prepared.way.target_spacing_mm)))


def check_calibration(judged: WeightsInfo, target: WeightsInfo, cases: Sequence[Case]) -> None:
    """Refuse a calibration that would not be that of the weights that get it, before anything is computed.

    Raises:
        RecipeError: weights of grey images, weights of two kinds, or scans that the judged weights were trained on.
    """
    if judged.preprocess.intensity != "hu":
        raise RecipeError(f"{judged.name} was trained on grey images; lesions are judged in CT in HU")
    for name in ("unet", "preprocess", "tile", "mirror"):
        if getattr(judged, name) != getattr(target, name):
            raise RecipeError(
                f"{judged.name} and {target.name} differ in {name}; a calibration holds for one kind alone"
            )
    seen = {*judged.provenance.train_cases, *judged.provenance.val_cases} & {case.name for case in cases}
    data = {case.image.parent.parent for case in cases}
    if seen and judged.provenance.data in {read_dataset_info(folder).name for folder in data}:
        raise RecipeError(f"{judged.name} was trained on {join_names(sorted(seen))}; choose scans it has not seen")


def pick_cases(job: Job) -> tuple[Case, ...]:
    """The cases of the job's part, by name.

    Raises:
        DatasetError: an unknown part, or one without cases.
    """
    if job.part not in PARTS:
        raise DatasetError(f"split {job.part!r}: expected one of {', '.join(PARTS)}")
    cases = find_cases(job.data)
    if job.part != "all":
        wanted = getattr(read_split(job.data, job.fold), job.part)
        cases = tuple(case for case in cases if case.name in wanted)
    if not cases:
        raise DatasetError(f"the {job.part} part of {job.data} has no cases")
    return cases


def _score(predictor: Predictor, job: Job, cases: tuple[Case, ...], info: DatasetInfo) -> Iterator[CaseScore]:
    for case in cases:
        scan = read_nifti(case.image)
        truth = read_mask(case.mask, scan)
        try:
            predicted, _ = predictor.mask(scan, threshold=job.threshold)
        except (ReadError, GeometryError) as error:
            raise type(error)(f"{case.name}: {error}") from error
        write_nifti(predicted.with_voxels(predicted.voxels.astype(np.uint8)), job.out / f"{case.name}.nii.gz")
        if case.ignored is not None:
            unknown = read_mask(case.ignored, scan).voxels > 0
            predicted = predicted.with_voxels(drop_unknown(predicted.voxels, truth.voxels > 0, unknown))
        yield CaseScore(case.name, compare_masks(predicted, truth, surfaces=info.slices == "volume"))


def holds_volumes(data: Path) -> bool:
    """Whether the cases of a data set are volumes, or stacks of independent slices."""
    return read_dataset_info(data).slices == "volume"
