from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tumorspread.data.cases import DatasetInfo, find_cases, write_dataset_json
from tumorspread.data.phantom import PhantomConfig
from tumorspread.data.phantom_set import write_phantoms
from tumorspread.data.splits import Split, write_splits
from tumorspread.errors import DatasetError, MaskError, RecipeError
from tumorspread.evaluate import Job, calibrate_on, check_calibration, evaluate, holds_volumes, pick_cases
from tumorspread.measurement.metrics import compare_masks
from tumorspread.model.detect import find_lungs
from tumorspread.model.predict import Predictor
from tumorspread.model.preprocess import PreprocessConfig, prepare_mask
from tumorspread.model.unet import UNet, UNetConfig
from tumorspread.model.weights import Provenance, WeightsInfo, save_weights
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.volume import Volume


@pytest.fixture
def data(tmp_path):
    """Three cases of grey noise with a bright box each, split one by one."""
    folder = tmp_path / "data"
    for i, name in enumerate("abc"):
        random = np.random.default_rng(i)
        mask = np.zeros((4, 32, 32), np.uint8)
        mask[1:3, 8 + i : 16 + i, 8:20] = 1
        image = np.clip(0.2 + 0.6 * mask + random.normal(0, 0.05, mask.shape), 0, 1).astype(np.float32)
        write_nifti(Volume.upright(image, (3, 1, 1)), folder / "imagesTr" / f"{name}.nii.gz")
        write_nifti(Volume.upright(mask, (3, 1, 1)), folder / "labelsTr" / f"{name}.nii.gz")
    write_dataset_json(folder, DatasetInfo("Grey", intensity="gray", training=tuple("abc")))
    write_splits(folder / "splits.json", [Split(("a",), ("b",), ("c",))], kind="holdout", seed=0)
    return folder


@pytest.fixture
def predictor(tmp_path):
    info = WeightsInfo(
        UNetConfig(dims=2, widths=(4, 8)), PreprocessConfig(spacing_mm=(0, 0, 0), window=(0, 1), intensity="gray"),
        (32, 32), 0.5, Provenance("x"),
    )  # fmt: skip
    save_weights(UNet(info.unet), info, tmp_path / "w.safetensors")
    return Predictor(tmp_path / "w.safetensors", device="cpu")


class Truthful(Predictor):
    """A predictor that marks what is bright: the truth of these cases."""

    def __init__(self, other):
        self.__dict__.update(other.__dict__)

    def mask(self, scan, *, threshold=None, progress=None):
        return scan.with_voxels(np.asarray(scan.voxels) > 0.5), ()


class Telling(Predictor):
    """A predictor of phantoms that is sure of their tumours, and less so of a corner of their lungs."""

    def __init__(self, cases):
        preprocess = PreprocessConfig(spacing_mm=(6.0, 6.0, 6.0))
        self.info = WeightsInfo(UNetConfig(widths=(4, 8)), preprocess, (16, 16, 16), 0.5, Provenance("x"))
        self.masks = iter([case.mask for case in cases])

    def look(self, prepared, sides, *, progress=None):
        lungs = find_lungs(sides, prepared.way)
        probability = np.where(prepare_mask(read_nifti(next(self.masks)), self.info.preprocess), 0.9, 0.0)
        z, y, x = np.argwhere((lungs.room.lung) & (probability == 0))[0]
        probability[z : z + 2, y : y + 2, x : x + 2] = np.maximum(probability[z : z + 2, y : y + 2, x : x + 2], 0.75)
        probability[0, 0, 0:4] = 0.99  # a false piece out of reach
        return probability.astype(np.float32), lungs


def test_weights_are_calibrated_on_the_scans_of_a_data_set(tmp_path):
    config = PhantomConfig(spacing_mm=(6.0, 5.0, 5.0), vessels=5, tumours=(2, 2), diameter_mm=(20.0, 30.0))
    cases = find_cases(write_phantoms(tmp_path / "phantoms", 3, config=config))
    seen = []
    done = calibrate_on([(Telling(cases), cases)], progress=seen.append)
    assert seen == [1, 2, 3]
    assert (done.tumours, done.dice, done.detection.scans) == (6, 1.0, 3)
    likely = [done.detection.probability(score) for score in (0.75, 0.9)]
    assert likely[0] < 0.5 < likely[1]
    assert likely[0] < done.detection.balanced <= likely[1]
    assert done.detection.recall == (1.0, 1.0, 1.0)


class Dreaming(Truthful):
    """A truthful predictor that also marks a block of 4 x 6 pixels in each slice."""

    def mask(self, scan, *, threshold=None, progress=None):
        marked = np.asarray(scan.voxels) > 0.5
        marked[:, 2:6, 24:30] = True
        return scan.with_voxels(marked), ()


def test_what_a_case_ignores_counts_neither_for_nor_against(data, predictor, tmp_path):
    before = evaluate(Dreaming(predictor), Job(data, "test", tmp_path / "before")).cases[0]
    mask = read_nifti(data / "labelsTr" / "c.nii.gz")
    assert not mask.voxels[:, 2:6, 23:31].any()
    unknown = np.zeros(mask.shape, np.uint8)
    unknown[:, 3:5, 25:27] = 1  # the block reaches out of it on all sides
    (data / "ignoreTr").mkdir()
    write_nifti(mask.with_voxels(unknown), data / "ignoreTr" / "c.nii.gz")
    after = evaluate(Dreaming(predictor), Job(data, "test", tmp_path / "after")).cases[0]
    assert before.metrics.dice < 1
    assert after.metrics.dice == 1
    written = [read_nifti(tmp_path / name / "c.nii.gz").voxels for name in ("before", "after")]
    assert np.array_equal(*written)


def test_a_calibration_does_not_count_what_its_cases_ignore(tmp_path):
    config = PhantomConfig(spacing_mm=(6.0, 5.0, 5.0), vessels=5, tumours=(2, 2), diameter_mm=(20.0, 30.0))
    cases = find_cases(write_phantoms(tmp_path / "phantoms", 3, config=config))
    (tmp_path / "phantoms" / "ignoreTr").mkdir()
    for case in cases:
        mask = read_nifti(case.mask)
        everywhere = mask.with_voxels((mask.voxels == 0).astype(np.uint8))
        write_nifti(everywhere, tmp_path / "phantoms" / "ignoreTr" / case.mask.name)
    with pytest.raises(RecipeError, match="0 others"):
        calibrate_on([(Telling(cases), find_cases(tmp_path / "phantoms"))])


def test_a_perfect_model_scores_one_and_its_masks_are_written(data, predictor, tmp_path):
    result = evaluate(Truthful(predictor), Job(data, "all", tmp_path / "masks"))
    assert [score.case for score in result.cases] == ["a", "b", "c"]
    assert result.summary["dice"].mean == 1
    assert result.summary["hd95_mm"].mean == 0
    assert result.lesion_recall.mean == 1
    assert result.false_positives_per_scan.mean == 0
    written = read_nifti(tmp_path / "masks" / "b.nii.gz")
    assert np.array_equal(written.voxels, read_nifti(data / "labelsTr" / "b.nii.gz").voxels)


def test_scores_are_those_of_the_masks_that_were_written(data, predictor, tmp_path):
    calls = []
    result = evaluate(
        predictor, Job(data, "test", tmp_path / "masks"), progress=lambda done, total: calls.append((done, total))
    )
    (score,) = result.cases
    expected = compare_masks(read_nifti(tmp_path / "masks" / "c.nii.gz"), read_nifti(data / "labelsTr" / "c.nii.gz"))
    assert score.case == "c"
    assert score.metrics == expected
    assert calls == [(1, 1)]


def test_independent_slices_have_no_surface_in_space(data, predictor, tmp_path):
    write_dataset_json(data, DatasetInfo("Grey", intensity="gray", slices="independent", training=tuple("abc")))
    assert not holds_volumes(data)
    result = evaluate(predictor, Job(data, "test", tmp_path / "masks"))
    assert result.cases[0].metrics.hd95_mm is None
    assert "hd95_mm" in result.cases[0].metrics.reasons


def test_each_part_gives_its_cases_and_an_unknown_or_empty_one_is_refused(data, tmp_path):
    assert [[c.name for c in pick_cases(Job(data, part, tmp_path))] for part in ("train", "val", "test", "all")] == [
        ["a"], ["b"], ["c"], ["a", "b", "c"],
    ]  # fmt: skip
    with pytest.raises(DatasetError, match="expected one of"):
        pick_cases(Job(data, "exam", tmp_path))
    write_splits(data / "splits.json", [Split(("a",), ("b", "c"))], kind="holdout", seed=0)
    with pytest.raises(DatasetError, match="no cases"):
        pick_cases(Job(data, "test", tmp_path))


def test_a_mask_on_another_grid_stops_the_evaluation(data, predictor, tmp_path):
    write_nifti(Volume.upright(np.zeros((4, 32, 31), np.uint8), (3, 1, 1)), data / "labelsTr" / "c.nii.gz")
    with pytest.raises(MaskError):
        evaluate(predictor, Job(data, "test", tmp_path / "masks"))


def test_a_calibration_that_is_not_that_of_the_weights_is_refused(data, predictor, tmp_path):
    cases = pick_cases(Job(data, "all", tmp_path))
    with pytest.raises(RecipeError, match="grey images"):
        check_calibration(predictor.info, predictor.info, cases)
    ct = WeightsInfo(UNetConfig(widths=(4, 8)), PreprocessConfig(), (16, 16, 16), 0.5, Provenance("Grey", ("b",)))
    with pytest.raises(RecipeError, match="was trained on b; choose scans"):
        check_calibration(ct, ct, cases)
    check_calibration(ct, ct, pick_cases(Job(data, "test", tmp_path)))
    other = replace(ct, preprocess=PreprocessConfig(spacing_mm=(3, 3, 3)))
    with pytest.raises(RecipeError, match="differ in preprocess"):
        check_calibration(ct, other, pick_cases(Job(data, "test", tmp_path)))
