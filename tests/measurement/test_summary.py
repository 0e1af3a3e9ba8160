"""The summary of many cases: means, intervals, and what is left out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from tumorspread.errors import DatasetError
from tumorspread.measurement.metrics import MaskMetrics, compare_masks
from tumorspread.measurement.summary import CaseScore, Evaluation, summarise
from tumorspread.scan.volume import Volume

PERFECT = MaskMetrics(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 2.0, 0.0, 0.0, 1, 1, 0)


def scores_of(**columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [CaseScore(f"case_{i}", replace(PERFECT, **row)) for i, row in enumerate(rows)]


def summarise_dice(values, **options):
    return summarise(scores_of(dice=values), weights="w", data="d", split="test", **options).summary["dice"]


def test_mean_and_median_are_those_of_the_cases():
    dice = summarise_dice([0.2, 0.9, 0.7, 0.6])
    assert (dice.mean, dice.median, dice.count, dice.reason) == (
        pytest.approx(0.6),
        pytest.approx(0.65),
        4,
        None,
    )


def test_the_interval_is_the_percentile_bootstrap_of_scipy():
    values = np.random.default_rng(3).beta(4, 2, 40)
    ours = summarise_dice(values.tolist(), resamples=20000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(1))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=2e-3)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=2e-3)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(4).random(30).tolist()
    assert summarise_dice(values, seed=1) == summarise_dice(values, seed=1)
    assert summarise_dice(values, seed=1) != summarise_dice(values, seed=2)


def test_cases_without_a_value_are_left_out_and_counted():
    dice = summarise_dice([0.4, None, 0.8, None])
    assert (dice.mean, dice.count) == (pytest.approx(0.6), 2)
    assert dice.reason == "2 of 4 left out: each has no value"


def test_a_value_that_every_case_lacks_has_no_mean_but_a_reason():
    dice = summarise_dice([None, None])
    assert (dice.mean, dice.low, dice.high, dice.median, dice.count) == (None, None, None, None, 0)
    assert dice.reason == "every case has no value"


def test_one_case_has_a_mean_and_no_interval():
    dice = summarise_dice([0.7, None])
    assert (dice.mean, dice.median, dice.low, dice.high, dice.count) == (0.7, 0.7, None, None, 1)
    assert dice.reason == "one case gives no interval; 1 of 2 left out: each has no value"


def test_equal_values_have_an_interval_of_width_zero():
    dice = summarise_dice([0.5, 0.5, 0.5])
    assert (dice.low, dice.high) == (0.5, 0.5)


def test_lesion_recall_is_pooled_over_lesions_and_drawn_over_cases():
    scores = scores_of(lesions_reference=[10, 1, 1, 0], lesions_found=[2, 1, 1, 0])
    recall = summarise(scores, weights="w", data="d", split="test").lesion_recall
    assert recall.mean == pytest.approx(4 / 12)
    assert (recall.median, recall.count) == (1.0, 3)
    assert recall.reason == "1 of 4 left out: each has no lesion"
    # Draws of three cases: only the large one (0.2) at worst, only the small ones (1.0) at best.
    assert recall.low == pytest.approx(0.2)
    assert recall.high == pytest.approx(1.0)


def test_false_positives_are_counted_per_scan_even_without_lesions():
    scores = scores_of(false_positives=[0, 3, 1, 0], lesions_reference=[0] * 4, lesions_found=[0] * 4)
    evaluation = summarise(scores, weights="w", data="d", split="test")
    assert (evaluation.false_positives_per_scan.mean, evaluation.false_positives_per_scan.count) == (1.0, 4)
    assert evaluation.lesion_recall.mean is None


def test_every_measure_has_an_interval_and_no_count_of_lesions_has():
    summary = summarise(scores_of(dice=[0.5, 0.6]), weights="w", data="d", split="test").summary
    assert set(summary) == {
        "dice", "iou", "accuracy", "precision", "recall", "specificity", "nsd_2mm", "hd95_mm", "volume_ml",
        "reference_volume_ml", "volume_error_ml", "volume_error_percent",
    }  # fmt: skip


def test_no_case_at_all_is_refused():
    with pytest.raises(DatasetError, match="no scored case"):
        summarise([], weights="w", data="d", split="test")


def test_json_reads_back_and_never_holds_nan():
    empty = Volume(np.zeros((3, 4, 5), np.uint8), np.eye(4)[[2, 1, 0, 3]])
    scores = [CaseScore("negative", compare_masks(empty, empty)), CaseScore("perfect", PERFECT)]
    evaluation = summarise(scores, weights="weights.safetensors", data="Task06", split="val")
    text = evaluation.to_json()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert record["cases"][0]["metrics"]["dice"] is None
    assert record["summary"]["dice"]["count"] == 1
    assert (record["weights"], record["data"], record["split"]) == ("weights.safetensors", "Task06", "val")
    assert TypeAdapter(Evaluation).validate_json(text) == evaluation
    assert text.endswith("}\n")
