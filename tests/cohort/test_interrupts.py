"""Ctrl-C: what runs comes to its end or is dropped, the exit says so, and the same command goes on."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tumorspread.cohort.place import Place

pytestmark = [pytest.mark.slow, pytest.mark.cohort]

HERE = Path(__file__).parent
CASES = 24
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def listing(tmp_path):
    """A list of scans that the fake analysis takes."""
    (tmp_path / "study.csv").write_text("id,scan\n" + "".join(f"case{n:02},case{n:02}.txt\n" for n in range(CASES)))
    for number in range(CASES):
        (tmp_path / f"case{number:02}.txt").write_text("done")
    return tmp_path / "study.csv"


def start(listing, out, sleep_s):
    argv = [sys.executable, str(HERE / "command_client.py"), str(sleep_s), f"{out}.log", "cohort", str(listing)]
    options = ["-o", str(out), "--workers", "2", "--threads", "1", "--max-ram", "8"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*argv, *options], env=ENV, start_new_session=True, **pipes)


def begun(out):
    log = Path(f"{out}.log")
    return log.read_text().split()[::2] if log.exists() else []


def wait_for(out, count):
    until = time.monotonic() + 120
    while len(begun(out)) < count:
        assert time.monotonic() < until, "nothing goes on"
        time.sleep(0.02)


def rows_in(out):
    with (out / "cohort.csv").open(newline="") as file:
        return [(row["case"], row["status"]) for row in csv.DictReader(file)]


def finish(listing, out):
    done = start(listing, out, 0.0)
    _, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert rows_in(out) == [(f"case{n:02}", "done") for n in range(CASES)]
    assert sorted(path.name for path in (out / "cases").iterdir()) == [f"case{n:02}" for n in range(CASES)]
    place = Place(out)
    assert not list(place.unfinished.iterdir())
    assert {path.name for path in place.claims.iterdir()} <= {".lock"}


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the client", "to the whole terminal"])
def test_ctrl_c_lets_the_running_cases_end_and_the_same_command_does_the_others(listing, tmp_path, send):
    out = tmp_path / "study"
    client = start(listing, out, 0.7)
    wait_for(out, 4)
    send(client.pid, signal.SIGINT)
    stdout, err = client.communicate(timeout=60)
    assert client.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped before the end" in stdout
    first = begun(out)
    assert len(first) < CASES
    assert sorted(first) == [case for case, status in rows_in(out) if status == "done"]
    finish(listing, out)
    assert sorted(begun(out)) == [f"case{n:02}" for n in range(CASES)], "a case was done twice"


def test_a_second_ctrl_c_drops_the_running_cases_and_the_same_command_does_them_again(listing, tmp_path):
    out = tmp_path / "study"
    client = start(listing, out, 30.0)
    wait_for(out, 2)
    begin = time.monotonic()
    os.killpg(client.pid, signal.SIGINT)
    time.sleep(2.0)
    os.killpg(client.pid, signal.SIGINT)
    _, err = client.communicate(timeout=60)
    assert client.returncode == 130, err
    assert time.monotonic() - begin < 28, "it waited for the cases"
    assert "Traceback" not in err
    assert rows_in(out) == []
    finish(listing, out)
    assert sorted(begun(out))[:4] == ["case00", "case00", "case01", "case01"]
