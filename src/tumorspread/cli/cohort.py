"""`tumorspread cohort`: many scans on many workers."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorspread.cli.options import (
    Authority,
    Device,
    Engine,
    HeaderEnv,
    HeaderFile,
    OperatingPoint,
    OutFolder,
    Precision,
    Split,
    Threads,
    Threshold,
    TiltedGantry,
)
from tumorspread.cli.terminal import print_table, say
from tumorspread.errors import TumorspreadError

if TYPE_CHECKING:
    from tumorspread.cohort.analysis import CaseAnalysis
    from tumorspread.cohort.engine import Engine as Workers
    from tumorspread.cohort.following import PatientFollowUp
    from tumorspread.cohort.place import Place
    from tumorspread.cohort.plan import Plan
    from tumorspread.cohort.progress import Progress
    from tumorspread.cohort.run import Ended, Options
    from tumorspread.cohort.settings import Machine

LOG_EVERY_S = 60.0


def cohort(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of scans, CSV with the column scan, DICOMweb query, or an address.", metavar="INPUT"
        ),
    ],
    out: OutFolder,
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Weights file, or `lung`: those that come with the package.")
    ] = "lung",
    workers: Annotated[int | None, typer.Option(help="Processes; by default as many as fit.", min=1)] = None,
    max_ram: Annotated[
        float | None, typer.Option("--max-ram", help="Most memory of all processes together.", metavar="GIB", min=0.1)
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs to use, a process each; by default all.", min=0)] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="A running Dask cluster, such as tcp://10.0.0.7:8786.", metavar="ADDRESS")
    ] = None,
    slurm: Annotated[
        Path | None, typer.Option(help="Settings of dask_jobqueue.SLURMCluster, TOML or YAML.", metavar="FILE")
    ] = None,
    kubernetes: Annotated[
        Path | None, typer.Option(help="Settings of dask_kubernetes' KubeCluster, TOML or YAML.", metavar="FILE")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Address for the result folders, such as s3://bucket/study.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Do again what was refused or set aside too.")] = False,
    tries: Annotated[int, typer.Option(help="Of a case, where the reason may pass.", min=1)] = 3,
    timeout: Annotated[float, typer.Option(help="Minutes after which a case is given up.", min=0.01)] = 60.0,
    follow_up: Annotated[
        bool, typer.Option("--follow-up/--no-follow-up", help="Follow the patients with several dates.")
    ] = True,
    all_series: Annotated[
        bool, typer.Option("--all-series", help="Each CT series of a study, not only the best one.")
    ] = False,
    header_file: HeaderFile = None,
    header_env: HeaderEnv = None,
    ca: Authority = None,
    threshold: Threshold = None,
    point: OperatingPoint = "balanced",
    dust: Annotated[float, typer.Option(help="Leave out pieces of less mm3; a ball of 3 mm has 14.1.", min=0)] = 14.1,
    split: Split = False,
    tilt: TiltedGantry = "resample",
    device: Device = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
) -> None:
    """Analyse all scans of a study, on this machine or a cluster.

    One scan is one result folder and one row, whatever happens to it. Started again, it does only what is missing or
    was made of other files, weights or settings. Patients with scans of several dates are then followed as
    `tumorspread follow` does. Writes cases/, patients/, cohort.csv, cohort.parquet, lesions.parquet, patients.csv and
    report.html into the folder. Ctrl-C lets the running scans end; twice drops them.

    \b
    Examples:
      tumorspread cohort scans/ -o study --dry-run
      tumorspread cohort scans/ -o study --workers 4
      tumorspread cohort study.csv -o study --slurm slurm.toml
      tumorspread cohort 'https://pacs.example/dicom-web/studies?StudyDate=20200101-20201231' -o study
    """
    from tumorspread.cohort.analysis import CaseAnalysis
    from tumorspread.cohort.discovery import find_cases
    from tumorspread.cohort.engine import Engine as Workers
    from tumorspread.cohort.following import PatientFollowUp
    from tumorspread.cohort.place import Place
    from tumorspread.cohort.plan import make_plan
    from tumorspread.cohort.retry import Limits
    from tumorspread.cohort.run import Options, check_folder
    from tumorspread.cohort.settings import Settings, weights_digest
    from tumorspread.dicomweb.server import Credentials

    if sum(one is not None for one in (scheduler, slurm, kubernetes)) > 1:
        raise TumorspreadError("--scheduler, --slurm and --kubernetes are three ways to one thing; give one of them")
    settings = Settings(
        weights, weights_digest(weights), threshold, point, dust, split, tilt, engine=engine, precision=precision
    )
    where = Workers(workers, max_ram, gpus, scheduler, slurm, kubernetes)
    credentials = Credentials(_absolute(header_file), header_env, _absolute(ca))
    place = Place(out.absolute(), to)
    check_folder(out)
    with place.planning():
        found = find_cases(source, all_series=all_series, credentials=credentials)
        plan = make_plan(found, place, settings.digest, redo=redo)
    _print_plan(plan, where)
    if dry_run:
        return
    machine = _machine(where, device, threads)
    work = CaseAnalysis(settings, machine, credentials)
    options = Options(Limits(tries, longest_s=60 * timeout), redo, {"GPU": 1} if device == "cuda" else {})
    following = PatientFollowUp(place, tilt, machine.threads, credentials) if follow_up else None
    ended = _run(where, work, place, plan, options, following)
    _finish(ended, place, out)


def _absolute(path: Path | None) -> Path | None:
    """The same for workers, which are in another folder."""
    return None if path is None else path.absolute()


def _machine(where: Workers, device: str | None, threads: int | None) -> Machine:
    """How a worker works: on this machine they share the cores, elsewhere each has what its job was given."""
    from tumorspread.cohort.engine import this_machine
    from tumorspread.cohort.settings import Machine

    if not where.is_local:
        return Machine(threads, device, where.max_ram_gib)
    size = this_machine(where)
    return Machine(threads or size.threads, device, None if where.max_ram_gib is None else size.ram_gib)


def _print_plan(plan: Plan, where: Workers) -> None:
    from tumorspread.cohort.engine import this_machine
    from tumorspread.cohort.progress import span

    rows = [("scans found", str(plan.found), ""), ("done already", str(plan.done), "")]
    again = f"{plan.again} of them again: other files or settings, or failed before" if plan.again else ""
    rows.append(("to do", str(plan.to_do), again))
    rows += [("left out", str(count), reason) for reason, count in plan.skipped.items()]
    print_table(("what", "number", "why"), rows)
    workers = this_machine(where).workers if where.is_local else where.workers or 1
    basis = "as measured so far" if plan.is_measured else "a chest takes 8 s on a core; yours may differ"
    # An archive does not say how large its files are.
    size = f"; {plan.size_bytes / 2**30:.3g} GiB to read" if plan.size_bytes else ""
    say(f"about {span(plan.seconds(workers))} on {workers} workers ({basis}){size}")


def _run(
    where: Workers, work: CaseAnalysis, place: Place, plan: Plan, options: Options, following: PatientFollowUp | None
) -> Ended:
    from tumorspread.cohort.engine import open_client
    from tumorspread.cohort.following import follow_patients
    from tumorspread.cohort.progress import span
    from tumorspread.cohort.run import dashboard_of, run_cases

    with open_client(where) as client:
        if dashboard_of(client):
            say(f"watch it at {dashboard_of(client)}")
        ended = run_cases(client, work, place, plan.to_do, options=options, tell=_Teller())
        if following is None or ended.is_stopped:
            return ended
        followed = follow_patients(client, following, options, _Teller("patients followed"))
        if followed is None:
            return ended
        if sys.stderr.isatty():
            say("")
        say(f"{followed.rows} patients followed in {span(followed.seconds)}, {followed.failed} without a result")
        return replace(ended, is_stopped=followed.is_stopped)


class _Teller:
    """Progress on stderr: one line that changes on a terminal, one a minute in a log."""

    def __init__(self, what: str = "") -> None:
        self._what, self._told_at = f"{what}: " if what else "", 0.0

    def __call__(self, progress: Progress) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{self._what}{progress}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told_at > LOG_EVERY_S or progress.done == progress.total:
            self._told_at = time.monotonic()
            say(f"{self._what}{progress}")


def _finish(ended: Ended, place: Place, out: Path) -> None:
    from tumorspread.cohort.outcome import MOST_REPORTED, write_outcome
    from tumorspread.cohort.progress import span

    if sys.stderr.isatty():
        say("")
    rows = write_outcome(place)
    stopped = "; stopped before the end, the same command goes on" if ended.is_stopped else ""
    print(f"{ended.rows} scans in {span(ended.seconds)}, {ended.failed} without a result{stopped}")
    say(f"{rows} rows in {out / 'cohort.csv'}")
    if rows > MOST_REPORTED:
        say(f"no report.html: a browser cannot show more than {MOST_REPORTED} cases; the tables hold all {rows}")
    if ended.is_stopped:
        raise typer.Exit(130)
