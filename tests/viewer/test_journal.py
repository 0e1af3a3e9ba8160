"""The journal: nothing is lost, whatever happens in the middle of a save."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from tests.viewer.conftest import comparable

from tumorspread.errors import OutputError, ReadError
from tumorspread.viewer.case import Case, StaleError
from tumorspread.viewer.delta import Delta, drawn_places, from_runs, to_runs
from tumorspread.viewer.edits import Delete, Undo
from tumorspread.viewer.journal import Entry, Journal, now

# What a save asks of the system, in its order; see `test_the_moments_are_all_those_of_a_save`.
CALLS = ("fsync", "replace", "fsync", "fsync", "replace", "fsync", "ftruncate", "write", "fsync", "fsync")


def again(case):
    return Case(case.folder, case.note)


def delete(case, lesion, revision=0):
    return case.edit(Delete(revision=revision, author="me", lesion=lesion))


def watch(told, die_at=None, half=False):
    """Have each call that makes something durable told; die at one of them, before it or with half of it written."""
    for name in set(CALLS):
        real = getattr(os, name)

        def call(*what, name=name, real=real):
            if name == "write" and what[0] < 3:
                return real(*what)
            if len(told) == die_at:
                if half and name == "write":
                    real(what[0], what[1][: len(what[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            told.append(name)
            return real(*what)

        setattr(os, name, call)


def in_a_child(do):
    """Run something in a copy of this process; the signal that ended it, or 0."""
    child = os.fork()
    if not child:
        try:
            do()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("moment", "half"), [*((m, False) for m in range(len(CALLS))), (CALLS.index("write"), True)])
def test_a_kill_in_the_middle_of_a_save_leaves_the_old_or_the_new_state(case, moment, half):
    before, old = case.lesions.labels.copy(), case.findings
    # The folder is there already, as after a first edit.
    delete(case, 3)
    case.step_back(Undo(revision=1, author="me"))

    def save():
        watch([], moment, half)
        delete(case, 1, revision=2)

    assert in_a_child(save) == -signal.SIGKILL
    opened = again(case)
    is_new = CALLS[:moment].count("write") > 0
    assert opened.history.revision == (3 if is_new else 2)
    after = np.where(before == 1, 0, before) if is_new else before
    assert (opened.lesions.labels == after).all()
    assert is_new or comparable(opened.findings) == comparable(old)
    # And work goes on.
    made = delete(opened, 2, revision=opened.history.revision)
    assert again(case).history.revision == made.revision


def test_the_moments_are_all_those_of_a_save(case, tmp_path):
    delete(case, 3)

    def save():
        told = []
        watch(told)
        delete(case, 1, revision=1)
        (tmp_path / "told").write_text(" ".join(told))

    assert in_a_child(save) == 0
    assert (tmp_path / "told").read_text().split()[: len(CALLS)] == list(CALLS)


def test_a_full_disk_leaves_the_old_state(case, monkeypatch):
    before = case.lesions.labels.copy()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        delete(case, 1)
    monkeypatch.undo()
    assert (case.lesions.labels == before).all()
    assert case.history.revision == again(case).history.revision == 0
    assert delete(case, 1).revision == 1


def test_two_viewers_of_one_folder_do_not_lose_edits(case):
    other = again(case)
    delete(case, 1)
    with pytest.raises(StaleError) as refused:
        delete(other, 2)
    assert refused.value.current == 1
    delete(other, 2, revision=1)
    assert sorted(again(case).lesions.boxes) == [3]
    assert [entry.revision for entry in case.log()] == [1, 2]


def test_a_damaged_line_or_file_is_told_and_not_guessed(case):
    delete(case, 1)
    log = case.folder / "edits" / "log.jsonl"
    line = log.read_bytes()
    log.write_bytes(b"{}\n" + line)
    with pytest.raises(ReadError, match="line 1 is damaged"):
        again(case)
    log.write_bytes(line.replace(b'"revision":1', b'"revision":4'))
    with pytest.raises(ReadError, match="out of order"):
        again(case)
    log.write_bytes(line)
    (case.folder / "edits" / "0001.npz").write_bytes(b"")
    with pytest.raises(ReadError, match="not what was logged"):
        again(case)


def test_findings_of_a_revision_that_are_lost_are_measured_again(case):
    delete(case, 1)
    (case.folder / "edits" / "0001.findings.json").unlink()
    assert comparable(again(case).findings) == comparable(case.findings)


def test_the_first_result_is_never_touched(case):
    before = {path.name: path.read_bytes() for path in case.folder.iterdir() if path.is_file()}
    delete(case, 1)
    case.review(True, "me")
    assert {path.name: path.read_bytes() for path in case.folder.iterdir() if path.is_file()} == before


def test_an_entry_comes_back_as_it_was_written(tmp_path):
    journal = Journal(tmp_path)
    delta = Delta(np.array([3, 4, 9], np.int64), np.array([0, 0, 2], np.uint16), np.array([1, 1, 0], np.uint16))
    kept = journal.append(Entry(1, now(), "Ä. O'Brien", "paint", {"lesion": 1}, (1, 2), 1.5, None), delta)
    assert journal.entries() == (kept,)
    back = journal.delta(kept)
    for name in ("places", "before", "after"):
        assert (getattr(back, name) == getattr(delta, name)).all()


def test_runs_and_places_are_inverse():
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = np.flatnonzero(rng.random(200) < rng.random()).astype(np.int64)
        kind = rng.integers(0, 3, len(places))
        starts, lengths = to_runs(places, kind)
        assert (from_runs(starts, lengths) == places).all()
    assert len(from_runs(*to_runs(np.zeros(0, np.int64)))) == 0


def test_runs_that_overlap_count_once():
    assert drawn_places([(5, 4), (0, 3), (6, 1), (8, 3)], 20).tolist() == [0, 1, 2, 5, 6, 7, 8, 9, 10]
    assert drawn_places([(0, 10), (0, 10), (2, 3)], 10).tolist() == list(range(10))
    with pytest.raises(ReadError, match="leaves the volume"):
        drawn_places([(9, 2)], 10)
