"""What is found in folders and lists, and what is left out with its reason."""

from __future__ import annotations

import numpy as np
import pytest
from tests.scan.conftest import make_enhanced, make_slices, save_slices

from tumorspread.cohort import headers
from tumorspread.cohort.cases import Case, Skipped, safe_id
from tumorspread.cohort.discovery import find_cases
from tumorspread.cohort.patients import write_patients
from tumorspread.cohort.place import Place
from tumorspread.cohort.plan import make_plan
from tumorspread.cohort.rows import Journal, Row
from tumorspread.errors import DatasetError
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Volume


def write_scan(path, shape=(4, 5, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(Volume(np.zeros(shape, np.int16), np.diag([2.0, 2.0, 2.0, 1.0])), path)


def split(found):
    found = list(found)
    return [one for one in found if isinstance(one, Case)], [one for one in found if isinstance(one, Skipped)]


def test_nifti_in_folders_become_cases_named_by_their_place_and_masks_on_their_grid_are_left_out(tmp_path):
    write_scan(tmp_path / "a" / "ct.nii.gz")
    write_scan(tmp_path / "a" / "ct_gtv.nii.gz")
    write_scan(tmp_path / "a" / "ct_followup.nii.gz", shape=(4, 5, 7))
    write_scan(tmp_path / "b 1" / "ct.nii")
    (tmp_path / "b 1" / "torn.nii.gz").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("no scan")
    cases, skipped = split(find_cases(str(tmp_path)))
    assert [case.id for case in cases][:2] == ["a__ct", "a__ct_followup"]
    assert [case.id for case in cases][2:] == [safe_id("b 1/ct"), safe_id("b 1/torn")]
    assert [one.place for one in skipped] == [str(tmp_path / "a" / "ct_gtv.nii.gz")]
    assert all(case.stamp and case.size_bytes for case in cases)


def test_a_folder_of_results_is_not_taken_for_scans(tmp_path):
    write_scan(tmp_path / "ct.nii.gz")
    write_scan(tmp_path / "study" / "cases" / "ct" / "mask.nii.gz")
    (tmp_path / "study" / "plan.jsonl").touch()
    assert [case.id for case in split(find_cases(str(tmp_path)))[0]] == ["ct"]


def test_a_list_names_scan_mask_patient_date_and_id_and_keeps_what_is_not_there(tmp_path):
    write_scan(tmp_path / "ct.nii.gz")
    (tmp_path / "list.csv").write_text(
        "scan,mask,patient,date,id\nct.nii.gz,m.nii.gz,anna,2024-05-02,may\ngone.nii.gz,,,,\n,,,,\nct.nii.gz,,,,may\n"
    )
    cases, skipped = split(find_cases(str(tmp_path / "list.csv")))
    first, second, third = cases
    assert (first.id, first.mask, first.patient, first.date) == (
        "may",
        str(tmp_path / "m.nii.gz"),
        "anna",
        "2024-05-02",
    )
    assert (second.id, second.stamp) == ("gone", "")
    assert third.id != "may"
    assert third.id.startswith("may-")
    assert [one.place for one in skipped] == ["list.csv, line 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("path\nx\n", "found the columns path"), ("scan,date\nx,2 May\n", "line 2: the date 2 May"), ("", "none")],
)
def test_a_list_that_cannot_be_understood_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        list(find_cases(str(tmp_path / "list.csv")))


def test_an_address_of_fsspec_is_looked_into(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in ("/bucket/a/ct.nii.gz", "/bucket/b/1.dcm", "/bucket/b/2.dcm", "/bucket/readme.txt"):
        memory.pipe_file(path, b"x")
    cases, skipped = split(find_cases("memory://bucket"))
    assert [(case.id, case.scan) for case in cases] == [
        ("a__ct", "memory:///bucket/a/ct.nii.gz"),
        ("b", "memory:///bucket/b"),
    ]
    assert len(skipped) == 1
    memory.rm("/bucket", recursive=True)


def test_nothing_there_is_no_case_and_no_folder_is_refused(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert split(find_cases(str(folder))) == ([], [])
    with pytest.raises(DatasetError, match="no such file or folder"):
        find_cases(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["../../etc", "a/b", "Ä", "x" * 300, ".hidden", "a b"])
def test_an_id_is_one_safe_name_of_a_folder(name):
    made = safe_id(name)
    assert made.isascii()
    assert "/" not in made
    assert 0 < len(made) <= 110
    assert not made.startswith(".")


def save_visit(folder, change=lambda slices: None):
    slices = make_slices(6)
    for one in slices:
        one.PatientID, one.StudyDate, one.AcquisitionDate = "P 7", "20240502", "20240503"
    change(slices)
    return save_slices(slices, folder)


def each(**values):
    """A change that gives every slice these attributes; None takes one away."""

    def change(slices):
        for one in slices:
            for keyword, value in values.items():
                if value is None:
                    delattr(one, keyword)
                else:
                    setattr(one, keyword, value)

    return change


def two_patients(slices):
    slices[3].PatientID, slices[4].StudyDate = "P 8", ""


def one_unnamed(slices):
    slices[2].PatientID = ""
    del slices[2].StudyDate, slices[2].AcquisitionDate


@pytest.mark.parametrize(
    ("change", "patient", "date"),
    [
        (each(), "P 7", "2024-05-02"),
        (each(StudyDate=None), "P 7", "2024-05-03"),
        (each(StudyDate=""), "P 7", "2024-05-03"),
        (each(StudyDate="2024", AcquisitionDate="20241399"), "P 7", None),
        (each(PatientID=None, StudyDate=None, AcquisitionDate=None), None, None),
        (each(PatientID="", SpecificCharacterSet="ISO_IR 192"), None, "2024-05-02"),
        (each(PatientID="Ä\u4e2d", SpecificCharacterSet="ISO_IR 192"), "Ä\u4e2d", "2024-05-02"),
        (two_patients, None, None),
        (one_unnamed, "P 7", "2024-05-02"),
    ],
)
def test_patient_and_date_of_a_series_are_those_that_its_headers_agree_on(tmp_path, change, patient, date):
    save_visit(tmp_path / "in" / "visit", change)
    (case,), _ = split(find_cases(str(tmp_path / "in")))
    assert (case.patient, case.date) == (patient, date)


def test_the_visits_of_a_patient_in_a_dicom_tree_stand_in_order_in_the_table_of_patients(tmp_path, place):
    for name, patient, day in (("b", "anna", "20240901"), ("a", "anna", "20240301"), ("c", "bert", "20240401")):
        save_visit(tmp_path / "in" / name, each(PatientID=patient, StudyDate=day))
    cases, _ = split(find_cases(str(tmp_path / "in")))
    place.prepare()
    make_plan(cases, place, "any")
    journal = Journal(place.journal, "run")
    for case in cases:
        journal.append(Row(case.id, "done"))
    journal.close()
    assert write_patients(place) == 2
    lines = [line.split(",")[:5] for line in (place.folder / "patients.csv").read_text().splitlines()[1:]]
    assert lines == [
        ["anna", "1", "2024-03-01", "0", "a"],
        ["anna", "2", "2024-09-01", "184", "b"],
        ["bert", "1", "2024-04-01", "0", "c"],
    ]


def test_a_file_is_read_once_and_only_its_beginning(tmp_path, monkeypatch):
    save_visit(tmp_path / "visit")
    opened = []
    whole = headers.read_dataset
    monkeypatch.setattr(headers, "read_dataset", lambda *a, **k: opened.append(a) or whole(*a, **k))
    file = next((tmp_path / "visit").iterdir())
    file.write_bytes(file.read_bytes()[:2000])
    (case,), skipped = split(find_cases(str(tmp_path / "visit")))
    assert (case.patient, skipped, opened) == ("P 7", [], [])


def test_a_header_whose_beginning_is_long_is_read_whole(tmp_path):
    save_visit(tmp_path / "visit", each(AdditionalPatientHistory="y" * 40_000))
    (case,), _ = split(find_cases(str(tmp_path / "visit")))
    assert (case.patient, case.date) == ("P 7", "2024-05-02")


def test_an_enhanced_file_holds_all_slices_of_its_series_and_is_a_case(tmp_path):
    enhanced = make_enhanced(make_slices(8))
    enhanced.PatientID, enhanced.StudyDate = "anna", "20240502"
    (tmp_path / "in").mkdir()
    enhanced.save_as(tmp_path / "in" / "ct.dcm", enforce_file_format=True)
    (case,), _ = split(find_cases(str(tmp_path / "in")))
    assert (case.patient, case.date) == ("anna", "2024-05-02")


def test_a_refused_input_takes_back_what_it_made_and_nothing_else(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("new", "old"):
        with pytest.raises(DatasetError), Place(tmp_path / name).planning():
            raise DatasetError("no scan was found")
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]
    (tmp_path / "old" / "journal").mkdir()
    (tmp_path / "old" / "journal" / "run.jsonl").touch()
    with pytest.raises(DatasetError), Place(tmp_path / "old").planning():
        raise DatasetError("no scan was found")
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "journal", "run.jsonl"]
