"""Three hundred scans by the command, fifteen of them broken: every row once, the numbers of a plain loop.

The others are parts of real chests where those are at hand, and else phantoms.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from broken_scans import write_broken
from whole_scans import write_whole_scans

import tumorspread
from tumorspread.model.predict import Predictor

pytestmark = [pytest.mark.slow, pytest.mark.hundreds, pytest.mark.timeout(2400)]

WHOLE, COMPARED = 285, 20


def write_list(path: Path, scans: dict[str, Path]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "scan"))
        rows.writerows(scans.items())


def run_cohort(listing: Path, out: Path) -> None:
    command = [sys.executable, "-m", "tumorspread", "cohort", str(listing), "-o", str(out)]
    options = ["--workers", "2", "--threads", "1", "--device", "cpu", "--max-ram", "8"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def comparable(findings: str) -> dict:
    """Findings without what differs from run to run."""
    found = json.loads(findings)
    del found["origin"]["made_at"], found["origin"]["stage_s"]
    return found


def test_three_hundred_scans_fifteen_of_them_broken_are_three_hundred_rows_with_the_numbers_of_a_plain_loop(tmp_path):
    whole, broken = write_whole_scans(tmp_path / "whole", WHOLE), write_broken(tmp_path / "broken")
    scans = whole | {name: path for name, (path, _) in broken.items()}
    # A broken one in every twentieth place.
    names = sorted(whole)
    for number, name in enumerate(broken):
        names.insert(20 * number, name)
    write_list(tmp_path / "study.csv", {name: scans[name] for name in names})
    out = tmp_path / "study"
    run_cohort(tmp_path / "study.csv", out)

    rows = {row["case"]: row for row in pq.read_table(out / "cohort.parquet").to_pylist()}
    journal = [line for file in (out / "journal").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(journal) == len(rows) == len(names) == WHOLE + 15
    with (out / "cohort.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == names
    assert sorted(path.name for path in (out / "cases").iterdir()) == sorted(names)
    assert {row["status"] for name, row in rows.items() if name in whole} == {"done"}
    for name, (_, word) in broken.items():
        assert rows[name]["status"] == "refused", name
        assert word in rows[name]["reason"], (name, rows[name]["reason"])
        assert sorted(path.name for path in (out / "cases" / name).iterdir()) == ["log.txt", "row.json"]
    assert_as_a_plain_loop(rows, whole, out)


def assert_as_a_plain_loop(rows: dict[str, dict], whole: dict[str, Path], out: Path) -> None:
    predictor = Predictor("lung", device="cpu", threads=1)
    volumes = set()
    for name in sorted(whole)[:: WHOLE // COMPARED][:COMPARED]:
        scan = whole[name]
        findings = tumorspread.analyse(tumorspread.read(scan), predictor, source=scan.name).findings
        assert comparable((out / "cases" / name / "findings.json").read_text()) == comparable(findings.to_json()), name
        assert rows[name]["volume_ml"] == findings.burden.volume_ml
        assert rows[name]["lesion_count"] == findings.burden.count == len(findings.lesions)
        volumes.add(findings.burden.volume_ml)
    # Copies of one scan would agree with any other's numbers.
    assert len(volumes) > COMPARED // 2
