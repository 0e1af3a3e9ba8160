"""Verbs on weights files: average, quantise, export.

Everything heavy is imported inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tumorspread.cli.options import Force, Threads
from tumorspread.cli.terminal import progress_bar, refuse_existing, say
from tumorspread.errors import OutputError

Weights = Annotated[str, typer.Argument(help="Weights file of `tumorspread train`, or `lung`.")]


def quantise(
    weights: Weights,
    scans: Annotated[list[Path], typer.Argument(help="Two scans or more, such as the weights will see.")],
    threads: Threads = None,
) -> None:
    """Make the int8 model of weights, for `--precision int8`.

    The ranges of its numbers are taken from the first scan, the third, the fifth ...; on the others its masks are
    compared with those of fp32. It is kept, beside the weights or in the user's cache, where all of them have a Dice of
    0.995 and the same lesions.

    \b
    Examples:
      tumorspread quantise lung scan1.nii.gz scan2.nii.gz scan3.nii.gz scan4.nii.gz
      tumorspread analyse ct.nii.gz -o result --precision int8
    """
    from tumorspread.model.quantise import quantise as run

    with progress_bar("quantising") as progress:
        place, checks = run(weights, scans, threads=threads, progress=progress)
    for one in checks:
        print(f"{one.scan} dice_with_fp32 {one.dice:.4f}")
    say(f"wrote {place}")


def average(
    weights: Annotated[list[Path], typer.Argument(help="Weights files of one lineage, two or more.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Weights file to write.")],
    force: Force = False,
) -> None:
    """Take the mean of weights of which one was trained on from the other.

    Where two trainings pull a network to different sides, their mean keeps what both have learned. It carries no
    calibration.

    \b
    Example:
      tumorspread average masses/weights.safetensors nodules/weights.safetensors -o both.safetensors
    """
    from tumorspread.model.weights import average_weights, save_weights

    refuse_existing(out, force)
    save_weights(*average_weights(weights), out)
    say(f"wrote {out}")


def export(
    weights: Weights,
    out: Annotated[Path, typer.Option("--out", "-o", help="Model to write, .onnx.")],
    force: Force = False,
) -> None:
    """Write weights as an ONNX model, for other runtimes.

    Its input is (n, 1, tile), grey values from -1 to 1, its output the tumour probability of each voxel. What the
    values mean (spacing, window, tile, threshold) stands in the metadata of the file, under `tumorspread`.

    \b
    Example:
      tumorspread export lung -o lung.onnx
    """
    from tumorspread.model.onnx import export_onnx

    if out.suffix != ".onnx":
        raise OutputError(f"{out}: expected a name that ends in .onnx")
    refuse_existing(out, force)
    export_onnx(weights, out)
    say(f"wrote {out}")
