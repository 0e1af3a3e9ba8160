"""The structure set: its contours hold the voxels of the lesions, and no other, for every reader."""

from __future__ import annotations

import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from matplotlib.path import Path as Polygon
from skimage.draw import polygon2mask

from tumorspread.report.dicom_results import write_dicom_results
from tumorspread.report.dicom_rtstruct import outlines
from tumorspread.scan.rtstruct import read_contours


def structure_set(case, folder):
    return write_dicom_results(case.analysis, case.folder, folder, rtstruct=True)[-1]


def read_back(path, case):
    labels = np.zeros_like(case.labels)
    for lesion in case.analysis.findings.lesions:
        mask = read_contours(path, case.analysis.scan, roi=f"Lesion {lesion.id}").voxels
        labels[mask] = lesion.id
    return labels


def test_every_voxel_comes_back_in_each_of_48_orientations(dicom_case, tmp_path, orientation):
    affine, backwards = orientation
    case = dicom_case(affine=affine, backwards=backwards)
    assert np.array_equal(read_back(structure_set(case, tmp_path), case), case.labels)


def test_every_voxel_comes_back_from_oblique_and_anisotropic_grids(dicom_case, tmp_path, oblique):
    case = dicom_case(affine=oblique)
    assert np.array_equal(read_back(structure_set(case, tmp_path), case), case.labels)


def test_plastimatch_reads_the_same_voxels(dicom_case, tmp_path, tool):
    case = dicom_case()
    path = structure_set(case, tmp_path)
    command = [tool("plastimatch"), "convert", "--input", path, "--referenced-ct", case.folder]
    command += ["--output-prefix", tmp_path / "out", "--prefix-format", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = np.zeros_like(case.labels)
    for lesion in case.analysis.findings.lesions:
        image = sitk.ReadImage(tmp_path / "out" / f"Lesion {lesion.id}.nrrd")
        for z, y, x in np.argwhere(sitk.GetArrayFromImage(image)):
            index = case.analysis.scan.to_index(image.TransformIndexToPhysicalPoint((int(x), int(y), int(z))))
            found[tuple(np.round(index).astype(int))] = lesion.id
    # A lone pixel's outline is a diamond of half a pixel's width, which plastimatch takes in.
    assert np.array_equal(found, case.labels)


@pytest.mark.parametrize("seed", range(40))
def test_outlines_of_a_random_plane_hold_its_pixels_by_two_rules(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((11, 13)) < rng.choice([0.1, 0.4, 0.6, 0.9])
    centres = np.argwhere(np.ones_like(mask))
    even_odd = np.zeros(mask.shape, bool)
    windings = np.zeros(mask.shape, int)
    for ring in outlines(mask):
        even_odd ^= polygon2mask(mask.shape, ring)
        windings += (winding(ring, centres) != 0).reshape(mask.shape)
    assert np.array_equal(even_odd, mask)
    assert np.array_equal(windings, mask)


def winding(ring, points):
    """How often the ring runs around each point, from the angles under which its edges are seen."""
    away = np.concatenate([ring, ring[:1]])[None] - points[:, None]
    angle = np.arctan2(away[..., 0], away[..., 1])
    turns = (np.diff(angle, axis=1) + np.pi) % (2 * np.pi) - np.pi
    return np.round(turns.sum(axis=1) / (2 * np.pi)).astype(int)


def test_a_hole_is_joined_to_the_outline_around_it():
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[3:6, 3:6] = False
    mask[4, 4] = True
    ring, island = sorted(outlines(mask), key=len, reverse=True)
    assert len(island) == 4
    # The area of a polygon with its keyhole, by the shoelace rule: 49 pixels less 9, less half a pixel at four corners
    # outside and more at four inside.
    rows, columns = ring.T
    area = abs(rows @ np.roll(columns, -1) - columns @ np.roll(rows, -1)) / 2
    assert area == pytest.approx((49 - 4 / 8) - (9 - 4 / 8))
    assert not Polygon(ring).contains_point((4, 4))


def test_it_says_which_lesion_which_slice_and_what_for(dicom_case, tmp_path):
    case = dicom_case()
    made = pydicom.dcmread(structure_set(case, tmp_path))
    slices = {s.SOPInstanceUID: s for s in map(pydicom.dcmread, case.folder.iterdir())}
    lesions = case.analysis.findings.lesions
    assert [roi.ROIName for roi in made.StructureSetROISequence] == [f"Lesion {m.id}" for m in lesions]
    assert [float(roi.ROIVolume) for roi in made.StructureSetROISequence] == pytest.approx(
        [m.volume_ml for m in lesions], rel=1e-5
    )
    assert (made.Modality, made.ApprovalStatus) == ("RTSTRUCT", "UNAPPROVED")
    assert "for research use only" in made.StructureSetDescription
    referenced = made.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert {i.ReferencedSOPInstanceUID for i in referenced.ContourImageSequence} == set(slices)
    for roi in made.ROIContourSequence:
        for contour in roi.ContourSequence:
            image = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            assert float(contour.ContourData[2]) == pytest.approx(image.ImagePositionPatient[2])
            assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints
