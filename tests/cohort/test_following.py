"""Patients with several dates: followed as `tumorspread follow` does, whatever happens to one of them."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import SimpleITK as sitk
from outlined_work import QUICK_LEVELS, LoggedFollowUp, OutlinedWork

from tumorspread.cli import main
from tumorspread.cohort.cases import Case
from tumorspread.cohort.following import PatientFollowUp, follow_patients
from tumorspread.cohort.outcome import write_outcome_here
from tumorspread.cohort.patients import write_patients
from tumorspread.cohort.place import Place
from tumorspread.cohort.plan import make_plan
from tumorspread.cohort.rows import Journal, Measures, Row
from tumorspread.cohort.run import Options, run_cases
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.followup import alignment
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Volume

# A chest of half the size: registration works on a grid of 2.5 mm, and takes an eighth of the time.
CHEST, SHRUNK = PhantomConfig(spacing_mm=(6.0, 5.0, 5.0), vessels=6, tumours=(0, 0)), 0.5
# Balls in its lungs: centre before it is shrunk, LPS mm, and radius at each of three dates; 0 is none.
BALLS = (
    ((-75.0, 0.0, 0.0), (16.0, 20.0, 20.0)),
    ((80.0, 10.0, 30.0), (14.0, 0.0, 0.0)),
    ((-70.0, 5.0, 50.0), (0.0, 15.0, 15.0)),
)
DAYS = ("2024-01-01", "2024-04-01", "2024-07-01")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A chest at three dates: one ball grows, one vanishes, one is new."""
    folder = tmp_path_factory.mktemp("scans")
    chest = make_phantom(1, CHEST).scan
    world = chest.to_world(np.stack(np.meshgrid(*map(np.arange, chest.shape), indexing="ij"), -1))
    affine = np.diag([SHRUNK, SHRUNK, SHRUNK, 1.0]) @ chest.affine
    for number in range(3):
        inside = np.zeros(chest.shape, bool)
        for centre, radii in BALLS:
            inside |= ((world - centre) ** 2).sum(-1) < radii[number] ** 2
        scan = np.where(inside, 40, chest.voxels).astype(np.int16)
        write_nifti(Volume(scan, affine), folder / f"ct{number}.nii.gz")
        write_nifti(Volume(inside.astype(np.uint8), affine), folder / f"mask{number}.nii.gz")
    return folder


def case_of(scans, name, patient, day, number):
    mask = scans / f"mask{number}.nii.gz"
    return Case(name, str(scans / f"ct{number}.nii.gz"), mask=str(mask), patient=patient, date=day, stamp=str(number))


def run(client, place, cases, log, ended=""):
    place.prepare()
    plan = make_plan(cases, place, OutlinedWork().digest)
    run_cases(client, OutlinedWork(), place, plan.to_do)
    followed = follow_patients(client, LoggedFollowUp(place, threads=1, log=str(log), ended=ended), Options())
    write_outcome_here(place)
    return followed


def table(place):
    with (place.folder / "patients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {patient: list(found) for patient, found in groupby(rows, lambda row: row["patient"])}


@pytest.fixture
def one_thread():
    """As the workers: sums in several threads differ in their last digits."""
    usual = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    yield
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(usual)


def test_patients_are_followed_as_by_the_command_alone_and_again_only_where_a_scan_changed(
    client, place, scans, tmp_path, monkeypatch, one_thread
):
    log = tmp_path / "log"
    cases = [
        case_of(scans, "a2", "anna", DAYS[1], 1),
        case_of(scans, "a1", "anna", DAYS[0], 0),
        case_of(scans, "a3", "anna", DAYS[2], "missing"),
        case_of(scans, "b1", "bert", DAYS[0], 1),
        case_of(scans, "b2", "bert", DAYS[1], 2),
        case_of(scans, "d1", "dora", DAYS[0], 1),
        case_of(scans, "d2", "dora", DAYS[1], 2),
        case_of(scans, "e1", "emil", DAYS[0], 1),
    ]
    ended = run(client, place, cases, log, ended="dora")
    assert (ended.rows, ended.failed) == (3, 1)
    assert sorted(log.read_text().split()) == ["anna", "bert", "dora", "dora"]
    found = table(place)
    first, second, third = found["anna"]
    assert [row["case"] for row in found["anna"]] == ["a1", "a2", "a3"]
    assert [row["follow_up"] for row in found["anna"]] == ["done", "done", "left_out"]
    assert third["follow_up_reason"] == "no result"
    assert (second["matched_count"], second["new_count"], second["gone_count"]) == ("1", "1", "1")
    assert (second["overall_response"], second["day"], second["is_change_beyond_error"]) == ("PD", "91", "True")
    change = 100 * (float(second["volume_ml"]) / float(first["volume_ml"]) - 1)
    assert float(second["volume_change_percent"]) == pytest.approx(change, abs=1e-4)
    assert found["bert"][1]["overall_response"] == "SD"
    assert {row["follow_up"] for row in found["dora"]} == {"set_aside"}
    assert "its worker was lost" in found["dora"][0]["follow_up_reason"]
    assert found["emil"][0]["follow_up_reason"] == "one scan only"
    assert "Followed patients" in (place.folder / "report.html").read_text()

    alone = tmp_path / "alone"
    places = [f"{place.folder / 'cases' / name},{scans / f'ct{n}.nii.gz'}" for n, name in enumerate(("a1", "a2"))]
    argv = ["tumorspread", "follow", *places, "-o", str(alone), "--dates", f"{DAYS[0]},{DAYS[1]}"]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(alignment, "LEVELS", QUICK_LEVELS)
    with pytest.raises(SystemExit, match="0"):
        main()
    for name in ("followup.json", "tracks.csv"):
        assert (place.folder / "patients" / "anna" / name).read_text() == (alone / name).read_text()

    log.unlink()
    assert run(client, place, cases, log) is None
    assert table(place) == found
    assert not log.exists()
    changed = [replace(case, stamp="touched") if case.id == "b2" else case for case in cases]
    assert run(client, place, changed, log).rows == 1
    assert log.read_text().split() == ["bert"]
    assert [row["follow_up"] for row in table(place)["bert"]] == ["done", "done"]


def keep_rows(place, rows):
    """Rows of the cases as a run leaves them: (case, patient, date, volume or None, settings)."""
    place.prepare()
    journal = Journal(place.journal, "run")
    cases = [Case(name, f"/scans/{name}", patient=patient, date=day) for name, patient, day, _, _ in rows]
    make_plan(cases, place, "any")
    for name, _, _, volume, settings in rows:
        measures = None if volume is None else Measures(1, volume)
        journal.append(Row(name, "refused" if volume is None else "done", settings=settings, measures=measures))
    journal.close()


@pytest.mark.parametrize(
    ("visits", "reason"),
    [
        ([(DAYS[0], 1.0, "s")], "one scan only"),
        ([(None, 1.0, "s"), (None, 2.0, "s")], "no scan has a date"),
        ([(DAYS[0], 1.0, "s"), (None, 2.0, "s")], "1 of 2 scans with both a date and a result"),
        ([(DAYS[0], 1.0, "s"), (DAYS[1], None, "s")], "1 of 2 scans with both a date and a result"),
        ([(DAYS[0], None, "s"), (DAYS[1], None, "s")], "0 of 2 scans with both a date and a result"),
        ([(DAYS[0], 1.0, "s"), (DAYS[1], 1.0, "s"), (DAYS[1], 2.0, "s")], f"2 scans of {DAYS[1]}: their order"),
        ([(DAYS[0], 1.0, "s"), (DAYS[1], 1.0, "t")], "measured with different settings"),
        ([(DAYS[0], 1.0, "s"), (DAYS[1], 1.5, "s")], "not done: start the command again"),
    ],
)
def test_a_patient_who_cannot_be_followed_says_why(place, visits, reason):
    keep_rows(place, [(f"c{n}", "p", *visit) for n, visit in enumerate(visits)])
    assert write_patients(place) == 1
    rows = table(place)["p"]
    assert len(rows) == len(visits)
    assert all(row["follow_up"] == "none" and reason in row["follow_up_reason"] for row in rows)
    assert all(row["overall_response"] == row["matched_count"] == "" for row in rows)


def test_a_date_that_is_corrected_in_the_list_counts_without_a_new_analysis(place):
    keep_rows(place, [("a", "p", DAYS[1], 1.0, "s"), ("b", "p", DAYS[0], 3.0, "s")])
    write_patients(place)
    assert [row["case"] for row in table(place)["p"]] == ["b", "a"]
    make_plan([Case("a", patient="p", date=DAYS[1]), Case("b", patient="p", date=DAYS[2])], place, "s")
    write_patients(place)
    assert [(row["case"], row["volume_change_percent"]) for row in table(place)["p"]] == [("a", "0"), ("b", "200")]


def test_results_at_an_address_are_fetched_and_a_damaged_one_is_a_reason(place, tmp_path):
    far = Place(place.folder, f"file://{tmp_path}/bucket")
    assert far.patients.address("p") == f"file://{tmp_path}/bucket/patients/p"
    visits = (Case("a", "/scans/a", date=DAYS[0]), Case("b", "/scans/b", date=DAYS[1]))
    from tumorspread.cohort.work import Order, do_order

    far.prepare()
    far.patients.prepare()
    patient = Case("p", patient="p", visits=visits)
    assert Case.from_json(patient.to_json()) == patient
    (answer,) = do_order(Order("run", "run.1", ((patient, 1),)), PatientFollowUp(far), far.patients)
    assert (answer.row.status, answer.row.error) == ("refused", "ReadError")
    assert answer.row.reason.endswith("cases/a: no such file or folder")
    assert sorted(path.name for path in (tmp_path / "bucket/patients/p").iterdir()) == ["log.txt", "row.json"]
