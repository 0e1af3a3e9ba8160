"""A cohort on real clusters: Dask on two virtual machines, a SLURM of Debian's packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas
import pytest
from tests.slurm import needs_slurm, slurm
from tests.two_machines import needs_namespaces, two_machines

from tumorspread.data.phantom import PhantomConfig
from tumorspread.data.phantom_set import write_phantoms

ROOT = Path(__file__).resolve().parents[2]
CASES, COPIES = 2, 4
TOTAL = CASES * COPIES + 1
PYTHON = (sys.executable, "-m")
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"} | changes


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Copies of a few phantoms, and one file that is no scan."""
    folder = tmp_path_factory.mktemp("scans")
    config = PhantomConfig(spacing_mm=(8.0, 6.0, 6.0), vessels=3)
    made = sorted((write_phantoms(folder / "made", CASES, config=config) / "imagesTr").glob("*.nii.gz"))
    for number, path in enumerate(made * COPIES):
        place = folder / "in" / f"patient{number:02}" / "ct.nii.gz"
        place.parent.mkdir(parents=True)
        shutil.copyfile(path, place)
    (folder / "in" / "broken").mkdir()
    (folder / "in" / "broken" / "ct.nii.gz").write_bytes(b"no scan")
    return folder / "in"


@pytest.fixture(scope="module")
def expected(scans) -> dict[str, tuple[int, float]]:
    """(lesions, ml) of each patient, by a plain loop of `analyse`."""
    import tumorspread

    found = {}
    for number in range(CASES):
        burden = tumorspread.analyse(tumorspread.read(scans / f"patient{number:02}" / "ct.nii.gz")).findings.burden
        for patient in range(number, CASES * COPIES, CASES):
            found[f"patient{patient:02}"] = (burden.count, burden.volume_ml)
    return found


def cohort_command(scans: Path, out: Path, *options: str) -> list[str]:
    return [*PYTHON, "tumorspread", "cohort", str(scans), "-o", str(out), "--threads", "1", *options]


def read_rows(out: Path) -> pandas.DataFrame:
    return pandas.read_csv(out / "cohort.csv")


def assert_all_rows_once(out: Path, expected: dict[str, tuple[int, float]]) -> None:
    rows = read_rows(out)
    assert len(rows) == rows["case"].nunique() == TOTAL
    done = rows[rows["status"] == "done"]
    assert len(done) == TOTAL - 1
    refused = rows[rows["status"] == "refused"]
    assert len(refused) == 1
    assert refused["reason"].str.len().min() > 10
    for row in done.itertuples():
        patient = Path(row.scan).parent.name
        assert (row.lesion_count, row.volume_ml) == (expected[patient][0], pytest.approx(expected[patient][1])), patient
        assert (out / row.folder / "findings.json").is_file()


@contextmanager
def started(command: list[str], log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A process of its own group, ended with all that it started."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=env, cwd=ROOT, start_new_session=True)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            time.sleep(1)
        process.wait()


@contextmanager
def dask_on_two_machines(folder: Path) -> Iterator[tuple]:
    """Scheduler on the first machine, a worker on each: (machines, address, processes of the workers)."""
    env = environment()
    with two_machines() as machines, ExitStack() as running:
        address = f"tcp://{machines[0].address}:8786"
        scheduler = [*PYTHON, "distributed.cli.dask_scheduler", "--host", machines[0].address, "--port", "8786",
                     "--no-dashboard"]  # fmt: skip
        running.enter_context(started([*machines[0].enter, *scheduler], folder / "scheduler.log", env))
        workers = []
        for machine in machines:
            place = ["--host", machine.address, "--local-directory", str(folder / machine.name)]
            worker = [*PYTHON, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard", *place]
            log = folder / f"{machine.name}.log"
            workers.append(running.enter_context(started([*machine.enter, *worker], log, env)))
        yield machines, address, workers


def run_cohort(command: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=env or environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@needs_namespaces
def test_a_dask_cluster_on_two_machines_does_a_cohort(scans, expected, tmp_path):
    out = tmp_path / "out"
    with dask_on_two_machines(tmp_path) as (machines, address, _):
        run_cohort([*machines[0].enter, *cohort_command(scans, out, "--scheduler", address)])
        logs = [(tmp_path / f"{machine.name}.log").read_text() for machine in machines]
    assert all("Registered to" in log for log in logs)
    assert_all_rows_once(out, expected)


@needs_namespaces
def test_a_machine_that_is_lost_in_the_middle_costs_no_row(scans, expected, tmp_path):
    """The second machine's worker and its nanny die at once, as with the machine, after its first cases."""
    out = tmp_path / "out"
    with dask_on_two_machines(tmp_path) as (machines, address, workers):
        command = [*machines[0].enter, *cohort_command(scans, out, "--scheduler", address)]
        with started(command, tmp_path / "client.log", environment()) as client:
            wait_for(lambda: len(list((out / "cases").glob("*/findings.json"))) >= 3, client)
            os.killpg(workers[1].pid, signal.SIGKILL)
            assert client.wait(600) == 0, (tmp_path / "client.log").read_text()
    assert_all_rows_once(out, expected)


def wait_for(is_there, process: subprocess.Popen, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not is_there():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end
        time.sleep(0.2)


@needs_slurm
def test_a_slurm_does_a_cohort_and_has_no_jobs_left(scans, expected, tmp_path):
    """Two jobs of dask-jobqueue on two nodes, by the example's settings."""
    folder, out, settings = tmp_path / "slurm", tmp_path / "out", tmp_path / "slurm.toml"
    folder.mkdir()
    text = (ROOT / "examples" / "scale" / "cohort_slurm.toml").read_text()
    changes = {"jobs = 100": "jobs = 2", "cores = 2": "cores = 1", '# interface = "ib0"': 'interface = "lo"'}
    for old, new in (changes | {'"logs"': f'"{folder}"'}).items():
        assert old in text
        text = text.replace(old, new)
    settings.write_text(f'python = "{sys.executable}"\n{text}')
    with slurm(folder) as found:
        env = environment(**{name: found[name] for name in ("SLURM_CONF", "PATH")})
        run_cohort(cohort_command(scans, out, "--slurm", str(settings)), env)
        jobs = subprocess.run(["squeue", "-h", "--states=all", "-o", "%N %T"], env=env, capture_output=True, text=True,
                              check=True).stdout.split("\n")  # fmt: skip
    assert_all_rows_once(out, expected)
    assert {job.split()[0] for job in jobs if job} == {"n1", "n2"}
    assert not any("RUNNING" in job or "PENDING" in job for job in jobs)
