"""The results as files: whose they are, that they are valid, and what is refused."""

from __future__ import annotations

import copy
import subprocess
from dataclasses import replace
from datetime import datetime

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from tumorspread import pipeline
from tumorspread.errors import GeometryError, OutputError, ReadError
from tumorspread.measurement.parts import Origin
from tumorspread.report.dicom_results import write_dicom_results
from tumorspread.scan.read import read, read_mask

FILED_BY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
)  # fmt: skip


def results(case, folder, **options):
    return [
        pydicom.dcmread(p) for p in write_dicom_results(case.analysis, case.folder, folder, rtstruct=True, **options)
    ]


def with_attributes(**attributes):
    def change(slices):
        for dataset in slices:
            for keyword, value in attributes.items():
                if value is None:
                    delattr(dataset, keyword)
                else:
                    setattr(dataset, keyword, value)
        return slices

    return change


def validate(path, tool):
    done = subprocess.run([tool("dciodvfy"), path], capture_output=True, text=True, timeout=60)
    return [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]


def test_results_are_filed_with_their_scan(dicom_case, tmp_path):
    case = dicom_case()
    scan = pydicom.dcmread(case.folder / "00.dcm")
    made = results(case, tmp_path)
    assert [m.Modality for m in made] == ["SEG", "SR", "RTSTRUCT"]
    for one in made:
        assert {k: one.get(k) for k in FILED_BY} == {k: scan.get(k) for k in FILED_BY}
    assert {m.FrameOfReferenceUID for m in (made[0], made[2])} == {scan.FrameOfReferenceUID}
    uids = [u for m in made for u in (m.SOPInstanceUID, m.SeriesInstanceUID)]
    assert len(set(uids)) == 6
    assert scan.SeriesInstanceUID not in uids


def test_they_say_when_and_by_which_version_they_were_made(dicom_case, tmp_path):
    case = dicom_case()
    made = results(case, tmp_path)
    local = datetime.fromisoformat("2026-01-31T12:00:00+00:00").astimezone()
    for one in made[:2]:
        assert (one.ContentDate, one.ContentTime) == (local.strftime("%Y%m%d"), local.strftime("%H%M%S"))
    assert {one.SoftwareVersions for one in made} == {"0.1.0+abababababab"}
    assert {one.SeriesNumber for one in made} == {9001, 9002, 9003}


@pytest.mark.parametrize("kind", ["model", "by hand", "empty", "enhanced", "bare", "bad values", "latin-1"])
def test_dciodvfy_reports_no_error(dicom_case, as_enhanced, tmp_path, tool, kind):
    bare = (*FILED_BY, "FrameOfReferenceUID", "PositionReferenceIndicator", "SliceThickness")
    bad = {"StudyDate": "yesterday", "PatientBirthDate": "about 1950", "PatientSex": "W", "PatientAge": "76"}
    changes = {
        "enhanced": as_enhanced,
        "bare": with_attributes(**dict.fromkeys(set(bare) - {"StudyInstanceUID"})),
        "bad values": with_attributes(**bad),
        "latin-1": with_attributes(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen"),
    }
    options = {"change": changes[kind]} if kind in changes else {}
    mask = np.zeros((6, 17, 15), bool) if kind == "empty" else None
    origin = Origin("tumorspread 0.1.0", "gtv.nii.gz") if kind == "by hand" else None
    with pydicom.config.disable_value_validation():
        case = dicom_case(mask, **options, **({} if origin is None else {"origin": origin}))
    paths = write_dicom_results(case.analysis, case.folder, tmp_path / "out", rtstruct=True)
    assert {path.name: validate(path, tool) for path in paths} == {path.name: [] for path in paths}


def test_names_come_over_in_every_script(dicom_case, tmp_path):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    case = dicom_case(change=with_attributes(SpecificCharacterSet="ISO_IR 192", PatientName=name))
    assert {str(m.PatientName) for m in results(case, tmp_path)} == {name}


@pytest.mark.filterwarnings("ignore:The value length")
def test_an_identifier_that_breaks_the_rules_is_kept_since_the_patient_is_found_by_it(dicom_case, tmp_path):
    long = "X" * 70
    with pydicom.config.disable_value_validation():
        case = dicom_case(change=with_attributes(PatientID=long))
    assert {m.PatientID for m in results(case, tmp_path)} == {long}


def test_a_series_without_a_frame_of_reference_gets_one_that_stays_the_same(dicom_case, tmp_path):
    case = dicom_case(change=with_attributes(FrameOfReferenceUID=None))
    once, again = ({m.FrameOfReferenceUID for m in results(case, tmp_path / n)[::2]} for n in ("a", "b"))
    assert once == again
    assert len(once) == 1


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID"])
def test_a_series_that_nothing_can_refer_to_is_refused(dicom_case, tmp_path, keyword):
    case = dicom_case()
    for path in case.folder.iterdir():
        dataset = pydicom.dcmread(path)
        delattr(dataset, keyword)
        dataset.save_as(path)
    with pytest.raises(ReadError, match=f"00.dcm has no {keyword}.*--no-dicom"):
        write_dicom_results(case.analysis, case.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "PatientID"])
def test_a_series_of_two_patients_or_studies_is_refused(dicom_case, tmp_path, keyword):
    def change(slices):
        setattr(slices[2], keyword, "1.2.3.4")
        return slices

    case = dicom_case(change=change)
    with pytest.raises(ReadError, match=f"2 values of {keyword} in one series") as refusal:
        write_dicom_results(case.analysis, case.folder, tmp_path / "out")
    assert "1.2.3.4" not in str(refusal.value)


def test_headers_that_highdicom_stumbles_over_are_one_error_without_their_values(dicom_case, tmp_path, monkeypatch):
    def stumble(*_):
        raise ValueError("bad name: Doe^Jane")

    monkeypatch.setattr("tumorspread.report.dicom_results.segmentation", stumble)
    case = dicom_case()
    with pytest.raises(ReadError, match=r"headers do not allow for DICOM results \(ValueError\)") as refusal:
        write_dicom_results(case.analysis, case.folder, tmp_path / "out")
    assert "Doe" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_an_analysis_of_another_scan_is_refused(dicom_case, tmp_path):
    case = dicom_case()
    scan, lesions = case.analysis.scan, case.analysis.lesions
    cut = replace(case.analysis, scan=scan.crop((1, 0, 0), scan.shape), lesions=lesions.crop((1, 0, 0), scan.shape))
    with pytest.raises(GeometryError, match="give the series that was analysed"):
        write_dicom_results(cut, case.folder, tmp_path / "out")


def test_of_a_tilted_gantry_results_lie_on_the_upright_grid_and_its_slices(dicom_case, tmp_path, tool):
    def tilt(slices):
        for number, dataset in enumerate(slices):
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y + 0.7 * number, z]
        return slices

    case = dicom_case(change=tilt)
    scan = read(case.folder)
    assert scan.shape[1] > case.analysis.scan.shape[1]
    mask = np.zeros(scan.shape, bool)
    mask[1:4, 4:13, 3:11] = True
    mask[2, 7:9, 6] = False
    analysis = pipeline.measure(scan, scan.with_voxels(mask))
    paths = write_dicom_results(analysis, case.folder, tmp_path / "out", rtstruct=True)
    seg, _, contours = map(pydicom.dcmread, paths)
    found = np.zeros(scan.shape, bool)
    for plane, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        index = scan.to_index(groups.PlanePositionSequence[0].ImagePositionPatient)
        assert index == pytest.approx([round(index[0]), 0, 0], abs=1e-3)
        found[round(index[0])] = plane
    assert np.array_equal(found, mask)
    assert np.array_equal(read_mask(paths[-1], scan, roi="Lesion 1").voxels, mask)
    places = {s.SOPInstanceUID: s.ImagePositionPatient[2] for s in map(pydicom.dcmread, case.folder.iterdir())}
    for contour in contours.ROIContourSequence[0].ContourSequence:
        image = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        assert float(contour.ContourData[2]) == pytest.approx(places[image])
    assert [validate(path, tool) for path in paths] == [[], [], []]


def test_of_two_series_the_one_that_was_read_is_referred_to(dicom_case, tmp_path):
    def two(slices):
        other = copy.deepcopy(slices)
        for dataset in other:
            dataset.SeriesInstanceUID = "1.2.3.77"
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        return slices + other

    case = dicom_case(change=two)
    made = pydicom.dcmread(write_dicom_results(case.analysis, case.folder, tmp_path, series=".77")[0])
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.77"


def test_what_deidentifies_the_scan_deidentifies_the_results(dicom_case, tmp_path):
    def change(dataset):
        changed = copy.deepcopy(dataset)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            setattr(changed, keyword, "2.25." + str(abs(hash(dataset[keyword].value))))
        for keyword in ("PatientName", "ReferringPhysicianName", "AccessionNumber", "StudyID", "StudyDescription"):
            setattr(changed, keyword, "")
        changed.PatientID, changed.PatientBirthDate = "PSEUDO", ""
        changed.StudyDate = changed.ContentDate = "19991231"
        changed.PatientIdentityRemoved, changed.DeidentificationMethod = "YES", "for a test"
        changed.LongitudinalTemporalInformationModified = "MODIFIED"
        return changed

    case = dicom_case()
    secrets = {str(pydicom.dcmread(p)[k].value) for p in case.folder.iterdir()
               for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")}  # fmt: skip
    secrets |= {"Doe", "4711", "19500102", "Roe", "20260130", "20260131"}
    paths = write_dicom_results(case.analysis, case.folder, tmp_path / "out", rtstruct=True, deidentify=change)
    for path in paths:
        content = path.read_bytes()
        assert [s for s in secrets if s.encode() in content] == []
        made = pydicom.dcmread(path)
        assert (made.PatientID, made.PatientIdentityRemoved) == ("PSEUDO", "YES")
        assert made.LongitudinalTemporalInformationModified == "MODIFIED"


def test_a_folder_that_cannot_be_written_is_one_error_and_leaves_nothing(dicom_case, tmp_path):
    case = dicom_case()
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match="cannot write"):
        write_dicom_results(case.analysis, case.folder, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.real
@pytest.mark.parametrize("name", ["RadPhantom-pat4", "RadPhantom-pat2"])
def test_results_of_a_real_scan_are_valid_and_give_its_mask_back(shared_data, tmp_path, tool, name):
    folder = shared_data / "dicom" / name
    scan = read(folder)
    mask = read_mask(next(folder.glob("DCM_RS_*")), scan)
    analysis = pipeline.measure(scan, mask)
    seg, report, contours = write_dicom_results(analysis, folder, tmp_path, rtstruct=True)
    assert [validate(path, tool) for path in (seg, report, contours)] == [[], [], []]
    together = np.zeros(scan.shape, bool)
    for lesion in analysis.findings.lesions:
        together |= read_mask(contours, scan, roi=f"Lesion {lesion.id}").voxels
    assert np.array_equal(together, mask.voxels)
