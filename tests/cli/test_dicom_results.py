"""What `analyse` leaves of a scan in DICOM."""

from __future__ import annotations

import copy
import json

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from tumorspread.scan.nifti import read_nifti

FILES = {"mask.nii.gz", "lesions.nii.gz", "lungs.nii.gz", "findings.json", "lesions.csv", "report.html", "scan.json"}


@pytest.fixture(scope="session")
def series(data, tmp_path_factory):
    """A phantom as a DICOM series, on the template that comes with pydicom."""
    scan = read_nifti(data / "imagesTr" / "phantom_000.nii.gz")
    template = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    folder = tmp_path_factory.mktemp("dicom") / "series"
    folder.mkdir()
    down, across = scan.directions.T[1:]
    assert np.cross(across, down) @ scan.directions[:, 0] == pytest.approx(1)
    for number, plane in enumerate(scan.voxels):
        dataset = copy.deepcopy(template)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient = [round(float(c), 6) for c in scan.to_world((number, 0, 0))]
        dataset.ImageOrientationPatient = [*across, *down]
        dataset.PixelSpacing, dataset.SliceThickness = list(scan.spacing_mm[1:]), scan.spacing_mm[0]
        dataset.Rows, dataset.Columns = plane.shape
        dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
        dataset.PixelData = (np.clip(plane, -1024, 3071) + 1024).astype("<i2").tobytes()
        dataset.save_as(folder / f"{number:03}.dcm")
    return folder


def test_a_scan_in_dicom_gets_its_results_in_dicom(run, series, weights, tmp_path):
    code, _, err = run("analyse", series, "-o", tmp_path / "out", "-w", weights, "--threshold", "0.01", "--rtstruct")
    assert code == 0, err
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES | {"seg.dcm", "report-sr.dcm", "rtstruct.dcm"}
    findings = json.loads((tmp_path / "out/findings.json").read_text())
    seg = pydicom.dcmread(tmp_path / "out/seg.dcm")
    assert len(seg.SegmentSequence) == findings["burden"]["count"] > 0
    voxels = seg.pixel_array.sum()
    assert voxels == sum(lesion["voxel_count"] for lesion in findings["lesions"])
    hash_of_weights = findings["origin"]["weights_sha256"]
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert hash_of_weights in algorithm.AlgorithmParameters


@pytest.mark.parametrize(("options", "expected"), [(["--no-dicom"], FILES), ([], FILES | {"seg.dcm", "report-sr.dcm"})])
def test_the_results_in_dicom_can_be_left_out(run, series, weights, tmp_path, options, expected):
    code, _, err = run("analyse", series, "-o", tmp_path / "out", "-w", weights, "--threshold", "0.01", *options)
    assert code == 0, err
    assert {p.name for p in (tmp_path / "out").iterdir()} == expected
