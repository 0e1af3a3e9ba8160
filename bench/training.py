"""Training steps a second: ours against MONAI's BasicUNet of the same widths, and how long a step waits for patches.

Ours: the shipped recipe, its own loss by lesion, bf16 where the processor has it, channels last. MONAI as its tutorials
have it: BasicUNet, DiceCELoss, Adam, fp32. Both on the same two patches, in turns, the best of all steps, since only
the ratio means something on a shared machine. Then epochs of `train` on phantoms, whose log says what the loader cost.
Prints lines `name value`; --append adds a section to a file.
Usage: python bench/training.py [--recipe lung] [--steps N] [--append FILE]
"""

from __future__ import annotations

import argparse
import csv
import datetime
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from inference import processor
from monai.losses import DiceCELoss
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor

from tumorspread.data.cases import find_cases
from tumorspread.data.phantom import PhantomConfig
from tumorspread.data.phantom_set import write_phantoms
from tumorspread.data.prepared import TUMOUR
from tumorspread.data.splits import Split, write_splits
from tumorspread.model.recipe import Recipe
from tumorspread.model.segmenter import Segmenter
from tumorspread.model.train import Job, pick_precision, train

TURNS = 3


def main(recipe: Recipe, steps: int) -> dict[str, float]:
    """The figures."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image, mask = make_batch(recipe, device)
    programs = {"ours": our_step(recipe, image, mask, device), "monai": monai_step(recipe, image, mask, device)}
    best = dict.fromkeys(programs, float("inf"))
    for _ in range(TURNS):
        for name, step in programs.items():
            best[name] = min(best[name], *(timed(step, device) for _ in range(steps)))
    figures = {f"{name}_steps_per_s": 1 / seconds for name, seconds in best.items()}
    return {**figures, "training_speedup_vs_monai": best["monai"] / best["ours"], **loader_figures(recipe, steps)}


def make_batch(recipe: Recipe, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two patches of noise, a ball of an eighth of the edge in each."""
    size = recipe.patch.size
    random = torch.Generator().manual_seed(0)
    image = torch.rand((recipe.patch.batch, 1, *size), generator=random) * 2 - 1
    axes = torch.meshgrid(*(torch.arange(edge) - edge / 2 for edge in size), indexing="ij")
    ball = sum(axis**2 for axis in axes) < (size[0] / 8) ** 2
    mask = ball.expand(recipe.patch.batch, 1, *size).contiguous()
    return image.to(device), mask.to(device)


def our_step(recipe: Recipe, image: Tensor, mask: Tensor, device: torch.device) -> Callable[[], None]:
    """Forward, loss, backward, optimizer and the moving average, as `train` does them."""
    module = Segmenter(recipe).to(device).train()
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    optimizer = module.configure_optimizers()["optimizer"]
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(pick_precision("auto"))
    target = mask.to(torch.uint8) * TUMOUR

    def step() -> None:
        optimizer.zero_grad()
        with nullcontext() if kind is None else torch.autocast(device.type, kind):
            loss = module.training_step((image, target), 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), recipe.optim.clip_norm)
        optimizer.step()
        module.averaged.update_parameters(module.network)

    return step


def monai_step(recipe: Recipe, image: Tensor, mask: Tensor, device: torch.device) -> Callable[[], None]:
    """The same widths, MONAI's defaults for the rest."""
    first, *deeper = recipe.unet.widths
    network = BasicUNet(3, 1, 1, features=(first, *deeper, first)).to(device).train()
    optimizer, loss_of, target = torch.optim.Adam(network.parameters()), DiceCELoss(sigmoid=True), mask.float()

    def step() -> None:
        optimizer.zero_grad()
        loss_of(network(image), target).backward()
        optimizer.step()

    return step


def timed(step: Callable[[], None], device: torch.device) -> float:
    """Seconds of one step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def loader_figures(recipe: Recipe, steps: int) -> dict[str, float]:
    """The share of a training's time that steps waited for patches, of its second epoch."""
    patch, run = replace(recipe.patch, steps_per_epoch=max(10, steps)), replace(recipe.run, epochs=2, val_every=2)
    with tempfile.TemporaryDirectory() as folder:
        spacing = recipe.preprocess.spacing_mm
        data = write_phantoms(Path(folder) / "phantoms", 4, config=PhantomConfig(spacing_mm=spacing))
        names = tuple(case.name for case in find_cases(data))
        write_splits(data / "splits.json", [Split(names[1:], names[:1])], kind="folds", seed=0)
        train(Job(data, Path(folder) / "run", replace(recipe, patch=patch, run=run)))
        rows = list(csv.DictReader((Path(folder) / "run" / "metrics.csv").open()))
    return {"loader_wait_percent": float(rows[-1]["loader_wait_percent"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="lung")
    parser.add_argument("--steps", type=int, default=5, help="in each of three turns")
    parser.add_argument("--append", type=Path)
    asked = parser.parse_args()
    found = main(Recipe.read(asked.recipe), asked.steps)
    lines = [f"{name} {value:.3f}" for name, value in found.items()]
    print("\n".join(lines))
    if asked.append:
        head = f"\n## {datetime.date.today()}, {processor()}, training, recipe {asked.recipe}\n"
        with asked.append.open("a", encoding="utf-8") as file:
            file.write("\n".join([head, "```", *lines, "```\n"]))
