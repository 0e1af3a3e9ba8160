"""The patients of a cohort with several dates: followed as `tumorspread follow` does, whatever happens to one of them."""

from __future__ import annotations

import csv
import json
import sys
from itertools import groupby

import numpy as np
import pytest
from outlined_work import LoggedFollowUp, OutlinedWork

from tumorspread.cli import main
from tumorspread.cohort.cases import Case
from tumorspread.cohort.discovery import find_cases
from tumorspread.cohort.following import PatientFollowUp, follow_patients
from tumorspread.cohort.outcome import write_outcome_here
from tumorspread.cohort.place import Place
from tumorspread.cohort.plan import make_plan
from tumorspread.cohort.run import Options, run_cases
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.followup.record import FollowUp
from tumorspread.scan.nifti import write_nifti

CHEST = PhantomConfig(spacing_mm=(6.0, 5.0, 5.0), vessels=6, tumours=(0, 0))
# Balls in the lungs of that chest: centre, LPS mm, and radius at each of three dates; 0 is none.
BALLS = (((-75.0, 0.0, 0.0), (12.0, 16.0, 16.0)), ((80.0, 10.0, 30.0), (10.0, 0.0, 0.0)), ((-70.0, 5.0, 50.0), (0.0, 11.0, 11.0)))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A chest at three dates: one ball grows, one vanishes, one is new."""
    folder = tmp_path_factory.mktemp("scans")
    chest = make_phantom(1, CHEST).scan
    world = chest.to_world(np.stack(np.meshgrid(*map(np.arange, chest.shape), indexing="ij"), -1))
    for number in range(3):
        inside = np.zeros(chest.shape, bool)
        for centre, radii in BALLS:
            inside |= ((world - centre) ** 2).sum(-1) < radii[number] ** 2
        write_nifti(chest.with_voxels(np.where(inside, 40, chest.voxels).astype(np.int16)), folder / f"ct{number}.nii.gz")
        write_nifti(chest.with_voxels(inside.astype(np.uint8)), folder / f"mask{number}.nii.gz")
    return folder


def cases_of(scans, rows):
    """From rows (id, patient, date, number of the scan), as from a list."""
    return [
        Case(name, str(scans / f"ct{n}.nii.gz"), mask=str(scans / f"mask{n}.nii.gz"), patient=patient, date=day, stamp=str(n))
        for name, patient, day, n in rows
    ]


def run(client, place, cases, work=None, **options):
    place.prepare()
    analysis = OutlinedWork()
    plan = make_plan(cases, place, analysis.digest)
    run_cases(client, analysis, place, plan.to_do)
    ended = follow_patients(client, work or PatientFollowUp(place), Options(**options))
    write_outcome_here(place)
    return ended


def table(place):
    with (place.folder / "patients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {patient: list(found) for patient, found in groupby(rows, lambda row: row["patient"])}


def test_x(client, place, scans):
    import time
    t=time.time()
    ended = run(client, place, cases_of(scans, [("a", "anna", "2024-01-01", 0), ("b", "anna", "2024-04-01", 1)]))
    print(ended, time.time()-t)
    for row in table(place)["anna"]: print(row)
    assert 0
