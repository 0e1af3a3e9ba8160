"""kill -9 of a worker, of the scheduler and of the client, each at three moments: every row once, the same numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fake_work import FakeWork, make_cases, planned, volume_of

from tumorspread.cohort.place import Place
from tumorspread.cohort.run import collect

pytestmark = [pytest.mark.slow, pytest.mark.cohort]

HERE = Path(__file__).parent
CASES = 60
SLEEP_S = 0.15
# Shares of the rows that are there when somebody is killed.
MOMENTS = (0.0, 0.4, 0.8)
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "OMP_NUM_THREADS": "1"}


def start_client(place, scheduler=""):
    argv = [sys.executable, str(HERE / "cohort_client.py"), str(place.folder), "2", scheduler, str(SLEEP_S)]
    return subprocess.Popen(argv, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begun(place):
    log = Path(f"{place.folder}.log")
    return log.read_text().split()[::2] if log.exists() else []


def wait_for(place, share):
    until = time.monotonic() + 120
    while len(begun(place)) <= share * CASES:
        assert time.monotonic() < until, "nothing goes on"
        time.sleep(0.05)


def workers_at_work(place):
    """Process ids of the workers, by what they have noted."""
    return set(map(int, Path(f"{place.folder}.log").read_text().split()[1::2]))


def prepare(tmp_path):
    place = Place(tmp_path / "study")
    ways = {f"case{n:02}": "refuse" if n % 20 == 7 else "done" for n in range(CASES)}
    planned(make_cases(tmp_path / "scans", ways), place, FakeWork())
    return place, ways


def finish(place, scheduler=""):
    done = start_client(place, scheduler)
    out, err = done.communicate(timeout=240)
    assert done.returncode == 0, err
    return out


def check(place, ways):
    """Every row exactly once, the numbers of a plain loop, nothing left lying about."""
    import pyarrow.parquet as pq

    table = pq.read_table(place.folder / "cohort.parquet").to_pylist()
    assert [row["case"] for row in table] == list(ways)
    for row in table:
        if ways[row["case"]] == "done":
            assert (row["status"], row["volume_ml"]) == ("done", volume_of(row["case"]))
        else:
            assert (row["status"], row["reason"]) == ("refused", f"{row['case']}: missing slices")
    assert sorted(path.name for path in (place.folder / "cases").iterdir()) == sorted(ways)
    assert not list(place.unfinished.iterdir())
    assert {path.name for path in place.claims.iterdir()} <= {".lock"}
    assert all(row is not None for _, row in collect(place))
    # Only what ran at the moment of a kill was begun again.
    assert len(begun(place)) <= CASES + 4 * len(MOMENTS)


def test_workers_killed_at_three_moments_cost_nothing_but_time(tmp_path):
    place, ways = prepare(tmp_path)
    client = start_client(place)
    for share in MOMENTS:
        wait_for(place, share)
        alive = [pid for pid in workers_at_work(place) if psutil.pid_exists(pid)]
        os.kill(alive[-1], signal.SIGKILL)
    out, err = client.communicate(timeout=240)
    assert client.returncode == 0, err
    assert out.split() == [str(CASES), "3"]
    check(place, ways)


def test_a_client_killed_at_three_moments_goes_on_where_it_was(tmp_path):
    place, ways = prepare(tmp_path)
    for share in MOMENTS:
        client = start_client(place)
        wait_for(place, share)
        client.kill()
        client.communicate()
    finish(place)
    check(place, ways)
    until = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in workers_at_work(place)):
        assert time.monotonic() < until, "workers of a dead client live on"
        time.sleep(0.2)


def test_a_scheduler_killed_at_three_moments_ends_the_run_in_one_line_and_the_next_goes_on(tmp_path):
    place, ways = prepare(tmp_path)
    for share in MOMENTS:
        with Cluster(tmp_path) as cluster:
            client = start_client(place, cluster.address)
            wait_for(place, share)
            cluster.scheduler.kill()
            _, err = client.communicate(timeout=120)
            assert client.returncode == 1
            assert "the scheduler is gone; what is done is kept" in err
            assert "Traceback" not in err
    with Cluster(tmp_path) as cluster:
        finish(place, cluster.address)
    check(place, ways)


class Cluster:
    """`dask scheduler` and two `dask worker`, processes of their own."""

    def __init__(self, folder):
        self.file = folder / f"scheduler-{time.monotonic_ns()}.json"
        self.folder = folder

    def __enter__(self):
        quiet = {"env": ENV, "cwd": self.folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
        self.scheduler = subprocess.Popen([*scheduler, "--no-dashboard", "--scheduler-file", str(self.file)], **quiet)
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(self.file)]
        self.workers = [
            subprocess.Popen([*worker, "--nthreads", "1", "--no-dashboard", "--death-timeout", "20"], **quiet)
            for _ in range(2)
        ]
        until = time.monotonic() + 60
        while not self.file.exists() or not self.file.read_text().endswith("}"):
            assert time.monotonic() < until
            time.sleep(0.1)
        return self

    @property
    def address(self):
        import json

        return json.loads(self.file.read_text())["address"]

    def __exit__(self, *_):
        for process in (*self.workers, self.scheduler):
            process.terminate()
        for process in (*self.workers, self.scheduler):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
