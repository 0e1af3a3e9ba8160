"""The segmentation: read back voxel for voxel, by readers that know nothing of how it was written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from tumorspread.report.dicom_results import write_dicom_results


def labels_in(path: Path, scan) -> np.ndarray:
    """The segments of a file on the scan's grid, straight from its frames and their positions."""
    seg = pydicom.dcmread(path)
    labels = np.zeros(scan.shape, int)
    shared = seg.SharedFunctionalGroupsSequence[0]
    planes = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for plane, groups in zip(planes, seg.PerFrameFunctionalGroupsSequence, strict=True):
        place = scan.to_index(groups.PlanePositionSequence[0].ImagePositionPatient)
        assert np.abs(place - np.round(place)).max() < 1e-3
        assert np.abs(place[1:]).max() < 1e-3
        # What all frames have in common may stand in the shared groups (PS3.3 C.7.6.16.1.1).
        holder = groups if "SegmentIdentificationSequence" in groups else shared
        number = holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels[round(place[0])][plane > 0] = number
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    across, down = np.reshape(orientation, (2, 3))
    assert np.allclose(np.column_stack([down, across]), scan.directions[:, 1:], atol=1e-6)
    return labels


def test_every_voxel_comes_back_in_each_of_48_orientations(dicom_case, tmp_path, orientation):
    affine, backwards = orientation
    case = dicom_case(affine=affine, backwards=backwards)
    seg, _ = write_dicom_results(case.analysis, case.folder, tmp_path)
    assert np.array_equal(labels_in(seg, case.analysis.scan), case.labels)
    assert case.labels.max() >= 4


def test_every_voxel_comes_back_from_oblique_and_anisotropic_grids(dicom_case, tmp_path, oblique):
    case = dicom_case(affine=oblique)
    seg, _ = write_dicom_results(case.analysis, case.folder, tmp_path)
    assert np.array_equal(labels_in(seg, case.analysis.scan), case.labels)


@pytest.mark.parametrize("stop", [(3, 5, 4), (5, 9, 8)])
def test_a_lone_voxel_and_a_lone_lesion_come_back(dicom_case, tmp_path, stop):
    mask = np.zeros((6, 17, 15), bool)
    mask[tuple(slice(a, b) for a, b in zip((2, 4, 3), stop, strict=True))] = True
    case = dicom_case(mask)
    seg, _ = write_dicom_results(case.analysis, case.folder, tmp_path)
    assert np.array_equal(labels_in(seg, case.analysis.scan), case.labels)


def test_highdicom_places_the_segments_where_the_lesions_are(dicom_case, tmp_path, oblique):
    case = dicom_case(affine=oblique)
    seg, _ = write_dicom_results(case.analysis, case.folder, tmp_path)
    placed = highdicom.seg.segread(seg).get_volume(combine_segments=True)
    points = np.argwhere(placed.array) @ placed.affine[:3, :3].T + placed.affine[:3, 3]
    index = case.analysis.scan.to_index(points)
    assert np.abs(index - np.round(index)).max() < 1e-3
    found = np.zeros_like(case.labels)
    found[tuple(np.round(index).astype(int).T)] = placed.array[placed.array > 0]
    assert np.array_equal(found, case.labels)


def test_dcmqi_reads_the_same_voxels(dicom_case, tmp_path, tool, oblique):
    case = dicom_case(affine=oblique)
    seg, _ = write_dicom_results(case.analysis, case.folder, tmp_path)
    command = [tool("segimage2itkimage"), "--inputDICOM", seg, "--outputDirectory", tmp_path, "--outputType", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = np.zeros_like(case.labels)
    for lesion in case.analysis.findings.lesions:
        image = sitk.ReadImage(tmp_path / f"{lesion.id}.nrrd")
        for z, y, x in np.argwhere(sitk.GetArrayFromImage(image)):
            index = case.analysis.scan.to_index(image.TransformIndexToPhysicalPoint((int(x), int(y), int(z))))
            assert np.abs(index - np.round(index)).max() < 0.01
            found[tuple(np.round(index).astype(int))] = lesion.id
    assert np.array_equal(found, case.labels)
    told = json.loads((tmp_path / "meta.json").read_text())["segmentAttributes"]
    assert [item[0]["TrackingIdentifier"] for item in told] == [
        f"Lesion {m.id}" for m in case.analysis.findings.lesions
    ]


def test_a_frame_names_the_slice_it_was_drawn_on(dicom_case, tmp_path):
    case = dicom_case(backwards=True)
    seg = pydicom.dcmread(write_dicom_results(case.analysis, case.folder, tmp_path)[0])
    slices = {s.SOPInstanceUID: s for s in map(pydicom.dcmread, case.folder.iterdir())}
    for groups in seg.PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        place = slices[source.ReferencedSOPInstanceUID].ImagePositionPatient
        assert groups.PlanePositionSequence[0].ImagePositionPatient == place


@pytest.mark.parametrize("backwards", [False, True])
def test_an_enhanced_file_is_segmented_frame_by_frame(dicom_case, as_enhanced, tmp_path, backwards):
    case = dicom_case(change=as_enhanced, backwards=backwards)
    path, _ = write_dicom_results(case.analysis, case.folder, tmp_path)
    assert np.array_equal(labels_in(path, case.analysis.scan), case.labels)
    scan = pydicom.dcmread(case.folder / "00.dcm")
    for groups in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPInstanceUID == scan.SOPInstanceUID
        frame = scan.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(
            groups.PlanePositionSequence[0].ImagePositionPatient
        )


def test_a_series_in_two_enhanced_files_is_segmented_too(dicom_case, as_enhanced, tmp_path):
    case = dicom_case(change=lambda slices: as_enhanced(slices[:3]) + as_enhanced(slices[3:]))
    path, _ = write_dicom_results(case.analysis, case.folder, tmp_path)
    assert np.array_equal(labels_in(path, case.analysis.scan), case.labels)


def test_segments_say_neoplasm_lung_side_and_what_drew_them(thorax_case, tmp_path):
    seg = pydicom.dcmread(write_dicom_results(thorax_case.analysis, thorax_case.folder, tmp_path)[0])
    assert (seg.SegmentationType, seg.Modality, len(seg.SegmentSequence)) == ("BINARY", "SEG", 2)
    assert "for research use only" in seg.SeriesDescription
    assert "for research use only" in seg.ContentDescription
    for segment in seg.SegmentSequence:
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("tumorspread lung-v1", "0.1.0+abababababab")
        assert f"weights_sha256={'ab' * 32}" in algorithm.AlgorithmParameters
    left, outside = (segment.AnatomicRegionSequence[0] for segment in seg.SegmentSequence)
    assert left.CodeMeaning == "Lung"
    assert left.AnatomicRegionModifierSequence[0].CodeMeaning == "Left"
    # Outside the lungs it is not coded as lung, and its side is that of the body.
    assert outside.CodeMeaning == "Chest"


def test_a_mask_brought_along_is_called_manual_and_names_no_algorithm(dicom_case, tmp_path):
    case = dicom_case(origin=None)
    seg = pydicom.dcmread(write_dicom_results(case.analysis, case.folder, tmp_path)[0])
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"MANUAL"}
    assert not any("SegmentationAlgorithmIdentificationSequence" in segment for segment in seg.SegmentSequence)


@pytest.mark.slow
def test_more_lesions_than_a_byte_counts_come_back(dicom_case, tmp_path, axial):
    mask = np.zeros((5, 24, 26), bool)
    mask[::2, ::2, ::2] = True
    case = dicom_case(mask)
    assert len(case.analysis.findings.lesions) == 3 * 12 * 13
    seg, _ = write_dicom_results(case.analysis, case.folder, tmp_path)
    assert np.array_equal(labels_in(seg, case.analysis.scan), case.labels)
