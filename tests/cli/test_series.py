"""The verb `series`, and the options that choose one and say what becomes of a tilted gantry."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from tumorspread.cli.dicom import _endings

STEP_MM = 5.0


@pytest.fixture
def folder(tmp_path):
    """Two series of the CT that comes with pydicom, the second one half as far apart and of a tilted gantry."""
    study = generate_uid()
    for number, count, step, lean in ((1, 6, STEP_MM, 0.0), (2, 12, STEP_MM / 2, 0.4)):
        series = generate_uid()
        (tmp_path / "scans" / str(number)).mkdir(parents=True)
        for i in range(count):
            dataset = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SeriesNumber = study, series, number
            dataset.SeriesDescription, dataset.ConvolutionKernel = f"chest {number}", "B30f"
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.ImagePositionPatient, dataset.SliceThickness = [-40, -40 + lean * i, step * i], step
            dataset.save_as(tmp_path / "scans" / str(number) / f"{i:02}.dcm")
    return tmp_path / "scans"


def test_the_table_has_a_row_for_each_series_and_an_ending_that_chooses_it(run, folder, tmp_path):
    code, out, err = run("series", folder)
    assert (code, err) == (0, "")
    header, first, second = out.splitlines()
    assert header.split()[:3] == ["number", "description", "kind"]
    assert first.split()[:6] == ["1", "chest", "1", "axial", "CT", "6"]
    assert "5x0.6615x0.6615" in first
    assert "2.5x0.6615x0.6615" in second
    assert (first.split()[-1], second.split()[-1]) == ("yes", "yes")
    ending = first.split()[-2]
    code, _, err = run("convert", folder, "-o", tmp_path / "one.nii.gz", "--series", ending)
    assert code == 0
    assert nib.load(tmp_path / "one.nii.gz").shape == (128, 128, 6)


def test_without_a_choice_the_thinnest_is_read_upright_with_notes_or_refused(run, folder, tmp_path):
    code, _, err = run("convert", folder, "-o", tmp_path / "any.nii.gz")
    assert code == 0
    assert "note: series 2 (12 slices 2.5 mm apart, kernel B30f) was read of 2 CT series" in err
    assert "note: the slices lean by 9.09 degrees" in err
    image = nib.load(tmp_path / "any.nii.gz")
    assert image.shape == (128, 128 + int(np.ceil(11 * 0.4 / 0.661468)), 12)
    code, out, err = run("convert", folder, "-o", tmp_path / "none.nii.gz", "--tilt", "refuse")
    assert (code, out) == (1, "")
    assert "lean by 9.09 degrees" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "none.nii.gz").exists()


def test_as_json_it_says_the_same_and_why_one_cannot_be_read(run, folder):
    (folder / "1" / "03.dcm").unlink()
    code, out, _ = run("series", folder, "--json")
    first, second = json.loads(out)
    assert code == 0
    assert (first["slices"], first["is_complete"], second["is_complete"]) == (5, False, True)
    assert "1 of the slices, 5.00 mm apart, are missing" in first["problem"]
    assert (second["description"], second["plane"], second["kernel"]) == ("chest 2", "axial", "B30f")
    code, out, _ = run("series", folder)
    assert "no: 1 of the slices" in out


def test_a_path_without_dicom_is_refused_in_one_line(run, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    code, out, err = run("series", tmp_path)
    assert (code, out) == (1, "")
    assert "no DICOM files in it" in err
    assert len(err.splitlines()) == 1


def test_endings_are_the_shortest_that_no_other_uid_has():
    assert _endings(["1.2.345678", "1.2.945678", "1.3.1"]) == ["345678", "945678", "1.3.1"]
    assert _endings(["1.2.3"]) == ["1.2.3"]
    assert _endings(["", "1.2.3.4.5.6.7.8.9"]) == ["", ".7.8.9"]
