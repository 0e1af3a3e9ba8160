"""The analysis in a process of its own: what it makes, and what becomes of one that falls over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tumorspread.errors import GeometryError
from tumorspread.pacs.child import ChildAnalysis, CrashError, StoppedError

HERE = str(Path(__file__).parent)


@pytest.fixture
def series(net, tmp_path):
    folder = tmp_path / "1.2.3" / "slices"
    folder.mkdir(parents=True)
    for one in net.make_series(20):
        one.save_as(folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
    (tmp_path / "out").mkdir()
    return folder


@pytest.fixture
def child(monkeypatch):
    """A child of one of the functions of `fake_analysis`."""
    monkeypatch.syspath_prepend(HERE)
    started = []

    def start(name, **options):
        import fake_analysis

        started.append(ChildAnalysis(getattr(fake_analysis, name), **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_results_and_refusals_come_from_one_process(child, series, tmp_path):
    analyse = child("analyse")
    made = analyse(series, tmp_path / "out")
    assert made == [tmp_path / "out" / "seg.dcm", tmp_path / "out" / "report-sr.dcm"]
    assert all(path.stat().st_size for path in made)
    first = analyse._process.pid
    sorted(series.iterdir())[5].unlink()
    with pytest.raises(GeometryError, match="missing"):
        analyse(series, tmp_path / "out")
    assert analyse._process.pid == first


def test_a_fault_is_told_without_its_message(child, series, tmp_path):
    with pytest.raises(CrashError, match=r"KeyError in analyse_with_fault \(fake_analysis.py") as caught:
        child("analyse_with_fault")(series, tmp_path / "out")
    assert "Doe" not in str(caught.value)


def test_a_process_that_dies_is_replaced(child, series, tmp_path):
    analyse = child("analyse_and_die")
    for _ in range(2):
        with pytest.raises(CrashError, match="signal 11"):
            analyse(series, tmp_path / "out")


def test_an_analysis_that_hangs_is_ended(child, series, tmp_path):
    with pytest.raises(CrashError, match="more than 3 s"):
        child("analyse_forever", longest_s=3)(series, tmp_path / "out")


def test_stopping_does_not_wait_for_the_analysis(child, series, tmp_path):
    analyse, raised = child("analyse_forever"), []

    def call():
        try:
            analyse(series, tmp_path / "out")
        except StoppedError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(1.0)
    before = time.monotonic()
    analyse.stop()
    thread.join(5)
    assert time.monotonic() - before < 1
    assert raised


def test_an_analysis_does_not_outlive_a_listener_that_was_killed(series, tmp_path):
    program = (
        "import sys; from pathlib import Path; import fake_analysis\n"
        "from tumorspread.pacs.child import ChildAnalysis\n"
        "if __name__ == '__main__':\n"
        "    child = ChildAnalysis(fake_analysis.analyse_forever); child._start()\n"
        "    print(child._process.pid, flush=True)\n"
        f"    child(Path({str(series)!r}), Path({str(tmp_path / 'out')!r}))\n"
    )
    (tmp_path / "program.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])}
    listener = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")], stdout=subprocess.PIPE, text=True, env=environment
    )
    pid = int(listener.stdout.readline())
    time.sleep(1.0)
    listener.kill()
    listener.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end and _is_alive(pid):
        time.sleep(0.05)
    assert not _is_alive(pid)


def _is_alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


def test_a_series_that_takes_the_analysis_down_fails_in_the_end(net, pacs, start_listener):
    slices, calls = net.make_series(3), []

    def analyse(series, out):
        calls.append(1)
        raise CrashError("the analysis process ended with signal 11")

    listener = start_listener(pacs.port, analyse)
    net.send(listener.port, slices)
    listener.wait_state(slices[0].SeriesInstanceUID, "failed")
    assert len(calls) == 3
    assert "signal 11" in listener.rows()[-1]["reason"]
    listener.end()
    again = start_listener(pacs.port, retry_failed=True)
    again.wait_state(slices[0].SeriesInstanceUID, "done")
