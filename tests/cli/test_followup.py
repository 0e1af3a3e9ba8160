"""`tumorspread follow`: what it writes, prints and refuses."""

from __future__ import annotations

import csv

import pytest

from tumorspread.followup.follow import open_visit
from tumorspread.followup.record import FollowUp


def ct(data):
    return data / "imagesTr" / "phantom_000.nii.gz"


def mask(data):
    return data / "labelsTr" / "phantom_000.nii.gz"


def test_follow_writes_its_results_and_prints_scans_and_tracks(run, data, tmp_path):
    assert run("measure", ct(data), mask(data), "-o", tmp_path / "may")[0] == 0
    assert open_visit(str(tmp_path / "may")).findings.burden.count == 2
    pair, out = f"{ct(data)},{mask(data)}", tmp_path / "course"
    dates = ("--dates", "2024-05-02,2024-08-01")
    code, text, err = run("follow", f"{tmp_path / 'may'},{ct(data)}", pair, "-o", out, *dates)
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"followup.json", "tracks.csv", "report.html"}
    found = FollowUp.from_json((out / "followup.json").read_text())
    assert [point.day for point in found.time_points] == [0, 91]
    assert [track.points[1].state for track in found.tracks] == ["stays", "stays"]
    assert [track.change.volume_percent for track in found.tracks] == [0, 0]
    assert found.time_points[1].overall_response == "SD"
    assert text.splitlines()[2].split()[:2] == ["phantom_000.nii.gz", "91.0"]
    assert err.splitlines()[-1] == f"look at {out / 'report.html'}"
    rows = list(csv.DictReader((out / "tracks.csv").open()))
    assert [(row["track"], row["day"]) for row in rows] == [("1", "0"), ("1", "91"), ("2", "0"), ("2", "91")]
    code, text, _ = run("follow", tmp_path / "may", tmp_path / "may", "-o", tmp_path / "again", "--json")
    assert code == 0
    assert FollowUp.from_json(text).time_points[1].reasons["day"] == "no dates were given"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--dates", "2024-05-02,yesterday"), "expected dates"),
        (("--dates", "2024-05-02"), "ascending"),
        (("--days", "0,nan"), "expected numbers"),
        (("--days", "3,1"), "ascending"),
        (("--days", "0,1", "--dates", "2024-05-02,2024-08-01"), "give one of them"),
    ],
)
def test_follow_refuses_dates_that_make_no_sense(run, data, tmp_path, options, word):
    pair = f"{ct(data)},{mask(data)}"
    code, out, err = run("follow", pair, pair, "-o", tmp_path / "course", *options)
    assert (code, out) == (1, "")
    assert word in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_follow_refuses_a_damaged_result_folder(run, data, tmp_path):
    assert run("measure", ct(data), mask(data), "-o", tmp_path / "may")[0] == 0
    (tmp_path / "may" / "findings.json").write_text("{")
    code, _, err = run("follow", tmp_path / "may", tmp_path / "may", "-o", tmp_path / "course")
    assert code == 1
    assert "findings.json" in err
    assert not (tmp_path / "course").exists()
