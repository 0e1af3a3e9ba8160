"""kill -9 before every single step on the disk: afterwards all results are in the PACS exactly once.

A forked process does the work of the listener, one series through, and ends itself without any clean-up at the n-th
step that reaches the disk; then another one goes on, as a sender who had no answer sends again.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from pydicom import dcmread

from tumorspread.pacs.audit import read_rows
from tumorspread.pacs.queue import Queue, Rules
from tumorspread.pacs.worker import Waits, Worker

STEPS = ("fsync", "replace", "mkdir", "write", "rename", "unlink", "rmdir", "open", "ftruncate")
DIED = 9


class PacsFolder:
    """A PACS as a folder: it keeps an object once under its UID, and notes every time one comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def __call__(self, files):
        for file in files:
            name = str(dcmread(file).SOPInstanceUID)
            shutil.copyfile(file, self.folder / f"{name}.part")
            (self.folder / f"{name}.part").rename(self.folder / f"{name}.dcm")

    def results(self):
        return sorted(self.folder.glob("*.dcm"))


def two_results(make_report, like, series, out):
    """What an analysis makes: other UIDs every time."""
    for name in ("seg.dcm", "sr.dcm"):
        make_report(like).save_as(out / name, enforce_file_format=True)
    return [out / "seg.dcm", out / "sr.dcm"]


def run_through(folder, pacs, files, analyse):
    """All that the listener does for a series, in one thread."""
    queue = Queue(folder, Rules(quiet_s=0.0, cut_off_s=0.0))
    worker = Worker(queue, analyse, pacs, Waits(0.0, 0.0))
    for name, series, content in files:
        queue.store(content, series=series, instance=name, caller="PACS", association=1)
    queue.end(1, whole=True)
    queue.settle()
    while worker.analyse_next() or worker.send_next():
        pass
    queue.clean(-1.0)
    queue.close()


def die_at(step, work):
    """Do the work in a fork that is gone at the step's number; whether it was."""
    child = os.fork()
    if child == 0:
        count = [0]

        def counted(real, *args, **options):
            count[0] += 1
            if count[0] == step:
                os._exit(DIED)
            return real(*args, **options)

        try:
            for name in STEPS:
                setattr(os, name, partial(counted, getattr(os, name)))
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, DIED)
    return code == DIED


@pytest.fixture
def files(net, tmp_path):
    slices = net.make_series(2)
    found = []
    for one in slices:
        one.save_as(tmp_path / "one.dcm", enforce_file_format=True)
        found.append((one.SOPInstanceUID, one.SeriesInstanceUID, (tmp_path / "one.dcm").read_bytes()))
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_a_crash_before_any_step_leaves_all_results_exactly_once(net, files, tmp_path):
    analyse = partial(two_results, net.make_report, net.make_series(1)[0])
    step = 0
    while True:
        step += 1
        place = tmp_path / f"at_{step}"
        place.mkdir()
        pacs = PacsFolder(place / "pacs")
        work = partial(run_through, place / "queue", pacs, files, analyse)
        died = die_at(step, work)
        work()
        assert len(pacs.results()) == 2, f"died at step {step}"
        if not died or step % 5 == 0:
            work()
            assert len(pacs.results()) == 2, f"sent again after it died at step {step}"
            rows = read_rows(place / "queue" / "audit.jsonl")
            assert {"ready", "analysed", "sent", "done", "duplicate"} <= {row["event"] for row in rows}
        assert not list((place / "queue" / "unfinished").iterdir())
        shutil.rmtree(place)
        if not died:
            break
    assert step > 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_a_crash_after_the_answers_needs_nobody_to_send_again(net, files, tmp_path):
    """All slices are answered, the association is released; from there on the listener is alone."""
    analyse = partial(two_results, net.make_report, net.make_series(1)[0])
    step = 0
    while True:
        step += 1
        place = tmp_path / f"at_{step}"
        place.mkdir()
        queue = Queue(place / "queue", Rules(0.0, 0.0))
        for name, series, content in files:
            queue.store(content, series=series, instance=name, caller="PACS", association=1)
        queue.end(1, whole=True)
        queue.close()
        pacs = PacsFolder(place / "pacs")
        work = partial(run_through, place / "queue", pacs, [], analyse)
        died = die_at(step, work)
        work()
        assert len(pacs.results()) == 2, f"died at step {step}"
        shutil.rmtree(place)
        if not died:
            break
    assert step > 30
