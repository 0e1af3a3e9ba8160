"""What is taken away is the current revision, and can be read again."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from tests.report.dicom.conftest import series_of
from tests.viewer.conftest import COARSE, ball, comparable, oracle, runs_of
from tests.viewer.test_case import edit, middle

from tumorspread.data.phantom import make_phantom
from tumorspread.errors import ReadError
from tumorspread.measurement.findings import Findings
from tumorspread.pipeline import measure
from tumorspread.report.folder import write_analysis
from tumorspread.report.scan_note import ScanNote
from tumorspread.scan.dicom_seg import read_segments
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.read import read, read_mask
from tumorspread.viewer.case import Case
from tumorspread.viewer.edits import Delete, Paint
from tumorspread.viewer.export import export_file
from tumorspread.viewer.images import image_file
from tumorspread.viewer.places import place_of


def test_an_exported_mask_measured_again_gives_the_findings(case, tmp_path):
    edit(case, Delete, lesion=2)
    edit(case, Paint, lesion=1, runs=runs_of(ball(case, middle(case, 1), 24.0)))
    (tmp_path / "mask.nii.gz").write_bytes(export_file(case, "mask.nii.gz", tmp_path))
    again = measure(case.scan, read_mask(tmp_path / "mask.nii.gz", case.scan)).findings
    findings = Findings.from_json(export_file(case, "findings.json", tmp_path).decode())
    assert comparable(findings) == comparable(again) == comparable(oracle(case))
    rows = list(csv.DictReader(io.StringIO(export_file(case, "lesions.csv", tmp_path).decode())))
    assert [int(row["lesion"]) for row in rows] == [n.id for n in findings.lesions] == [1, 3]
    export_file(case, "lesions.nii.gz", tmp_path)
    assert (read_nifti(tmp_path / "lesions.nii.gz").voxels == case.lesions.labels).all()


def test_a_scan_that_is_no_dicom_gives_no_dicom(case, tmp_path):
    with pytest.raises(ReadError, match="not"):
        export_file(case, "seg.dcm", tmp_path)


def test_images_are_those_of_the_current_revision_on_the_grid_of_the_scan(shelf, case):
    first = read_nifti(image_file(shelf, "result", "lesions")[0])
    assert case.scan.same_grid(first)
    assert sorted(np.unique(first.voxels)) == [0, 1, 2, 3]
    edit(case, Delete, lesion=2)
    path, revision = image_file(shelf, "result", "lesions")
    assert revision == 1
    assert sorted(np.unique(read_nifti(path).voxels)) == [0, 1, 3]
    assert (read_nifti(image_file(shelf, "result", "scan")[0]).voxels == case.scan.voxels).all()
    with pytest.raises(ReadError, match="--probability"):
        image_file(shelf, "result", "probability")


def test_the_place_of_a_lesion_is_the_middle_of_its_voxels(case):
    place = place_of(case, 2)
    middle_zyx = np.argwhere(case.lesions.labels == 2).mean(axis=0)
    assert place["center_fraction"] == pytest.approx(((middle_zyx + 0.5) / case.scan.shape)[::-1])
    assert place["center_voxel"] == np.rint(middle_zyx)[::-1].astype(int).tolist()
    x, y, z = case.scan.to_world(middle_zyx)
    assert place["center_mm_ras"] == pytest.approx([-x, -y, z])


def test_dicom_after_an_edit_holds_the_lesions_that_are_left(tmp_path):
    phantom = make_phantom(5, COARSE)
    (tmp_path / "ct").mkdir()
    for number, piece in enumerate(series_of(phantom.scan.voxels, phantom.scan.affine)):
        piece.save_as(tmp_path / "ct" / f"{number:03}.dcm", enforce_file_format=True)
    scan = read(tmp_path / "ct")
    analysis = measure(tmp_path / "ct", scan.with_voxels(phantom.mask.voxels))
    (tmp_path / "result").mkdir()
    write_analysis(analysis, tmp_path / "result")
    case = Case(tmp_path / "result", ScanNote(str(tmp_path / "ct")))
    edit(case, Delete, lesion=1)
    (tmp_path / "out").mkdir()
    export_file(case, "seg.dcm", tmp_path / "out")
    for number, lesion in enumerate(case.findings.lesions, 1):
        segment = read_segments(tmp_path / "out" / "seg.dcm", case.scan, segment=number)
        assert (segment.voxels == (case.lesions.labels == lesion.id)).all()
    (tmp_path / "sr").mkdir()
    assert export_file(case, "report-sr.dcm", tmp_path / "sr")[128:132] == b"DICM"
