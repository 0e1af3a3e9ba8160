"""Training, in the order it runs: data, cache, network, trainer, fit.

`train` is called once a process: by itself, by torchrun, by SLURM, or by Lightning's own launcher. The trainer is
Lightning's; what it leaves in the output folder is in `checkpoint`.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from tumorspread.data.cases import read_dataset_info
from tumorspread.data.splits import Split, read_split
from tumorspread.errors import OutputError, TrainingError
from tumorspread.model.checkpoint import AtomicCheckpointIO, BestWeights, EpochLog
from tumorspread.model.processes import is_first_process
from tumorspread.model.recipe import Recipe
from tumorspread.model.segmenter import Segmenter
from tumorspread.model.training_data import TrainingData, check_fit
from tumorspread.model.weights import Provenance, WeightsInfo, load_weights

WEIGHTS, CHECKPOINT, LOG, RECIPE, RUN = (
    "weights.safetensors",
    "last.ckpt",
    "metrics.csv",
    "recipe.toml",
    "run.json",
)


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        data: folder of the data set, in MSD layout, with its `splits.json`.
        out: folder for weights, checkpoint and logs.
        recipe: all settings.
        fold: number of the split in `splits.json`.
        cache: folder of prepared cases; None puts it into the data set's folder.
        resume: go on from `out`'s checkpoint.
        start: weights to begin with (fine-tuning); None begins with random ones. No part of a resumed training.
        progress_bar: show one on a terminal.
    """

    data: Path
    out: Path
    recipe: Recipe
    fold: int = 0
    cache: Path | None = None
    resume: bool = False
    start: Path | None = None
    progress_bar: bool = False


def train(job: Job, *, report: Callable[[str], None] = lambda line: None) -> Path:
    """Train as `job` says.

    Args:
        job: what to train on, where to and how.
        report: called with a line on the preparation and with a line an epoch.

    Returns:
        The weights file of the epoch with the best validation Dice. Of several processes the first writes it, and all
        other files; to go on with `resume` each must see the folder.

    Raises:
        DatasetError: the data set or its split is wrong; see `find_cases` and `read_split`.
        WeightsError: `job.start` cannot be read.
        TrainingError: the output folder holds another training, the weights to start with are of another network, there
            is nothing to resume, the split has no training case with tumour or no validation case, or the loss is no
            longer finite.
    """
    info, split = read_dataset_info(job.data), read_split(job.data, job.fold)
    check_fit(job.recipe, info, split)
    module = _start(job)
    checkpoint = _open_out(job, split)
    _quieten()
    data = TrainingData(job.data, split, job.recipe, job.cache, report)
    weights = WeightsInfo(
        unet=job.recipe.unet,
        preprocess=job.recipe.preprocess,
        tile=job.recipe.patch.size,
        threshold=job.recipe.run.threshold,
        mirror=job.recipe.run.mirror,
        provenance=Provenance(info.name, split.train, split.val, recipe=json.loads(json.dumps(asdict(job.recipe)))),
    )
    trainer = _build_trainer(job, weights, report)
    trainer.fit(module, datamodule=data, ckpt_path=str(checkpoint) if checkpoint else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if is_first_process() and not (job.out / WEIGHTS).is_file():
        raise TrainingError(f"the training ended without a validation; run.val_every is {job.recipe.run.val_every}")
    return job.out / WEIGHTS


def _start(job: Job) -> Segmenter:
    """The network to train, with the weights to begin with."""
    module = Segmenter(job.recipe)
    if job.start is not None and not job.resume:
        network, info = load_weights(job.start)
        if info.unet != job.recipe.unet or info.preprocess != job.recipe.preprocess:
            raise TrainingError(f"{job.start.name} is of another network or preprocessing than the recipe's")
        for copy in (module.network, module.kept):
            copy.load_state_dict(network.state_dict())
    return module


def _open_out(job: Job, split: Split) -> Path | None:
    """Make or check the output folder; the checkpoint to go on from, if asked for."""
    run = {"data": str(job.data.resolve()), "fold": job.fold, "train": split.train, "val": split.val}
    checkpoint = job.out / CHECKPOINT
    if job.resume:
        _check_same_run(job, run)
        return checkpoint if checkpoint.is_file() else None
    if is_first_process():
        if job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
            raise TrainingError(f"{job.out} is not empty; go on with --resume, or name a new folder")
        try:
            job.out.mkdir(parents=True, exist_ok=True)
            (job.out / RECIPE).write_text(job.recipe.to_toml())
            (job.out / RUN).write_text(json.dumps(run, indent=1) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {job.out}: {error.strerror or error}") from error
    return None


def _check_same_run(job: Job, run: dict[str, Any]) -> None:
    try:
        before = json.loads((job.out / RUN).read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{job.out} holds no training to resume; start without --resume") from error
    changed = [key for key in run if before.get(key) != json.loads(json.dumps(run[key]))]
    if changed:
        raise TrainingError(f"{job.out} was trained with another {changed[0]}; name a new folder to start anew")


def _build_trainer(job: Job, weights: WeightsInfo, report: Callable[[str], None]) -> pl.Trainer:
    run, optim = job.recipe.run, job.recipe.optim
    devices, nodes = _count_devices(job.recipe)
    callbacks: list[pl.Callback] = [
        BestWeights(job.out / WEIGHTS, weights),
        EpochLog(job.out / LOG, report),
        ModelCheckpoint(
            dirpath=job.out, filename=Path(CHECKPOINT).stem, enable_version_counter=False,
            every_n_epochs=1, save_on_train_epoch_end=True,
        ),
    ]  # fmt: skip
    if run.patience:
        callbacks.append(EarlyStopping("val_dice", mode="max", patience=run.patience))
    if job.progress_bar:
        callbacks.append(RichProgressBar())
    return pl.Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        sync_batchnorm=torch.cuda.is_available() and devices * nodes > 1,
        precision=pick_precision(run.precision),
        max_epochs=run.epochs,
        check_val_every_n_epoch=run.val_every,
        gradient_clip_val=optim.clip_norm or None,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=TensorBoardLogger(job.out, name="tensorboard", version=""),
        enable_progress_bar=job.progress_bar,
        enable_model_summary=False,
        log_every_n_steps=10,
        default_root_dir=job.out,
    )


def pick_precision(asked: str) -> Any:
    """Lightning's name of the precision to compute in.

    bf16 on a CPU without the instructions is emulated: one step took 120 s instead of 2.7 on a machine with AVX2
    alone, so `auto` asks the processor.
    """
    if asked != "auto":
        return {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[asked]
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def _count_devices(recipe: Recipe) -> tuple[int, int]:
    """Devices on this machine, and machines: what torchrun or srun has started, or the recipe's."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        launched = int(os.environ["LOCAL_WORLD_SIZE"])
        return recipe.run.devices or launched, int(os.environ["WORLD_SIZE"]) // launched
    tasks, nodes = (int(os.environ.get(f"SLURM_STEP_NUM_{kind}", "1")) for kind in ("TASKS", "NODES"))
    if tasks > 1:
        return recipe.run.devices or tasks // nodes, nodes
    return recipe.run.devices or (torch.cuda.device_count() if torch.cuda.is_available() else 1), recipe.run.nodes


def _quieten() -> None:
    """Lightning's hints on hardware and workers are not for our users."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="monai")
    warnings.filterwarnings("ignore", message="Grad strides do not match")
