"""Several processes, on one machine or two, against one with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.model.conftest import TINY
from tests.two_machines import needs_namespaces, two_machines
from torch import distributed, multiprocessing, nn

from tumorspread.model.checkpoint import AtomicCheckpointIO
from tumorspread.model.loss import LossConfig, SegmentationLoss
from tumorspread.model.processes import SharedBatchNorm, SharedDropout, share_layers, sum_over_processes

ROOT = Path(__file__).resolve().parents[2]
WORLD, EPOCHS, STEPS = 2, 3, 3
# Everything that is no mean over patches: batch statistics, dropout, Dice over the batch, a price a lesion.
RECIPE = (
    *TINY, 'run.precision="32"', f"run.epochs={EPOCHS}", "unet.deep_supervision=true", "loss.lesion_weight=0.1",
    "loss.lesion_bce=0.5",
)  # fmt: skip


def arguments(data: Path, out: Path, *changes: str) -> list[str]:
    settings = [word for change in (*RECIPE, *changes) for word in ("--set", change)]
    return ["-m", "tests.model.recorded", "train", str(data), "-o", str(out), "--cache", str(out.parent / "cache"),
            *settings]  # fmt: skip


def environment(record: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "RECORD": str(record), "CUDA_VISIBLE_DEVICES": ""}


def torchrun(*options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *options]


def run(command: list[str], record: Path) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment(record), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def run_together(commands: list[list[str]], record: Path, **changes: str) -> None:
    """Commands that wait for one another; the first that fails ends the others."""
    running = [subprocess.Popen(c, cwd=ROOT, env=environment(record) | changes, stderr=subprocess.PIPE, text=True)
               for c in commands]  # fmt: skip
    try:
        while any(process.poll() is None for process in running):
            assert all(process.poll() in (None, 0) for process in running), "one failed"
            time.sleep(0.1)
    finally:
        for process in running:
            process.terminate()
    assert [process.wait() for process in running] == [0] * len(running), [p.stderr.read() for p in running]


def seen(record: Path, rank: int) -> dict[str, list]:
    return json.loads((record / f"{rank}.json").read_text())


def state_of(out: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The rows of the log at full precision, and the weights, of the last checkpoint."""
    state = AtomicCheckpointIO().load_checkpoint(out / "last.ckpt")
    return state["callbacks"]["EpochLog"]["rows"], state["state_dict"]


def assert_same_training(out: Path, record: Path, alone: tuple[Path, Path]) -> None:
    """To 1e-5: each step's loss (the mean of the processes'), each epoch's log, and the last weights."""
    expected = seen(alone[1], 0)["losses"]
    assert len(expected) == EPOCHS * STEPS
    losses = np.mean([seen(record, rank)["losses"] for rank in range(WORLD)], axis=0)
    assert np.abs(losses - expected).max() < 1e-5
    (rows, weights), (expected_rows, expected_weights) = state_of(out), state_of(alone[0])
    assert len(rows) == EPOCHS
    for row, other in zip(rows, expected_rows, strict=True):
        for name in ("epoch", "train_loss", "val_dice", "val_accuracy", "val_precision", "val_recall", "lr"):
            assert row[name] == pytest.approx(other[name], abs=1e-5), name
    assert all(torch.allclose(weights[k].float(), v.float(), atol=1e-4) for k, v in expected_weights.items())


@pytest.fixture(scope="module")
def alone(tiny_data, tmp_path_factory):
    """(output folder, record) of one process with the batch of both."""
    folder = tmp_path_factory.mktemp("alone")
    run([sys.executable, *arguments(tiny_data, folder / "run", f"patch.batch={WORLD * 2}")], folder / "record")
    return folder / "run", folder / "record"


def test_two_processes_train_as_one_with_the_batch_of_both(alone, tiny_data, tmp_path):
    """Real DDP over gloo: the same losses and weights, each its own share, one set of files and of messages."""
    out, record = tmp_path / "run", tmp_path / "record"
    messages = run([*torchrun("--standalone", "--nproc_per_node=2"), *arguments(tiny_data, out)], record)
    assert_same_training(out, record, alone)
    assert messages.count(f"epoch {EPOCHS}/{EPOCHS}") == messages.count("wrote ") == messages.count("prepared ") == 1
    assert {"weights.safetensors", "last.ckpt", "metrics.csv", "recipe.toml", "run.json", "curves.png",
            "tensorboard"} == {path.name for path in out.iterdir()}  # fmt: skip
    shares = [seen(record, rank) for rank in range(WORLD)]
    patches = [number for share in shares for number in share["patches"]]
    assert sorted(patches) == list(range(EPOCHS * STEPS * 2 * WORLD)), "each patch once"
    assert sorted(patches) == sorted(seen(alone[1], 0)["patches"])
    assert [share["scans"] for share in shares] == [["case_3"] * EPOCHS, ["case_4"] * EPOCHS]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_stopped_and_resumed_train_as_one_that_was_not(alone, tiny_data, tmp_path):
    out, record = tmp_path / "run", tmp_path / "record"
    launch = torchrun("--standalone", "--nproc_per_node=2")
    stop = tmp_path / "stop.py"
    stop.write_text(
        "import sys, runpy\n"
        "from tumorspread.model.segmenter import Segmenter\n"
        "step = Segmenter.training_step\n"
        "def dying(self, batch, number):\n"
        "    if self.current_epoch == 2 and self.global_rank == 1:\n"
        "        import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, batch, number)\n"
        "Segmenter.training_step = dying\n"
        "from tumorspread.cli import main\n"
        "main()\n"
    )
    command = [*launch, str(stop), *arguments(tiny_data, out)[2:]]
    killed = subprocess.run(command, cwd=ROOT, env=environment(record), capture_output=True, check=False)
    assert killed.returncode != 0
    where = ["-o", str(out), "--cache", str(tmp_path / "cache")]
    run([*launch, "-m", "tests.model.recorded", "train", str(tiny_data), *where, "--resume"], record)
    (rows, weights), (expected_rows, expected_weights) = state_of(out), state_of(alone[0])
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row, other in zip(rows, expected_rows, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
    assert all(torch.allclose(weights[k].float(), v.float(), atol=1e-4) for k, v in expected_weights.items())


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_without_a_scan_to_validate_waits_for_the_others(tiny_data, tmp_path):
    """Three processes and two scans."""
    out, record = tmp_path / "run", tmp_path / "record"
    command = [*torchrun("--standalone", "--nproc_per_node=3"), *arguments(tiny_data, out, "run.epochs=1")]
    run(command, record)
    assert [seen(record, rank)["scans"] for rank in range(3)] == [["case_3"], ["case_4"], [None]]
    assert state_of(out)[0][0]["val_accuracy"] > 0


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_on_this_machine_train_as_one_process(alone, tiny_data, tmp_path):
    """Two agents of torchrun with a process each, that share the cache and prepare it at once."""
    out, record = tmp_path / "run", tmp_path / "record"
    shared = ("--nnodes=2", "--nproc_per_node=1", "--master_addr=127.0.0.1", "--master_port=29561")
    commands = [[*torchrun(*shared, f"--node_rank={rank}"), *arguments(tiny_data, out)] for rank in range(2)]
    run_together(commands, record, GLOO_SOCKET_IFNAME="lo")
    assert_same_training(out, record, alone)


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_namespaces
def test_two_machines_train_as_one_process(alone, tiny_data, tmp_path):
    """Two network namespaces, each with an address of its own, joined by a virtual cable."""
    out, record = tmp_path / "run", tmp_path / "record"
    with two_machines() as machines:
        shared = ("--nnodes=2", "--nproc_per_node=1", f"--master_addr={machines[0].address}", "--master_port=29562")
        commands = [
            [*machine.enter, "env", f"GLOO_SOCKET_IFNAME={machine.interface}",
             *torchrun(*shared, f"--node_rank={rank}"), *arguments(tiny_data, out)]
            for rank, machine in enumerate(machines)
        ]  # fmt: skip
        run_together(commands, record)
    assert_same_training(out, record, alone)


VALUES = torch.Generator().manual_seed(3)
ROWS, CHANNELS = 6, 4
INPUT = torch.randn(ROWS, CHANNELS, 3, 4, 5, generator=VALUES) * 2 + 3
LOGITS = torch.randn(ROWS, 1, 12, 12, 12, generator=VALUES)
BALL = (torch.stack(torch.meshgrid(*[torch.arange(12.0) - 5] * 3, indexing="ij")).norm(dim=0) < 3).float()
MASK = torch.stack([BALL, BALL.roll(2, 0), 0 * BALL, BALL, BALL.roll(3, 1), BALL])[:, None]


def norm_outcome(rows: slice) -> list[torch.Tensor]:
    """Output, gradient of a loss that is no mean, running statistics, of those rows of `INPUT`."""
    torch.manual_seed(5)
    network = nn.Sequential(nn.Conv3d(CHANNELS, CHANNELS, 1), nn.BatchNorm3d(CHANNELS), nn.Dropout3d(0.5))
    share_layers(network)
    torch.manual_seed(7)
    out = network(INPUT[rows])
    loss = sum_over_processes((out**3).sum()).tanh() + (out**2).mean()
    loss.backward()
    norm = network[1]
    return [out.detach(), network[0].weight.grad, norm.weight.grad, norm.running_mean, norm.running_var, loss.detach()]


def loss_outcome(config: LossConfig, rows: slice) -> list[torch.Tensor]:
    logits = LOGITS[rows].clone().requires_grad_()
    loss = SegmentationLoss(config)([logits], MASK[rows])
    loss.backward()
    return [loss.detach(), logits.grad]


LOSSES = [LossConfig(name=name) for name in ("dice_bce", "tversky", "focal")] + [
    LossConfig(per_patch=True, smooth=10.0), LossConfig(lesion_weight=0.3, lesion_bce=0.5, smooth=10.0)
]  # fmt: skip


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{folder}/store", WORLD)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    rows = slice(rank, None, WORLD)
    torch.save([norm_outcome(rows), *(loss_outcome(config, rows) for config in LOSSES)], f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcomes")
    # Not spawned: each child would import torch and Lightning anew, 10 s.
    multiprocessing.start_processes(one_of_two, (str(folder),), WORLD, start_method="fork")
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def test_norm_and_dropout_of_two_processes_are_those_of_all_their_patches(outcomes):
    out, weight, scale, mean, variance, loss = norm_outcome(slice(None))
    for rank, found in enumerate(outcomes):
        assert torch.allclose(found[0][0], out[rank::WORLD], atol=1e-5)
        assert torch.allclose(found[0][3], mean)
        assert torch.allclose(found[0][4], variance, rtol=1e-5)
    for number, expected in ((1, weight), (2, scale), (5, loss)):
        assert torch.allclose(sum(found[0][number] for found in outcomes) / WORLD, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", range(len(LOSSES)), ids=lambda n: f"{LOSSES[n].name}-{n}")
def test_the_mean_of_the_losses_of_two_processes_is_that_of_all_their_patches(outcomes, number):
    loss, gradient = loss_outcome(LOSSES[number], slice(None))
    assert torch.allclose(sum(found[1 + number][0] for found in outcomes) / WORLD, loss, atol=1e-6)
    for rank, found in enumerate(outcomes):
        assert torch.allclose(found[1 + number][1] / WORLD, gradient[rank::WORLD], atol=1e-7)


def test_alone_the_shared_layers_are_torchs_to_the_bit():
    plain = nn.Sequential(nn.BatchNorm3d(CHANNELS), nn.Dropout3d(0.5))
    shared = nn.Sequential(nn.BatchNorm3d(CHANNELS), nn.Dropout3d(0.5))
    share_layers(shared)
    assert [type(layer) for layer in shared] == [SharedBatchNorm, SharedDropout]
    for training in (True, False):
        results = []
        for network in (plain, shared):
            torch.manual_seed(1)
            results.append(network.train(training)(INPUT))
        assert torch.equal(*results)
    assert torch.equal(plain[0].running_var, shared[0].running_var)


def test_share_layers_finds_those_deep_inside_and_keeps_parameters_and_names():
    inner = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4))
    network = nn.Sequential(inner, nn.Dropout2d(0.25))
    before, parameter = list(network.state_dict()), inner[1].weight
    share_layers(network)
    assert list(network.state_dict()) == before
    assert network[0][1].weight is parameter
    assert network[1].share == 0.25


@contextmanager
def settings(monkeypatch, **values):
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    yield


def test_devices_and_machines_are_what_was_launched_or_the_recipes(monkeypatch):
    from tumorspread.model.recipe import Recipe
    from tumorspread.model.train import _count_devices

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = Recipe.read(None, ["run.nodes=3"])
    with settings(monkeypatch):
        assert _count_devices(recipe) == (1, 3)
    with settings(monkeypatch, LOCAL_WORLD_SIZE="4", WORLD_SIZE="8"):
        assert _count_devices(recipe) == (4, 2)
    with settings(monkeypatch, SLURM_STEP_NUM_TASKS="16", SLURM_STEP_NUM_NODES="2"):
        assert _count_devices(recipe) == (8, 2)
    with settings(monkeypatch, SLURM_STEP_NUM_TASKS="1", SLURM_STEP_NUM_NODES="1"):
        assert _count_devices(recipe) == (1, 3)
