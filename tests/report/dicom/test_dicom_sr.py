"""The structured report: its numbers and references, read by others' readers."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest

from tumorspread.report.dicom_results import write_dicom_results
from tumorspread.report.dicom_sr import ATTENUATION, LONG_AXIS, SHORT_AXIS, VOLUME


def report_of(case, folder):
    return write_dicom_results(case.analysis, case.folder, folder)[-1]


def test_each_lesion_has_a_group_with_its_measures_in_ucum(thorax_case, tmp_path):
    content = highdicom.sr.srread(report_of(thorax_case, tmp_path)).content
    groups = content.get_volumetric_roi_measurement_groups()
    lesions = thorax_case.analysis.findings.lesions
    assert len(groups) == len(lesions) == 2
    for group, lesion in zip(groups, lesions, strict=True):
        measured = {m.name.value: (m.value, m.unit.value) for m in group.get_measurements()}
        assert measured == {
            VOLUME.value: (pytest.approx(lesion.volume_ml), "mL"),
            LONG_AXIS.value: (pytest.approx(lesion.long_axis_mm), "mm"),
            SHORT_AXIS.value: (pytest.approx(lesion.short_axis_mm), "mm"),
            ATTENUATION.value: (pytest.approx(lesion.mean_hu), "[hnsf'U]"),
        }


def test_the_axes_end_where_the_lesion_says(thorax_case, tmp_path):
    report = pydicom.dcmread(report_of(thorax_case, tmp_path))
    frame = next(iter(thorax_case.folder.iterdir()))
    groups = named(report, "126010")[0].ContentSequence
    for group, lesion in zip(groups, thorax_case.analysis.findings.lesions, strict=True):
        for code, ends in ((LONG_AXIS, lesion.long_axis_ends_mm), (SHORT_AXIS, lesion.short_axis_ends_mm)):
            (line,) = named(group, code.value)[0].ContentSequence
            assert (line.ValueType, line.GraphicType, line.RelationshipType) == (
                "SCOORD3D",
                "POLYLINE",
                "INFERRED FROM",
            )
            assert np.reshape(line.GraphicData, (2, 3)) == pytest.approx(np.array(ends), abs=1e-4)
            assert line.ReferencedFrameOfReferenceUID == pydicom.dcmread(frame).FrameOfReferenceUID


def test_groups_track_and_refer_to_the_segments(thorax_case, tmp_path):
    seg_path, path = write_dicom_results(thorax_case.analysis, thorax_case.folder, tmp_path)
    seg = pydicom.dcmread(seg_path)
    groups = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    for group, segment in zip(groups, seg.SegmentSequence, strict=True):
        assert (group.tracking_uid, group.tracking_identifier) == (segment.TrackingUID, segment.TrackingID)
        referenced = group.referenced_segment
        assert referenced.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert referenced.referenced_segment_numbers == [segment.SegmentNumber]
        assert group.finding_type.value == "108369006"
    assert groups[0].finding_sites[0].laterality.meaning == "Left"
    series = {item.SeriesInstanceUID for study in pydicom.dcmread(path).CurrentRequestedProcedureEvidenceSequence
              for item in study.ReferencedSeriesSequence}  # fmt: skip
    assert seg.SeriesInstanceUID in series


def test_without_a_lesion_it_says_that_none_was_detected(dicom_case, tmp_path):
    case = dicom_case(np.zeros((6, 17, 15), bool))
    paths = write_dicom_results(case.analysis, case.folder, tmp_path, rtstruct=True)
    assert [path.name for path in paths] == ["report-sr.dcm"]
    report = pydicom.dcmread(paths[0])
    (group,) = named(report, "126010")[0].ContentSequence
    (finding,) = named(group, "108369006")
    assert finding.ConceptCodeSequence[0].CodeMeaning == "Not detected"
    assert named(group, VOLUME.value)[0].MeasuredValueSequence[0].NumericValue == 0


def test_the_report_is_no_final_one_and_says_what_it_is_for(dicom_case, tmp_path):
    report = pydicom.dcmread(report_of(dicom_case(), tmp_path))
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert "for research use only" in report.SeriesDescription


def test_hu_that_could_not_be_measured_are_left_out(dicom_case, tmp_path):
    case = dicom_case()
    findings = case.analysis.findings
    lesions = tuple(replace(lesion, mean_hu=None) for lesion in findings.lesions)
    analysis = replace(case.analysis, findings=replace(findings, lesions=lesions))
    path = write_dicom_results(analysis, case.folder, tmp_path)[-1]
    groups = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert [len(group.get_measurements()) for group in groups] == [3] * len(lesions)


def test_dcmqi_reads_the_same_numbers(thorax_case, tmp_path, tool):
    seg, path = write_dicom_results(thorax_case.analysis, thorax_case.folder, tmp_path)
    told_path = tmp_path / "told.json"
    command = [tool("tid1500reader"), "--inputDICOM", path, "--outputMetadata", told_path]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    told = json.loads(told_path.read_text())["Measurements"]
    for group, lesion in zip(told, thorax_case.analysis.findings.lesions, strict=True):
        numbers = [float(item["value"]) for item in group["measurementItems"]]
        assert numbers == pytest.approx([lesion.volume_ml, lesion.long_axis_mm, lesion.short_axis_mm, lesion.mean_hu])
        assert group["ReferencedSegment"] == lesion.id
        assert group["segmentationSOPInstanceUID"] == pydicom.dcmread(seg).SOPInstanceUID


@pytest.mark.parametrize("is_empty", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_pixelmed_accepts_the_template(dicom_case, tmp_path, tool, monkeypatch, is_empty):
    limits = (f"-Djdk.xml.xpath{kind}Limit=0" for kind in ("TotalOp", "ExprOp", "ExprGrp"))
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", " ".join(limits))
    path = report_of(dicom_case(np.zeros((6, 17, 15), bool) if is_empty else None), tmp_path)
    done = subprocess.run([tool("DicomSRValidator"), path], capture_output=True, text=True, timeout=120)
    assert "Found Root Template TID_1500 (MeasurementReport)" in done.stderr + done.stdout
    assert "Root Template Validation Complete" in done.stderr + done.stdout
    assert "Error" not in done.stderr + done.stdout


def named(dataset, code):
    """The content items, one level down, whose concept has that code."""
    items = dataset.get("ContentSequence", [])
    return [i for i in items if "ConceptNameCodeSequence" in i and i.ConceptNameCodeSequence[0].CodeValue == code]
