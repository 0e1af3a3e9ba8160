"""A cohort out of a real Orthanc, by the command as it ships, against plain analyses of the same files."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest
from tests.cohort.test_archive import make_chest

import tumorspread

pytestmark = [pytest.mark.slow, pytest.mark.pacs, pytest.mark.timeout(900)]


def command(*args):
    """Run the command; what it says."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "tumorspread", *map(str, args)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_cohort_out_of_orthanc_has_the_numbers_of_plain_analyses(place, net, tmp_path):
    orthanc, _ = place
    folders = {}
    for seed, patient in enumerate(("anna", "bert")):
        slices = make_chest(seed, patient=patient)
        folder = folders[slices[0].StudyInstanceUID] = tmp_path / patient
        folder.mkdir()
        for one in slices:
            one.save_as(folder / f"{one.InstanceNumber:03}.dcm", enforce_file_format=True)
        command("store", orthanc.web, *sorted(folder.iterdir()))
    report = net.make_report(net.make_series(1)[0])
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    command("store", orthanc.web, tmp_path / "sr.dcm")
    said = command("cohort", f"{orthanc.web}/studies", "-o", tmp_path / "dry", "--dry-run")
    assert "no CT in this study" in said
    options = ["--workers", "1", "--threads", "1", "--device", "cpu"]
    command("cohort", orthanc.web, "-o", tmp_path / "study", *options)
    with (tmp_path / "study" / "cohort.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(folders)
    for study, folder in folders.items():
        row, expected = rows[study], tumorspread.analyse(folder, device="cpu", threads=1).findings
        assert (row["status"], row["patient"], row["date"]) == ("done", folder.name, "2024-05-02")
        assert float(row["volume_ml"]) == pytest.approx(expected.burden.volume_ml, rel=1e-6)
        assert float(row["lung_ml"]) == pytest.approx(expected.lungs.total_ml, rel=1e-6)
        assert int(row["lesion_count"]) == expected.burden.count
    only = command("cohort", f"{orthanc.web}/studies?PatientID=bert&limit=1", "-o", tmp_path / "bert", "--dry-run")
    assert "scans found        1" in only
    assert "to do              0" in command("cohort", orthanc.web, "-o", tmp_path / "study", *options)
