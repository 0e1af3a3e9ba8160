"""Scans that are sent: analysed in a process of their own, which a cancel ends, and nothing is left of it."""

from __future__ import annotations

import os
import shutil
import time

import psutil
import pytest
from starlette.testclient import TestClient
from tests.viewer.fake_analysis import FIRST, copy_result
from tests.viewer.test_attacks import AUTHORISED, HOST, PORT, TOKEN

from tumorspread.viewer.app import make_app
from tumorspread.viewer.guard import Access
from tumorspread.viewer.jobs import PREFIX, Jobs
from tumorspread.viewer.shelf import Shelf, find_results


@pytest.fixture(scope="module")
def place(first_result, tmp_path_factory):
    os.environ[FIRST] = str(first_result)
    yield tmp_path_factory.mktemp("sent") / "uploads"
    del os.environ[FIRST]


@pytest.fixture(scope="module")
def client(place):
    shelf = Shelf()
    jobs = Jobs(place, lambda folder: shelf.add(folder).id, copy_result)
    yield TestClient(make_app(shelf, jobs, Access(PORT, TOKEN)), base_url=f"http://{HOST}", headers=AUTHORISED)
    jobs.close()
    shelf.close()


def send(client, first_result, name):
    content = (first_result / "ct.nii.gz").read_bytes()
    answer = client.post("/api/cases", files={"scan": ("../../<b>ct</b>.nii.gz", content)}, data={"name": name})
    assert answer.status_code == 202
    return answer.json()["job"]


def wait(client, job, until=("done", "failed", "cancelled")):
    for _ in range(600):
        found = client.get(f"/api/jobs/{job}").json()
        if found["state"] in until:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def left(place):
    """Folders of jobs, once what is being taken away has gone."""
    until = time.perf_counter() + 5
    while held(place) and time.perf_counter() < until:
        time.sleep(0.05)
    return held(place)


def held(place):
    return [path.name for path in place.iterdir() if path.name.startswith(PREFIX)]


def test_a_scan_that_is_sent_becomes_a_case_with_its_scan_beside_it(client, first_result, place):
    found = wait(client, send(client, first_result, "Patient 7"))
    assert (found["state"], found["case"], found["name"]) == ("done", "Patient-7", "Patient 7")
    assert client.get("/api/cases/Patient-7").json()["revision"] == 0
    assert client.get("/api/cases/Patient-7/scan.nii.gz").status_code == 200
    assert (place / "Patient-7" / "scan.nii.gz").read_bytes() == (first_result / "ct.nii.gz").read_bytes()
    # The same name again is another case, and nothing is replaced.
    assert wait(client, send(client, first_result, "Patient 7"))["case"] == "Patient-7-2"
    assert left(place) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [("refused", "not a chest"), ("faulty", "a fault of the analysis: ZeroDivisionError"), ("killed", "process ended")],
)
def test_an_analysis_that_fails_says_why_and_leaves_nothing(name, says, client, first_result, place):
    found = wait(client, send(client, first_result, name))
    assert found["state"] == "failed"
    assert says in found["error"]
    assert "secret" not in found["error"]
    assert left(place) == []


def test_a_cancel_ends_the_process_within_a_second_and_leaves_nothing(client, first_result, place):
    job, waiting = send(client, first_result, "slow"), send(client, first_result, "slow")
    while wait(client, job, ("running",))["stage"] != "network":
        time.sleep(0.05)
    children = psutil.Process().children()
    assert client.get(f"/api/jobs/{waiting}").json()["state"] == "waiting"
    assert client.delete(f"/api/jobs/{waiting}").json()["state"] == "cancelled"
    start = time.perf_counter()
    assert client.delete(f"/api/jobs/{job}").json()["state"] == "cancelled"
    psutil.wait_procs(children, timeout=1)
    while held(place) and time.perf_counter() - start < 1:
        time.sleep(0.02)
    assert held(place) == []
    assert client.get("/api/cases/slow").status_code == 404


def test_what_a_killed_viewer_left_is_taken_away_with_the_next_scan(client, first_result, place):
    place.mkdir(exist_ok=True)
    dead = max(psutil.pids()) + 1000
    (place / f"{PREFIX}{dead}-abc").mkdir()
    (place / f"{PREFIX}{os.getppid()}-abc").mkdir()
    wait(client, send(client, first_result, "refused"))
    until = time.perf_counter() + 5
    while len(held(place)) > 1 and time.perf_counter() < until:
        time.sleep(0.05)
    assert held(place) == [f"{PREFIX}{os.getppid()}-abc"]
    shutil.rmtree(place / f"{PREFIX}{os.getppid()}-abc")


def test_a_reading_list_is_in_natural_order(tmp_path, first_result):
    for name in ("case 10", "case 9", "case 1"):
        shutil.copytree(first_result / "result", tmp_path / name)
    (tmp_path / "notes").mkdir()
    assert [path.name for path in find_results(tmp_path)] == ["case 1", "case 9", "case 10"]
