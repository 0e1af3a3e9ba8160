"""The root of the command line: the verbs, the options of all of them, and how a refusal ends."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from tumorspread._version import __version__
from tumorspread.cli import (
    bench,
    cohort,
    data,
    deidentify,
    dicom,
    followup,
    pacs,
    scans,
    training,
    view,
    weights,
)
from tumorspread.cli.terminal import say
from tumorspread.errors import TumorspreadError

HELP = """From a chest CT to how much lung tumour there is, where it is, and how far it has spread.

Research use only: not a medical device, not for diagnosis or treatment.

\b
Examples:
  tumorspread data phantoms phantoms --count 16       a small data set with known truth
  tumorspread data split phantoms                     train, validation and test cases
  tumorspread train phantoms -o run --recipe demo     train a U-Net
  tumorspread evaluate run/weights.safetensors phantoms -o scores
  tumorspread analyse ct.nii.gz -o result             find and measure lung tumours
  tumorspread measure ct.nii.gz tumour.nii.gz -o result
  tumorspread follow may,ct1.nii.gz august,ct2.nii.gz -o course
  tumorspread view result                             look at it and correct it
  tumorspread listen --aet TUMORSPREAD --port 11112 --to PACS@127.0.0.1:4242

Each command explains itself: tumorspread analyse --help
"""

# Plain help: rich's markup costs more time than the whole answer.
app = typer.Typer(help=HELP, rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False)
VERBS = (
    scans.analyse, scans.measure, followup.follow, scans.predict, scans.convert, dicom.series, deidentify.deidentify,
    pacs.listen, pacs.fetch, pacs.store, view.view, cohort.cohort, training.train, training.evaluate,
    training.calibrate, weights.average, weights.quantise, weights.export, bench.bench,
)  # fmt: skip
for verb in VERBS:
    app.command()(verb)
app.add_typer(data.app, name="data")


def _print_version(is_wanted: bool) -> None:
    """A callback of its own, since without a command `options` is never reached."""
    if is_wanted:
        print(f"tumorspread {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
) -> None:
    """Options of every command."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def main() -> None:
    """Entry point of the `tumorspread` command."""
    try:
        app(prog_name="tumorspread")
    except TumorspreadError as error:
        say(f"tumorspread: {' '.join(str(error).split())}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("tumorspread: interrupted")
        sys.exit(130)
