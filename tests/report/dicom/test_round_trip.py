"""A mask that goes out as DICOM comes back the same, read by the package itself."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.errors import MaskError
from tumorspread.report.dicom_results import write_dicom_results
from tumorspread.scan.read import read, read_mask
from tumorspread.scan.volume import Volume


def in_other_order(scan: Volume) -> Volume:
    """The same scan with its axes in another order and direction."""
    voxels = np.ascontiguousarray(scan.voxels.transpose(2, 0, 1)[::-1])
    affine = scan.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += (voxels.shape[0] - 1) * affine[:3, 0]
    affine[:3, 0] *= -1
    return Volume(voxels, affine)


def assert_segments_come_back(case, tmp_path):
    seg, *_ = write_dicom_results(case.analysis, case.folder, tmp_path)
    for scan in (read(case.folder), in_other_order(case.analysis.scan)):
        for lesion in case.analysis.findings.lesions:
            back = read_mask(seg, scan, roi=str(lesion.id))
            assert back.shape == scan.shape
            points = scan.to_world(np.argwhere(back.voxels))
            index = np.round(case.analysis.scan.to_index(points)).astype(int)
            assert sorted(map(tuple, index)) == sorted(map(tuple, np.argwhere(case.labels == lesion.id)))


def test_segments_in_each_of_48_orientations(dicom_case, tmp_path, orientation):
    affine, backwards = orientation
    assert_segments_come_back(dicom_case(affine=affine, backwards=backwards), tmp_path)


def test_segments_on_oblique_and_anisotropic_grids(dicom_case, tmp_path, oblique):
    assert_segments_come_back(dicom_case(affine=oblique), tmp_path)


def assert_contours_come_back(case, tmp_path):
    *_, rtstruct = write_dicom_results(case.analysis, case.folder, tmp_path, rtstruct=True)
    scan = read(case.folder)
    for lesion in case.analysis.findings.lesions:
        points = case.analysis.scan.to_world(np.argwhere(case.labels == lesion.id))
        back = scan.to_world(np.argwhere(read_mask(rtstruct, scan, roi=f"Lesion {lesion.id}").voxels))
        ours, theirs = ({tuple(np.round(p, 2)) for p in ps} for ps in (points, back))
        assert 2 * len(ours & theirs) / (len(ours) + len(theirs)) >= 0.995
        assert np.linalg.norm(points.mean(axis=0) - back.mean(axis=0)) <= 0.05


def test_contours_in_each_of_48_orientations(dicom_case, tmp_path, orientation):
    affine, backwards = orientation
    assert_contours_come_back(dicom_case(affine=affine, backwards=backwards), tmp_path)


def test_contours_on_oblique_and_anisotropic_grids(dicom_case, tmp_path, oblique):
    assert_contours_come_back(dicom_case(affine=oblique), tmp_path)


def test_another_scan_is_refused(dicom_case, tmp_path):
    case = dicom_case()
    seg, *_ = write_dicom_results(case.analysis, case.folder, tmp_path)
    scan = case.analysis.scan
    moved = scan.affine.copy()
    moved[:3, 3] += scan.affine[:3, 2] * 0.4
    with pytest.raises(MaskError, match=r"frame 1 lies 0\.40 of a voxel off the scan's grid"):
        read_mask(seg, Volume(scan.voxels, moved), roi="1")
    with pytest.raises(MaskError, match="lie beyond the scan"):
        read_mask(seg, Volume(scan.voxels[:2], scan.affine), roi="1")
