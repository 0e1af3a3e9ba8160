"""`view` from start to Ctrl-C, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    scan, mask = (next((data / part).glob("phantom_000*")) for part in ("imagesTr", "labelsTr"))
    command = [sys.executable, "-m", "tumorspread", "measure", scan, mask, "-o", folder / "result"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder / "result"


def test_view_prints_its_address_serves_and_ends_cleanly(result):
    command = [sys.executable, "-m", "tumorspread", "view", str(result), "--no-browser"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        found = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/)\?token=(\S+)\n", process.stderr.readline())
        assert process.stderr.readline() == "Ctrl-C stops\n"
        request = urllib.request.Request(f"{found[1]}api/cases", headers={"Authorization": f"Bearer {found[2]}"})
        cases = json.load(urllib.request.urlopen(request, timeout=60))["cases"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{found[1]}api/cases", timeout=60)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == "stopped\n"
    assert [case["id"] for case in cases] == ["result"]
    assert not (result / "edits").exists()


def test_the_note_of_a_result_names_its_scan(result):
    assert json.loads((result / "scan.json").read_text())["scan"].endswith(".nii.gz")
    assert "phantom_000.nii.gz" in (result / "findings.json").read_text()
    assert "/" not in json.loads((result / "findings.json").read_text())["scan"]["source"]


def test_what_cannot_be_shown_is_refused_in_a_line(run, result, tmp_path):
    assert run("view", tmp_path / "none", "--no-browser")[0::2] == (
        1, f"tumorspread: {tmp_path / 'none'}: no such file or folder\n"
    )  # fmt: skip
    (tmp_path / "empty").mkdir()
    code, _, err = run("view", tmp_path / "empty", "--no-browser")
    assert code == 1
    assert err.count("\n") == 1
