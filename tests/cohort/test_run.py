"""A run on two workers: every case one folder and one row, whatever happens to it."""

from __future__ import annotations

import time

import pytest
from fake_work import FakeWork, make_cases, planned, volume_of

from tumorspread.cohort import outcome
from tumorspread.cohort.outcome import write_outcome
from tumorspread.cohort.place import Place
from tumorspread.cohort.retry import Limits
from tumorspread.cohort.rows import Journal
from tumorspread.cohort.run import Options, collect, run_cases
from tumorspread.errors import OutputError, WeightsError


def rows_of(place):
    return {case.id: row for case, row in collect(place)}


def journal_lines(place):
    return [line for file in place.journal.glob("*.jsonl") for line in file.read_text().splitlines()]


def test_each_way_to_end_is_a_row_with_its_reason_and_the_others_go_on(client, place, tmp_path):
    ways = {f"case{n:02}": "done" for n in range(20)}
    ways |= {"r": "refuse", "f": "fault", "d": "die", "h": "hang", "n1": "network 1", "n9": "network 9"}
    work = FakeWork(log=str(tmp_path / "log"))
    plan = planned(make_cases(tmp_path / "scans", ways), place, work)
    options = Options(limits=Limits(tries=2, longest_s=2.0))
    ended = run_cases(client, work, place, plan.to_do, options=options)
    rows = rows_of(place)
    assert ended.rows == len(ways) == len(journal_lines(place)) == len(rows)
    assert ended.failed == 5
    for name in (*(f"case{n:02}" for n in range(20)), "n1"):
        assert rows[name].status == "done"
        assert rows[name].measures.volume_ml == volume_of(name)
        assert (place.folder / "cases" / name / "findings.json").is_file()
    assert (rows["r"].status, rows["r"].reason, rows["r"].error) == ("refused", "r: missing slices", "ReadError")
    assert rows["f"].status == "failed"
    assert "KeyError in _end (fake_work.py:" in rows["f"].reason
    assert "patient" not in (place.folder / "cases" / "f" / "log.txt").read_text()
    assert rows["d"].status == rows["h"].status == "set_aside"
    assert "worker was lost" in rows["d"].reason
    assert rows["h"].reason == "set aside: it took more than 2 s, 2 times"
    assert (rows["n9"].status, rows["n9"].tries, rows["n1"].tries) == ("failed", 2, 2)
    begun = (tmp_path / "log").read_text().split()[::2]
    assert [begun.count(name) for name in ("r", "f", "d", "h", "n9")] == [1, 1, 2, 2, 2]
    assert not list(place.unfinished.iterdir()) or {p.name[0] for p in place.unfinished.iterdir()} <= {"d", "h"}
    assert [p.name for p in place.claims.iterdir() if not p.name.startswith(".")] == []


def test_started_again_only_what_is_missing_or_of_other_settings_or_may_have_passed_is_done(client, place, tmp_path):
    log = tmp_path / "log"
    work = FakeWork(log=str(log))
    cases = make_cases(tmp_path / "scans", {"a": "done", "b": "refuse", "c": "network 2"})
    assert planned(cases, place, work).to_do == 3
    run_cases(client, work, place, 3, options=Options(limits=Limits(tries=1)))
    log.unlink()
    plan = planned(cases, place, work)
    assert (plan.found, plan.done, plan.to_do, plan.again) == (3, 2, 1, 1)
    run_cases(client, work, place, 1, options=Options(limits=Limits(tries=3)))
    assert log.read_text().split()[::2] == ["c", "c"]
    assert rows_of(place)["c"].status == "done"
    log.unlink()
    assert planned(cases, place, work).to_do == 0
    assert run_cases(client, work, place, 0).rows == 0
    assert not log.exists()
    other = FakeWork(name="other weights", log=str(log))
    assert planned(cases, place, other).to_do == 3
    run_cases(client, other, place, 3)
    assert sorted(log.read_text().split()[::2]) == ["a", "b", "c"]
    assert {row.settings for row in rows_of(place).values()} == {"other weights"}
    # Going back is another change: the folders hold the numbers of the others now.
    assert planned(cases, place, work).to_do == 3


def test_a_row_that_a_crash_kept_from_the_journal_is_found_in_its_folder(client, place, tmp_path):
    log = tmp_path / "log"
    work = FakeWork(log=str(log))
    cases = make_cases(tmp_path / "scans", dict.fromkeys("abc", "done"))
    planned(cases, place, work)
    run_cases(client, work, place, 3)
    (journal,) = place.journal.glob("*.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text(lines[0] + lines[1][:-20])
    log.unlink()
    assert planned(cases, place, work).to_do == 2
    assert run_cases(client, work, place, 2).rows == 2
    assert not log.exists(), "the work was done again"
    assert {row.measures.volume_ml for row in rows_of(place).values()} == {volume_of(name) for name in "abc"}


def test_two_runs_on_one_folder_do_no_case_twice(client, place, tmp_path):
    from threading import Thread

    log = tmp_path / "log"
    work = FakeWork(sleep_s=0.05, log=str(log))
    names = [f"case{n:02}" for n in range(40)]
    planned(make_cases(tmp_path / "scans", dict.fromkeys(names, "done")), place, work)
    ends = []
    runs = [Thread(target=lambda: ends.append(run_cases(client, work, place, 40))) for _ in range(2)]
    runs[0].start()
    time.sleep(0.3)
    runs[1].start()
    for one in runs:
        one.join()
    assert sorted(log.read_text().split()[::2]) == names
    assert len(ends) == 2
    assert {name: row.measures.volume_ml for name, row in rows_of(place).items()} == {n: volume_of(n) for n in names}


def test_results_go_to_any_address_of_fsspec(client, place, tmp_path):
    far = Place(place.folder, f"file://{tmp_path}/bucket")
    work = FakeWork()
    cases = make_cases(tmp_path / "scans", {"a": "done", "b": "refuse"})
    planned(cases, far, work)
    run_cases(client, work, far, 2)
    assert sorted(p.name for p in (tmp_path / "bucket" / "cases" / "a").iterdir()) == [
        "findings.json",
        "log.txt",
        "row.json",
    ]
    assert not (place.folder / "cases").exists()
    other = FakeWork(name="other")
    planned(cases, far, other)
    run_cases(client, other, far, 2)
    assert far.row("a").settings == far.row("b").settings == "other"


def test_a_scheduler_that_is_not_there_is_one_line():
    from tumorspread.cohort.engine import Engine, open_client
    from tumorspread.errors import NetworkError

    nobody = "tcp://127.0.0.1:9"
    with pytest.raises(NetworkError, match="no Dask scheduler answers there"), open_client(Engine(scheduler=nobody)):
        pass


def test_weights_that_a_worker_cannot_use_end_the_run_at_once_and_the_next_run_does_the_rest(client, place, tmp_path):
    log = tmp_path / "log"
    work = FakeWork(log=str(log), sleep_s=0.02)
    ways = {f"case{n:02}": "done" for n in range(100)} | {"case03": "weights"}
    cases = make_cases(tmp_path / "scans", ways)
    planned(cases, place, work)
    with pytest.raises(WeightsError, match=r"^lung: not those that the run began with$"):
        run_cases(client, work, place, len(ways))
    assert place.row("case03") is None
    assert rows_of(place)["case00"].status == "done"
    assert len(log.read_text().splitlines()) < len(ways) / 2
    (tmp_path / "scans" / "case03").write_text("done")
    plan = planned(cases, place, work)
    assert run_cases(client, work, place, plan.to_do).failed == 0
    assert {name: row.status for name, row in rows_of(place).items()} == dict.fromkeys(ways, "done")
    assert log.read_text().split()[::2].count("case03") == 2


def test_tables_and_report_are_written_by_another_process_and_its_faults_are_told_in_one_line(place, tmp_path):
    place.prepare()
    planned(make_cases(tmp_path / "scans", {"a": "done"}), place, FakeWork())
    assert write_outcome(place) == 0
    assert (place.folder / "report.html").is_file()
    (place.folder / "cohort.csv").unlink()
    (place.folder / "cohort.csv").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_outcome(place)


def test_the_report_of_fewer_cases_does_not_outlive_a_cohort_that_outgrew_it(place, tmp_path, client, monkeypatch):
    work = FakeWork()
    planned(make_cases(tmp_path / "scans", {"a": "done", "b": "done"}), place, work)
    run_cases(client, work, place, 2)
    assert outcome.write_outcome_here(place) == 2
    assert (place.folder / "report.html").is_file()
    monkeypatch.setattr(outcome, "MOST_REPORTED", 1)
    assert outcome.write_outcome_here(place) == 2
    assert not (place.folder / "report.html").exists()
    assert (place.folder / "cohort.parquet").is_file()


def test_a_journal_without_rows_leaves_no_file(place):
    place.prepare()
    Journal(place.journal, "run").close()
    assert list(place.journal.iterdir()) == []
