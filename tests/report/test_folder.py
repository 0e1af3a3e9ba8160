"""A result folder is there whole or not at all, and never takes the place of something else."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tumorspread.errors import OutputError, ReadError
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.metrics import compare_masks
from tumorspread.measurement.summary import CaseScore, summarise
from tumorspread.pipeline import Analysis, measure
from tumorspread.report.folder import (
    Files,
    check_free,
    open_folder,
    pick_examples,
    write_analysis,
    write_evaluation,
    write_picture,
)
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.volume import Volume


def fill(folder, text="new"):
    (folder / "findings.json").write_text(text)


def write_and_fail(out, error):
    with open_folder(out) as folder:
        fill(folder)
        raise error


def scores(*dices):
    """Cases c0, c1, ... with these Dice."""
    one = Volume(np.pad(np.ones((1, 1, 1), bool), 1), np.eye(4)[[2, 1, 0, 3]])
    metrics = compare_masks(one, one)
    return [CaseScore(f"c{i}", replace(metrics, dice=dice)) for i, dice in enumerate(dices)]


def test_the_folder_appears_with_its_parents_when_the_block_ends_well(tmp_path):
    out = tmp_path / "a" / "b" / "out"
    with open_folder(out) as folder:
        fill(folder)
        assert not (tmp_path / "a").exists()
    assert (out / "findings.json").read_text() == "new"
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "b", "out", "findings.json"]


@pytest.mark.parametrize("error", [ReadError("no"), KeyboardInterrupt(), ValueError("a bug")])
def test_nothing_is_left_when_the_block_fails(tmp_path, error):
    with pytest.raises(type(error)):
        write_and_fail(tmp_path / "a" / "out", error)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled_and_stays_when_the_block_fails(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ReadError), open_folder(out):
        raise ReadError("no")
    assert list(tmp_path.rglob("*")) == [out]
    with open_folder(out) as folder:
        fill(folder)
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "findings.json"]


def test_results_are_kept_without_force_and_replaced_whole_with_it(tmp_path):
    out = tmp_path / "out"
    with open_folder(out) as folder:
        fill(folder, "old")
        (folder / "lesions.csv").write_text("old")
    with pytest.raises(OutputError, match="--force"), open_folder(out):
        pass
    with open_folder(out, force=True) as folder:
        fill(folder)
        assert (out / "findings.json").read_text() == "old"
    assert {p.name: p.read_text() for p in out.iterdir()} == {"findings.json": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_old_results_stay_when_the_new_ones_fail(tmp_path):
    out = tmp_path / "out"
    with open_folder(out) as folder:
        fill(folder, "old")
    with pytest.raises(ReadError), open_folder(out, force=True):
        raise ReadError("no")
    assert (out / "findings.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_force_never_replaces_a_folder_that_holds_no_results(tmp_path):
    (tmp_path / "patient").mkdir()
    (tmp_path / "patient" / "ct.nii.gz").write_text("the only copy")
    with pytest.raises(OutputError, match="holds no results"), open_folder(tmp_path / "patient", force=True):
        pass
    assert (tmp_path / "patient" / "ct.nii.gz").read_text() == "the only copy"


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_the_folder_the_user_is_in_is_never_replaced(tmp_path, monkeypatch, place):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="the folder you are in"):
        check_free(Path(place), force=True)


def test_a_link_to_a_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open_folder(tmp_path / "link") as folder:
        fill(folder)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "findings.json").read_text() == "new"


@pytest.mark.parametrize("place", ["file", "file/out", "x" * 300])
def test_a_place_that_cannot_be_a_folder_is_refused_in_one_line(tmp_path, place):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(OutputError) as refusal, open_folder(tmp_path / place):
        raise AssertionError("the block must not run")
    assert "\n" not in str(refusal.value)
    assert [p.name for p in tmp_path.rglob("*")] == ["file"]


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match=r"No space left.*mask\.nii\.gz"):
        write_and_fail(tmp_path / "out", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "mask.nii.gz"))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_picture(b"png", tmp_path / "a" / "p.png")
    assert (tmp_path / "a" / "p.png").read_bytes() == b"png"
    with pytest.raises(OutputError, match="cannot write"):
        write_picture(b"png", tmp_path / "a" / "p.png" / "q.png")

    def fail(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="broken"):
        write_picture(b"other", tmp_path / "a" / "p.png")
    assert [p.name for p in tmp_path.rglob("*.png*")] == ["p.png"]
    assert (tmp_path / "a" / "p.png").read_bytes() == b"png"


def test_an_analysis_becomes_six_files_that_say_the_same(thorax, tmp_path):
    analysis = Analysis(thorax.scan, thorax.lesions, thorax.lungs, thorax.findings)
    write_analysis(analysis, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "mask.nii.gz", "lesions.nii.gz", "lungs.nii.gz", "findings.json", "lesions.csv", "report.html",
    }  # fmt: skip
    assert Findings.from_json((tmp_path / "findings.json").read_text()) == thorax.findings
    lesions, mask = read_nifti(tmp_path / "lesions.nii.gz"), read_nifti(tmp_path / "mask.nii.gz")
    assert np.array_equal(lesions.voxels, thorax.lesions.voxels)
    assert np.array_equal(mask.voxels, thorax.lesions.voxels > 0)
    assert np.array_equal(read_nifti(tmp_path / "lungs.nii.gz").voxels, thorax.lungs.voxels)
    assert lesions.same_grid(thorax.scan)
    assert len((tmp_path / "lesions.csv").read_text().splitlines()) == 1 + len(thorax.findings.lesions)
    assert "Research use only" in (tmp_path / "report.html").read_text()


def test_an_analysis_without_lungs_or_lesions_is_written_too(thorax, tmp_path):
    analysis = measure(thorax.scan, thorax.scan.with_voxels(np.zeros(thorax.scan.shape, bool)))
    write_analysis(replace(analysis, lungs=None), tmp_path)
    assert not read_nifti(tmp_path / "mask.nii.gz").voxels.any()
    assert (tmp_path / "lesions.csv").read_text().count("\n") == 1
    assert not (tmp_path / "lungs.nii.gz").exists()


def test_the_worst_the_median_and_the_best_case_are_picked_by_dice():
    picked = pick_examples(scores(0.5, 0.9, 0.1, 0.7, 0.3))
    assert [(rank, score.case) for rank, score in picked] == [
        ("worst", "c2"),
        ("median", "c0"),
        ("best", "c1"),
    ]


@pytest.mark.parametrize(
    ("dices", "ranks"),
    [
        ((), []),
        ((None,), []),
        ((0.5,), ["worst"]),
        ((0.5, None, 0.2), ["worst", "median"]),
        ((0, 0, 0), None),
    ],
)
def test_few_cases_and_those_without_dice_give_fewer_examples(dices, ranks):
    picked = pick_examples(scores(*dices))
    assert [rank for rank, _ in picked] == (ranks if ranks is not None else ["worst", "median", "best"])
    assert len({score.case for _, score in picked}) == len(picked)


@pytest.mark.parametrize("volumes", [True, False], ids=["volumes", "independent slices"])
def test_an_evaluation_becomes_tables_a_page_and_pictures(thorax, tmp_path, volumes):
    truth = thorax.lesions.with_voxels((thorax.lesions.voxels > 0).astype(np.uint8))
    predicted = truth.with_voxels(np.roll(truth.voxels, 1, axis=2))
    scan = thorax.scan if volumes else thorax.scan.with_voxels(
        ((thorax.scan.voxels + 1000) / 2000).astype(np.float32)
    )  # fmt: skip
    paths = [tmp_path / f"{kind}.nii.gz" for kind in ("scan", "truth", "predicted")]
    for path, volume in zip(paths, (scan, truth, predicted), strict=True):
        write_nifti(volume, path)
    score = CaseScore("poor", compare_masks(predicted, truth, surfaces=volumes))
    evaluation = summarise([score], weights="w", data="d", split="test")
    out = tmp_path / "out"
    out.mkdir()
    write_evaluation(evaluation, {"poor": Files(*paths)}, out, volumes=volumes)
    (case,) = json.loads((out / "evaluation.json").read_text())["cases"]
    assert (case["case"], case["metrics"]["dice"]) == ("poor", score.metrics.dice)
    assert len((out / "evaluation.csv").read_text().splitlines()) == 2
    assert "poor" in (out / "evaluation.html").read_text()
    kinds = ("comparison", "truth", "prediction") if volumes else ("comparison",)
    expected = {"worst_poor.png", *(f"poor_{kind}.png" for kind in kinds)}
    assert {p.name for p in (out / "pictures").iterdir()} == expected
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (out / "pictures").iterdir())
