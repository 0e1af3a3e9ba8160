"""The measurements of a report are those that were written, by whatever program, with their units and references."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tumorspread.errors import ReadError
from tumorspread.scan.dicom_seg import read_segments
from tumorspread.scan.dicom_sr import Code, MeasurementGroup, read_measurements
from tumorspread.scan.read import read_mask
from tumorspread.scan.volume import Volume

COMPREHENSIVE_3D, ENHANCED = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.22"


def item(**values):
    dataset = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value, meaning="m", scheme="DCM"):
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def content(kind, name, **values):
    return item(ValueType=kind, ConceptNameCodeSequence=name, **values)


def number(value, name="Volume", unit="mm3", *children, **values):
    measured = item(NumericValue=str(value), MeasurementUnitsCodeSequence=code(unit, unit, "UCUM"), **values)
    found = content("NUM", code("118565006", name, "SCT"), MeasuredValueSequence=[measured])
    if children:
        found.ContentSequence = list(children)
    return found


@pytest.fixture
def save_report(new_object, tmp_path):
    """A TID 1500 with one container of measurement groups, each a list of content items."""

    def build(*groups, sop_class=COMPREHENSIVE_3D, title="126000", change=None):
        dataset = new_object(sop_class)
        dataset.Modality, dataset.ConceptNameCodeSequence = "SR", code(title, "the title")
        containers = [content("CONTAINER", code("125007"), ContentSequence=list(group)) for group in groups]
        dataset.ContentSequence = [content("CONTAINER", code("126010"), ContentSequence=containers)]
        if change is not None:
            change(dataset)
        dataset.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
        return tmp_path / "sr.dcm"

    return build


def test_numbers_come_with_name_unit_derivation_and_method(save_report):
    mean = content("CODE", code("121401"), ConceptCodeSequence=code("373098007", "Mean", "SCT"))
    method = content("CODE", code("370129005", scheme="SCT"), ConceptCodeSequence=code("126030", "Sum of voxels"))
    path = save_report([number(1234.5, "Volume", "mm3", method), number(-612.25, "Density", "[hnsf'U]", mean)])
    (group,) = read_measurements(path)
    volume, density = group.measurements
    assert (volume.name, volume.value, volume.unit) == (Code("118565006", "SCT", "Volume"), 1234.5, "mm3")
    assert (volume.method, volume.derivation) == (Code("126030", "DCM", "Sum of voxels"), None)
    assert (density.value, density.unit) == (-612.25, "[hnsf'U]")
    assert (density.derivation, density.method) == (Code("373098007", "SCT", "Mean"), None)


def test_a_group_names_its_lesion_its_place_and_its_segments(save_report):
    segment = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.2.3", ReferencedSegmentNumber=2)
    several = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.2.4", ReferencedSegmentNumber=[1, 3])
    path = save_report(
        [
            content("TEXT", code("112039"), TextValue="lesion 1"),
            content("UIDREF", code("112040"), UID="2.25.7"),
            content("CODE", code("121071"), ConceptCodeSequence=code("108369006", "Neoplasm", "SCT")),
            content("CODE", code("363698007", scheme="SCT"), ConceptCodeSequence=code("39607008", "Lung", "SCT")),
            content("IMAGE", code("121191"), ReferencedSOPSequence=[segment]),
            content("IMAGE", code("121191"), ReferencedSOPSequence=[several]),
        ],
        [content("TEXT", code("112039"), TextValue="lesion 2")],
        sop_class=ENHANCED,
    )
    assert read_measurements(path) == (
        MeasurementGroup(
            "lesion 1", "2.25.7", Code("108369006", "SCT", "Neoplasm"), (Code("39607008", "SCT", "Lung"),),
            (("1.2.3", 2), ("1.2.4", 1), ("1.2.4", 3)), (),
        ),
        MeasurementGroup("lesion 2", "", None, (), (), ()),
    )  # fmt: skip


def test_a_number_that_could_not_be_measured_is_none_with_the_reason_and_zero_is_zero(save_report):
    missing = content("NUM", code("118565006", "Volume", "SCT"), MeasuredValueSequence=[])
    missing.NumericValueQualifierCodeSequence = code("114000", "Not a number")
    path = save_report([missing, number(0), number("1.00", FloatingPointValue=1.0000001)])
    absent, zero, exact = read_measurements(path)[0].measurements
    assert (absent.value, absent.unit, absent.reason) == (None, "", "Not a number")
    assert (zero.value, zero.reason) == (0.0, "")
    assert exact.value == 1.0000001


def test_a_report_that_found_nothing_has_no_groups(save_report):
    assert read_measurements(save_report()) == ()


def deepen(dataset):
    for _ in range(120):
        dataset.ContentSequence = [content("CONTAINER", code("1"), ContentSequence=dataset.ContentSequence)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.2"}, "a DICOM file of SR; expected a structured report"),
        ({"title": "111036"}, r"a report titled the title; expected an Imaging Measurement Report \(TID 1500\)"),
        ({"change": lambda d: delattr(d, "ConceptNameCodeSequence")}, "a report titled none"),
        ({"change": deepen}, "nested deeper"),
    ],
)
def test_what_is_no_such_report_is_refused_in_one_line(save_report, options, message):
    with pytest.raises(ReadError, match=message) as refusal:
        read_measurements(save_report([number(1)], **options))
    assert str(refusal.value).startswith("sr.dcm: ")
    assert "\n" not in str(refusal.value)


def test_damaged_numbers_are_refused(save_report):
    nameless = number(1)
    del nameless.ConceptNameCodeSequence
    with pytest.raises(ReadError, match="a number without a name"):
        read_measurements(save_report([nameless]))
    with pytest.raises(ReadError, match="Volume is inf; expected a finite number"):
        read_measurements(save_report([number("1", FloatingPointValue=float("inf"))]))


def test_a_report_is_no_mask(save_report):
    scan = Volume.upright(np.zeros((3, 3, 3), np.int16), (1, 1, 1))
    with pytest.raises(ReadError, match=r"sr\.dcm: a DICOM file of SR; expected a mask as SEG or RTSTRUCT"):
        read_mask(save_report([number(1)]), scan)


@pytest.fixture
def example(shared_data) -> Path:
    return shared_data / "dicom/objects/dcmqi/data/sr-example"


@pytest.mark.real
def test_the_volume_of_the_real_report_is_that_of_the_real_segment_it_refers_to(example):
    (group,) = read_measurements(example / "sr.dcm")
    header = pydicom.dcmread(example / "seg.dcm")
    assert group.segments == ((str(header.SOPInstanceUID), 1),)
    first = header.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    affine = Volume.upright(np.zeros((1, 1, 1)), (3.375, 3.537818, 3.537818)).affine.copy()
    affine[:3, 3] = [float(number) for number in first]
    scan = Volume(np.zeros((13, 128, 128), np.int16), affine)
    (volume,) = [m for m in group.measurements if m.name.meaning == "Volume"]
    assert volume.unit == "ml"
    assert volume.value == pytest.approx(
        read_segments(example / "seg.dcm", scan).voxels.sum() * scan.voxel_ml, rel=1e-4
    )


@pytest.mark.real
def test_the_real_report_reads_as_dcmqi_reads_it(example, tmp_path):
    tool = shutil.which("tid1500reader", path=str(Path(sys.executable).parent)) or shutil.which("tid1500reader")
    if tool is None:
        pytest.skip("tid1500reader of dcmqi is not installed")
    command = [tool, "--inputDICOM", str(example / "sr.dcm"), "--outputMetadata", str(tmp_path / "sr.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    theirs = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    mine = read_measurements(example / "sr.dcm")
    assert len(mine) == len(theirs) == 1
    assert mine[0].tracking_uid == theirs[0]["TrackingUniqueIdentifier"]
    assert mine[0].tracking_id == theirs[0]["TrackingIdentifier"]
    assert mine[0].finding.value == theirs[0]["Finding"]["CodeValue"]
    expected = [
        (
            one["quantity"]["CodeValue"], float(one["value"]), one["units"]["CodeValue"],
            one.get("derivationModifier", {}).get("CodeValue"),
        )
        for one in theirs[0]["measurementItems"]
    ]  # fmt: skip
    found = [
        (m.name.value, m.value, m.unit, m.derivation.value if m.derivation else None) for m in mine[0].measurements
    ]
    assert found == expected
    assert len(found) == 22
