"""Verbs on a data set: train, evaluate, calibrate.

Everything heavy is imported inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorspread.cli.options import (
    Changes,
    Device,
    Engine,
    Fold,
    Force,
    OutFolder,
    Precision,
    RecipeName,
    Threads,
    Threshold,
)
from tumorspread.cli.terminal import progress_bar, refuse_existing, say
from tumorspread.errors import RecipeError, TrainingError

if TYPE_CHECKING:
    from tumorspread.measurement.summary import Evaluation
    from tumorspread.model.calibrate import Calibration


def train(
    data: Annotated[Path, typer.Argument(help="Data set in MSD layout, with splits.json.")] = Path(),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for weights, checkpoint, logs.")] = Path("run"),
    recipe: RecipeName = None,
    changes: Changes = None,
    fold: Fold = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of prepared cases; by default in the data.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a training was cut off.")] = False,
    start: Annotated[
        str | None, typer.Option("--start", help="Weights to begin with, a file or `lung`.", metavar="WEIGHTS")
    ] = None,
    show_recipe: Annotated[bool, typer.Option("--show-recipe", help="Print all settings and stop.")] = False,
) -> None:
    """Train a U-Net.

    The folder gets weights.safetensors (the best validation Dice), last.ckpt, metrics.csv, curves.png, recipe.toml
    and tensorboard/. Several devices or machines: `--set run.devices=8`, torchrun, or srun (docs/scale.md).

    \b
    Examples:
      tumorspread train Task06_Lung -o run --recipe 3d
      tumorspread train Task06_Lung -o run --resume
      tumorspread train phantoms -o run --recipe demo --set run.epochs=5
      tumorspread train mine -o tuned --recipe lung --start lung --set optim.learning_rate=5e-4
      tumorspread train --recipe 2d --show-recipe
    """
    from tumorspread.model.recipe import Recipe

    if resume and (recipe or changes):
        raise RecipeError("--resume goes on with the recipe of the folder; leave out --recipe and --set")
    if resume and start:
        raise RecipeError("--resume goes on with the weights of the folder; leave out --start")
    if resume and not (out / "recipe.toml").is_file():
        raise TrainingError(f"{out} holds no training to resume; start without --resume")
    if show_recipe:
        print(Recipe.read(recipe, changes or ()).to_toml(), end="")
        return
    from tumorspread.model.processes import is_first_process
    from tumorspread.model.train import Job
    from tumorspread.model.train import train as run
    from tumorspread.model.zoo import find_weights

    begin = None if start is None else find_weights(start)
    settings = Recipe.read(str(out / "recipe.toml")) if resume else Recipe.read(recipe, changes or ())
    job = Job(data, out, settings, fold, cache, resume, begin, progress_bar=sys.stderr.isatty())
    weights = run(job, report=say)
    if not is_first_process():
        return
    _draw_curves(out)
    say(f"wrote {weights}, {out / 'curves.png'}, {out / 'metrics.csv'}")


def evaluate(
    weights: Annotated[str, typer.Argument(help="Weights file of `tumorspread train`, or `lung`.")],
    data: Annotated[Path, typer.Argument(help="Data set in MSD layout.")],
    out: OutFolder,
    split: Annotated[str, typer.Option(help="train, val or test of splits.json, or all.")] = "test",
    fold: Fold = 0,
    threshold: Threshold = None,
    device: Device = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Compare the masks of a model with the truth.

    Writes evaluation.csv, .json and .html, masks/ and pictures/ into the folder, and prints the summary.

    \b
    Example:
      tumorspread evaluate run/weights.safetensors Task06_Lung --split test -o scores
    """
    from tumorspread import evaluate as evaluation
    from tumorspread.model.predict import Predictor
    from tumorspread.report.folder import Files, open_folder, write_evaluation

    with open_folder(out, force=force) as folder:
        job = evaluation.Job(data, split, folder / "masks", fold, threshold)
        with progress_bar("evaluating") as progress:
            result = evaluation.evaluate(
                Predictor(weights, device=device, engine=engine, precision=precision, threads=threads),
                job,
                progress=progress,
            )
        cases = evaluation.pick_cases(job)
        files = {c.name: Files(c.image, c.mask, job.out / f"{c.name}.nii.gz") for c in cases}
        write_evaluation(result, files, folder, volumes=evaluation.holds_volumes(data))
    _print_evaluation(result)
    say(f"look at {out / 'evaluation.html'}")


def calibrate(
    weights: Annotated[
        list[str], typer.Argument(help="Weights to judge, trained without the scans they are judged on.")
    ],
    data: Annotated[Path, typer.Argument(help="Data set in MSD layout: scans with the outlines of all tumours.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Weights file to write.")],
    onto: Annotated[
        str | None,
        typer.Option("--onto", help="Weights that get the result: those of all folds' data.", metavar="WEIGHTS"),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test of splits.json, or all.")] = "test",
    fold: Annotated[
        list[int] | None, typer.Option(help="Which split of splits.json, from 0; one for each of the weights.", min=0)
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    device: Device = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Fit threshold, probabilities of lesions and operating points of weights on scans they have not seen.

    The weights file that is written says how likely each lesion is, and knows the operating points `sensitive`,
    `balanced` and `specific`: where it can be had, 2, 0.9 and 0.125 false lesions a scan at most on these scans.
    Several weights, each trained without a part of the patients, calibrate those of all data (cross-validation).

    \b
    Examples:
      tumorspread calibrate run/weights.safetensors Task06_Lung -o calibrated.safetensors
      tumorspread calibrate fold/w.safetensors held_out --split all --onto run/w.safetensors -o lung.safetensors
      tumorspread calibrate f1.safetensors f2.safetensors data --fold 1 --fold 2 --onto w.safetensors -o l.safetensors
    """
    from dataclasses import replace

    from tumorspread import evaluate as evaluation
    from tumorspread.model.predict import Predictor
    from tumorspread.model.weights import load_weights, save_weights
    from tumorspread.model.zoo import find_weights

    refuse_existing(out, force)
    folds = _folds_of(weights, fold, onto)
    network, info = load_weights(find_weights(onto or weights[0]))
    parts = [evaluation.pick_cases(evaluation.Job(data, split, out.parent, number)) for number in folds]
    judged = [load_weights(find_weights(name))[1] for name in weights]
    for one, cases in zip(judged, parts, strict=True):
        evaluation.check_calibration(one, info, cases)
    loaded = (Predictor(name, device=device, engine=engine, precision=precision, threads=threads) for name in weights)
    count = sum(map(len, parts))
    with progress_bar("judging") as progress:
        folds_judged = zip(loaded, parts, strict=True)
        done = evaluation.calibrate_on(folds_judged, progress=lambda number: progress(number, count))
    names = ", ".join(dict.fromkeys(one.name for one in judged))
    fitted = f"{names} on {count} scans of {data.name}"
    info = replace(info, threshold=done.threshold, detection=replace(done.detection, fitted=fitted))
    save_weights(network, info, out, half=half)
    _print_calibration(done)
    say(f"wrote {out}")


def _folds_of(weights: list[str], fold: list[int] | None, onto: str | None) -> list[int]:
    """The split that each of the weights is judged on."""
    from tumorspread.errors import RecipeError

    if len(weights) > 1 and onto is None:
        raise RecipeError(f"{len(weights)} weights are judged: say by --onto which get the result")
    if len(fold or [0]) != len(weights):
        raise RecipeError(f"{len(weights)} weights and {len(fold or [])} folds; give a --fold for each of the weights")
    return fold or [0]


def _print_calibration(done: Calibration) -> None:
    """What was fitted, as lines `name value`, and a line an operating point."""
    from tumorspread.model.candidates import POINTS

    detection = done.detection
    print(f"threshold {done.threshold:g}\ndice_of_found {done.dice:.4f}\ntumours {done.tumours}")
    print(f"probability = sigmoid({detection.slope:.3f} logit(score) {detection.offset:+.3f})")
    for number, point in enumerate(POINTS):
        least, (recall, false) = detection.least(point), done.costs(number)
        print(f"{point:<10} from {least:.2f}: recall_10mm {recall}, false lesions a scan {false}")


def _print_evaluation(result: Evaluation) -> None:
    """A line a measure: name, mean, and the 95 % interval where there is one."""
    extra = {
        "lesion_recall": result.lesion_recall,
        "false_positives_per_scan": result.false_positives_per_scan,
    }
    for name, interval in (result.summary | extra).items():
        if interval.mean is None:
            print(f"{name} none ({interval.reason})")
        elif interval.low is None or interval.high is None:
            print(f"{name} {interval.mean:.4f}")
        else:
            print(f"{name} {interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]")


def _draw_curves(out: Path) -> None:
    from tumorspread.model.checkpoint import read_log
    from tumorspread.report.curves import curves_figure
    from tumorspread.report.folder import write_picture

    write_picture(curves_figure(read_log(out / "metrics.csv")), out / "curves.png")
