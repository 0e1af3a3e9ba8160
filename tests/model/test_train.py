from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.model.conftest import TINY

from tumorspread.errors import TrainingError, WeightsError
from tumorspread.model import checkpoint
from tumorspread.model.checkpoint import AtomicCheckpointIO, read_log
from tumorspread.model.recipe import Recipe
from tumorspread.model.segmenter import Segmenter
from tumorspread.model.train import Job, pick_precision, train
from tumorspread.model.weights import load_weights


def job(data: Path, out: Path, *changes: str, resume: bool = False) -> Job:
    return Job(data, out, Recipe.read(None, [*TINY, *changes]), cache=out.parent / "cache", resume=resume)


def same(first: Path, second: Path) -> bool:
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def whole(tiny_data, tmp_path_factory):
    """A training that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    lines: list[str] = []
    train(job(tiny_data, out), report=lines.append)
    return out, lines


def test_a_training_leaves_weights_checkpoint_log_and_recipe(whole):
    out, lines = whole
    assert {"weights.safetensors", "last.ckpt", "metrics.csv", "recipe.toml", "run.json"} <= set(os.listdir(out))
    assert list(out.glob("tensorboard/events*"))
    assert Recipe.read(str(out / "recipe.toml")) == Recipe.read(None, TINY)
    rows = read_log(out / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert all(0 <= row[k] <= 1 for row in rows for k in ("val_dice", "val_accuracy", "val_precision", "val_recall")
               if k in row)  # fmt: skip
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert sum(line.startswith("epoch") for line in lines) == 4


def test_the_weights_say_where_they_come_from(whole):
    out, _ = whole
    _, info = load_weights(out / "weights.safetensors")
    rows = read_log(out / "metrics.csv")
    assert info.provenance.data == "Tiny"
    assert info.provenance.train_cases == ("case_0", "case_1", "case_2")
    assert info.provenance.val_cases == ("case_3", "case_4")
    assert info.provenance.val_dice == pytest.approx(max(row["val_dice"] for row in rows), abs=1e-5)
    assert rows[info.provenance.epoch - 1]["val_dice"] == pytest.approx(info.provenance.val_dice, abs=1e-5)
    assert info.provenance.recipe["patch"]["size"] == [16, 16, 16]


def test_what_is_kept_is_the_moving_average_by_its_formula():
    """Weights that go 1, 2, 3, ... average as decay d_n = min(0.5, (1 + n) / (10 + n))."""
    module = Segmenter(Recipe.read(None, [*TINY, "optim.average=0.5"]))
    expected = None
    for step in range(1, 12):
        with torch.no_grad():
            for parameter in module.network.parameters():
                parameter.fill_(step)
        module.on_train_batch_end(None, None, 0)
        decay = min(0.5, step / (9 + step))
        expected = step if expected is None else decay * expected + (1 - decay) * step
    assert next(module.kept.parameters()).flatten()[0].item() == pytest.approx(expected, rel=1e-5)
    assert not any(parameter.requires_grad for parameter in module.kept.parameters())


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(whole, tiny_data, tmp_path):
    out, _ = whole
    again = train(job(tiny_data, tmp_path / "again"))
    other = train(job(tiny_data, tmp_path / "other", "seed=1"))
    assert same(out / "weights.safetensors", again)
    assert not same(again, other)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.model.test_train import job
from tumorspread.model import checkpoint, segmenter
from tumorspread.model.segmenter import Segmenter
from tumorspread.model.train import train
data, out, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if where == "step":
    step = segmenter.Segmenter.training_step
    def dying(self, batch, number):
        if (self.current_epoch, number) == (2, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, batch, number)
    segmenter.Segmenter.training_step = dying
else:
    save, calls = torch.save, []
    def dying(state, file):
        calls.append(0)
        save(state, file)
        if len(calls) == 3:
            file.truncate(file.tell() // 2)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.torch.save = dying
train(job(data, out))
"""


@pytest.mark.parametrize(("where", "kept"), [("step", 2), ("checkpoint", 2)])
def test_a_training_killed_at_once_goes_on_and_ends_as_if_it_had_not_been(whole, tiny_data, tmp_path, where, kept):
    """kill -9 in the middle of epoch 3, and half way through writing the checkpoint of epoch 3."""
    out = tmp_path / "run"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, tiny_data, out, where], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    state = AtomicCheckpointIO().load_checkpoint(out / "last.ckpt")
    assert state["epoch"] + 1 == kept, "at most one epoch is lost"
    train(job(tiny_data, out, resume=True))
    reference, _ = whole
    assert same(out / "weights.safetensors", reference / "weights.safetensors")
    a, b = (read_log(folder / "metrics.csv") for folder in (out, reference))
    for row, expected in zip(a, b, strict=True):
        for key in ("epoch", "train_loss", "val_dice", "val_recall", "lr"):
            assert row.get(key) == expected.get(key)
    final = [AtomicCheckpointIO().load_checkpoint(folder / "last.ckpt") for folder in (out, reference)]
    assert all(torch.equal(final[0]["state_dict"][k], v) for k, v in final[1]["state_dict"].items())


def test_resuming_a_finished_training_changes_nothing(whole, tiny_data, tmp_path):
    out = tmp_path / "run"
    train(job(tiny_data, out))
    before = (out / "weights.safetensors").read_bytes()
    train(job(tiny_data, out, resume=True))
    assert (out / "weights.safetensors").read_bytes() == before
    assert len(read_log(out / "metrics.csv")) == 4


def test_it_begins_with_the_weights_that_are_given(whole, tiny_data, tmp_path):
    still = ("optim.learning_rate=1e-12", "optim.weight_decay=0", "run.epochs=1", "unet.dropout=0.2")
    made = train(replace(job(tiny_data, tmp_path / "tuned", *still), start=whole[0] / "weights.safetensors"))
    before, after = (load_file(path) for path in (whole[0] / "weights.safetensors", made))
    learned = [name for name in before if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in learned)
    other = train(job(tiny_data, tmp_path / "new", *still))
    assert not all(torch.allclose(before[name], load_file(other)[name], atol=1e-3) for name in learned)


def test_weights_of_another_network_are_no_start_and_leave_nothing(whole, tiny_data, tmp_path):
    wider = replace(job(tiny_data, tmp_path / "run", "unet.widths=[8,16]"), start=whole[0] / "weights.safetensors")
    with pytest.raises(TrainingError, match="another network"):
        train(wider)
    with pytest.raises(WeightsError, match="no such weights"):
        train(replace(wider, start=tmp_path / "missing.safetensors"))
    assert not (tmp_path / "run").exists()


def test_it_stops_early_when_validation_no_longer_gets_better(tiny_data, tmp_path):
    changes = ("run.patience=1", "run.epochs=30", "optim.learning_rate=1e-9", "patch.steps_per_epoch=1")
    train(job(tiny_data, tmp_path / "run", *changes))
    assert len(read_log(tmp_path / "run" / "metrics.csv")) < 30


def test_another_split_or_folder_cannot_be_resumed(whole, tiny_data, tmp_path):
    out = tmp_path / "run"
    train(job(tiny_data, out, "run.epochs=1"))
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(run | {"train": ["case_9"]}))
    with pytest.raises(TrainingError, match="another train"):
        train(job(tiny_data, out, resume=True))
    with pytest.raises(TrainingError, match="no training to resume"):
        train(job(tiny_data, tmp_path / "none", resume=True))
    with pytest.raises(TrainingError, match="not empty"):
        train(job(tiny_data, out))


def test_a_recipe_that_does_not_suit_the_data_is_refused_before_anything_is_written(tiny_data, tmp_path):
    with pytest.raises(TrainingError, match="intensity"):
        train(job(tiny_data, tmp_path / "run", "preprocess.intensity=gray"))
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "last.ckpt"
    for content in (b"", b"rubbish", b"PK\x03\x04half"):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match="not a readable checkpoint"):
            AtomicCheckpointIO().load_checkpoint(path)


def test_precision_is_never_one_that_this_processor_emulates(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert pick_precision("auto") == "32-true"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert pick_precision("auto") == "bf16-mixed"
    assert pick_precision("32") == "32-true"


def test_counts_are_the_formulas_of_dice_accuracy_precision_and_recall():
    from tumorspread.model.segmenter import compare_counts

    predicted, truth = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool), np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
    assert compare_counts(predicted, truth) == (4 / 6, 6 / 8, 2 / 3, 2 / 3)
    nothing = np.zeros(8, bool)
    assert compare_counts(nothing, nothing) == (None, 1.0, None, None)
    assert compare_counts(predicted, nothing) == (0.0, 5 / 8, 0.0, None)


def test_the_checkpoint_module_writes_the_log_whole(tmp_path):
    rows = [{"epoch": 1.0, "train_loss": 0.5, "lr": 0.1}, {"epoch": 2.0, "train_loss": 0.25, "val_dice": 0.75}]
    checkpoint.write_log(tmp_path / "metrics.csv", rows)
    assert read_log(tmp_path / "metrics.csv") == rows
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]
