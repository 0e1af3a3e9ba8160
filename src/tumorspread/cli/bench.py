"""The verb that times: `bench`."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorspread.cli.options import Device, Engine, MaxRam, Precision, ScanPath, Series, Threads
from tumorspread.cli.terminal import print_table, progress_bar

if TYPE_CHECKING:
    from tumorspread.model.predict import Predictor


def bench(
    scan: ScanPath,
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Weights file, or `lung`: those that come with the package.")
    ] = "lung",
    repeat: Annotated[int, typer.Option(help="How often; the first run warms up.", min=1)] = 3,
    series: Series = None,
    device: Device = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    max_ram: MaxRam = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Time the stages of `analyse` on this machine, from the scan's file to the result folder.

    Nothing is kept. The best of the runs counts: what else the machine does only makes a run slower.

    \b
    Examples:
      tumorspread bench ct.nii.gz
      tumorspread bench dicom_folder/ --engine torch --threads 1
    """
    from tumorspread.model.memory import peak_gib
    from tumorspread.model.predict import Predictor

    predictor = Predictor(
        weights, device=device, engine=engine, precision=precision, threads=threads, max_ram_gib=max_ram
    )
    with progress_bar("timing") as progress:
        runs = []
        for number in range(repeat):
            runs.append(_time_stages(scan, predictor, series))
            progress(number + 1, repeat)
    first, best = runs[0], {name: min(run[name] for run in runs) for name in runs[0]}
    total = sum(best.values())
    figures = {
        "network_s": best["network"],
        "not_network_s": total - best["network"],
        "total_s": total,
        "peak_gib": peak_gib(),
    }
    about = f"{predictor.engine.name} {predictor.engine.precision}, {platform.processor() or platform.machine()}"
    if as_json:
        print(json.dumps({"engine": about, "runs": runs, **figures}, indent=2))
        return
    rows = [(name, f"{first[name]:.3f}", f"{best[name]:.3f}", f"{100 * best[name] / total:.0f}") for name in best]
    print_table(("stage", "first s", "best s", "share %"), rows)
    for name, value in figures.items():
        print(f"{name} {'none' if value is None else format(value, '.3f')}")
    print(f"engine {about}")


def _time_stages(scan: Path, predictor: Predictor, series: str | None) -> dict[str, float]:
    """Seconds by stage of one run, with those for writing the result."""
    from tempfile import TemporaryDirectory

    from tumorspread import pipeline
    from tumorspread.clock import Clock
    from tumorspread.report.folder import write_analysis
    from tumorspread.scan.read import read

    before, after = Clock(), Clock()
    with before.stage("read"):
        volume = read(scan, series=series)
    analysis = pipeline.analyse(volume, predictor, source=scan.name).timed(before)
    with TemporaryDirectory() as folder, after.stage("write"):
        write_analysis(analysis, Path(folder))
    return analysis.timed(after).findings.origin.stage_s
