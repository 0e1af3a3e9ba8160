"""Every attribute of PS3.15 Table E.1-1 is planted with a mark of its own, and looked for in the written bytes."""

from __future__ import annotations

import io
import struct
from datetime import date, timedelta

import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary, dictionary_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tumorspread.errors import ReadError
from tumorspread.scan.deidentify import Deidentifier

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
TEXTS = {"PN", "LO", "LT", "ST", "UT", "UC", "SH", "AE"}
# 5000 and 6000 stand for all their groups.
GROUPS = [(0x50020110, "LO"), (0x50003000, "OW"), (0x60003000, "OW"), (0x60024000, "LT"), (0x60000022, "LO")]
LISTED = sorted((tag[0] << 16) + tag[1] for tag in table.ALL_TAGS if len(tag) == 2)


def vr_of(tag):
    return DicomDictionary[tag][0] if tag in DicomDictionary else "UN"


class Marks:
    """A value valid for each VR that is given once only, and what of it to look for in a file."""

    def __init__(self):
        self.number = 0
        self.planted = {}

    def plant(self, dataset, tag, vr):
        self.number += 1
        if vr == "SQ":
            value = Sequence([self.item(tag)])
        else:
            value, sought = self.value(vr)
            # Two bytes of a number are everywhere: it is looked for by its tag.
            if sought is not None:
                self.planted[sought] = tag
        dataset[tag] = DataElement(tag, vr, value)

    def item(self, tag):
        """An item that holds what a sequence of its kind may hold."""
        item = Dataset()
        if tag in (Tag("ReferencedImageSequence"), Tag("SourceImageSequence")):
            self.plant(item, Tag("ReferencedSOPInstanceUID"), "UI")
        elif tag == Tag("ContentSequence"):
            item.ValueType = "TEXT"
            self.plant(item, Tag("TextValue"), "UT")
        else:
            self.plant(item, Tag("CodeMeaning"), "LO")
        return item

    def value(self, vr):
        n = self.number
        text = f"Mk{n:05}Zq"
        if vr in TEXTS:
            return text, text.encode()
        if vr in ("OB", "OW", "UN"):
            return (text + "!").encode(), text.encode()
        day = timedelta(n % 60)
        values = {
            "CS": text.upper(), "UR": f"http://{text}.example", "UI": f"1.2.3.4.{n}.777", "DS": f"7.{n:05}321",
            "IS": f"77{n:05}77", "AS": f"{n % 1000:03}Y", "US": None, "TM": f"10{n // 60 % 60:02}{n % 60:02}.{n:06}",
            "DA": f"{date(2100, 1, 1) + day:%Y%m%d}", "DT": f"{date(2120, 1, 1) + day:%Y%m%d}101112.{n:06}+0930",
        }  # fmt: skip
        value = values[vr]
        if value is None:
            return 7, None
        # The date alone is sought in a DT: its time of day is kept.
        return value, (value[:8] if vr == "DT" else value).encode()


def planted_dataset(marks, *, with_commands=True):
    """All of the table at the top and two sequences down, private groups, curves and overlays too."""
    deepest, nested, dataset = Dataset(), Dataset(), Dataset()
    for level in (dataset, deepest):
        for tag in LISTED:
            if with_commands or tag >> 16 >= 8:
                marks.plant(level, tag, vr_of(tag))
        for tag, vr in GROUPS:
            marks.plant(level, tag, vr)
        block = level.private_block(0x0009, "ACME Mk99999Zq", create=True)
        block.add_new(1, "LO", "Mk99998Zq")
        block.add_new(2, "SQ", [marks.item(0)])
        level.add_new(0x00211001, "LO", "Mk99997Zq")
    marks.planted |= {f"Mk9999{n}Zq".encode(): 0 for n in (7, 8, 9)}
    nested.ReferencedInstanceSequence = [deepest]
    dataset.ReferencedSeriesSequence = [nested]
    dataset.SOPClassUID = CT
    return dataset


def encode(dataset, syntax=ExplicitVRLittleEndian):
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.setdefault("SOPClassUID", CT).value
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.setdefault("SOPInstanceUID", "1.2.3").value
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def reread(dataset, syntax=ExplicitVRLittleEndian):
    return pydicom.dcmread(io.BytesIO(encode(dataset, syntax)))


def with_element(tag, vr, value):
    """A dataset as read from a file that ends in this element."""
    layout, unused = ("<HH2sHI", (0,)) if vr in (b"SQ", b"UN") else ("<HH2sH", ())
    element = struct.pack(layout, tag.group, tag.element, vr, *unused, len(value)) + value
    return pydicom.dcmread(io.BytesIO(encode(Dataset()) + element))


def left_in(marks, written):
    """Keywords of the attributes whose marks are in the bytes, times of day aside."""
    found = {tag for mark, tag in marks.planted.items() if mark in written and vr_of(tag) != "TM"}
    return sorted(dictionary_keyword(tag) if tag in DicomDictionary else hex(tag) for tag in found)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.name)
def test_no_value_of_the_table_is_left_in_a_file(syntax):
    marks = Marks()
    planted = reread(planted_dataset(marks, with_commands=False), syntax)
    assert len(LISTED) >= 331
    written = encode(planted)
    assert all(mark in written for mark in marks.planted)
    assert left_in(marks, encode(Deidentifier(KEY)(planted))) == []


def test_no_value_of_the_table_is_left_of_a_dataset_in_memory():
    marks = Marks()
    assert left_in(marks, encode(Deidentifier(KEY)(planted_dataset(marks)))) == []


def test_the_times_that_stay_are_those_of_events_and_not_of_a_birth():
    marks = Marks()
    written = encode(Deidentifier(KEY)(planted_dataset(marks)))
    times = {mark: tag for mark, tag in marks.planted.items() if vr_of(tag) == "TM"}
    gone = {dictionary_keyword(tag) for mark, tag in times.items() if mark not in written}
    assert gone == {"PatientBirthTime", "SelectorTMValue"}


def test_numbers_that_the_table_takes_out_are_gone():
    clean = Deidentifier(KEY)(planted_dataset(Marks()))
    removed = [(tag[0] << 16) + tag[1] for tag in table.X_TAGS if len(tag) == 2]
    left = [dictionary_keyword(tag) for tag in removed if tag in clean and vr_of(tag) not in ("DA", "DT", "TM")]
    assert left == []


def test_persons_places_and_prose_that_the_table_forgot_are_gone_too():
    marks, dataset = Marks(), Dataset()
    for tag, (vr, *_) in DicomDictionary.items():
        if tag >> 16 >= 8 and vr in ("PN", "AE", "LT", "ST", "UT", "UC"):
            marks.plant(dataset, tag, vr)
    harmless = {
        "CodingSchemeName", "CodingSchemeResponsibleOrganization", "LongCodeValue", "ExtendedCodeMeaning",
        "DetectorMode", "EXIFVersion", "SpectralSensitivity", "DelayLawIdentifier",
        "ConceptualVolumeCombinationExpression", "ImageDisplayFormat",
    }  # fmt: skip
    assert set(left_in(marks, encode(Deidentifier(KEY)(dataset)))) <= harmless


def test_an_attribute_that_no_dictionary_knows_is_taken_out():
    dataset = Dataset()
    dataset.add_new(0x00088888, "LO", "Mk00001Zq")
    assert b"Mk00001Zq" not in encode(Deidentifier(KEY)(dataset))


@pytest.fixture
def ct(make_slices):
    """A slice with what a hospital writes around it."""
    (dataset,) = make_slices(count=1)
    dataset.StudyDate, dataset.StudyTime, dataset.AcquisitionDateTime = "20200229", "101112.5", "20200301093000.25+0100"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19500607", "F", "069Y"
    dataset.InstitutionName, dataset.StationName, dataset.Manufacturer = "St Elsewhere", "CT01", "SIEMENS"
    dataset.ConvolutionKernel, dataset.KVP, dataset.ProtocolName = "B40f", 120, "Thorax Dr. House"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "A-17", "House^Gregory"
    return dataset


def test_what_geometry_and_hounsfield_units_need_stays_byte_for_byte(ct):
    clean = Deidentifier(KEY)(reread(ct))
    for keyword in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
        "RescaleIntercept", "Rows", "Columns", "PixelData", "ImageType", "Modality", "SOPClassUID", "SeriesNumber",
        "Manufacturer", "ConvolutionKernel", "KVP",
    ):  # fmt: skip
        assert clean[keyword].value == ct[keyword].value, keyword


def test_the_file_says_what_was_done(ct):
    clean = Deidentifier(KEY)(ct)
    assert clean.PatientIdentityRemoved == "YES"
    assert clean.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in clean.DeidentificationMethodCodeSequence] == ["113100", "113104", "113107"]
    assert "PS3.15" in clean.DeidentificationMethod
    assert len(clean.DeidentificationMethod) <= 64


def test_a_result_is_dated_as_its_study_and_not_by_the_day_it_was_made(ct):
    ct.ContentDate, ct.ContentTime = "20260101", "090000"
    header = Deidentifier(KEY).for_results(ct)
    assert (header.ContentDate, header.ContentTime) == (header.StudyDate, "101112.5")
    del ct.StudyDate, ct.StudyTime
    header = Deidentifier(KEY).for_results(ct)
    assert (header.ContentDate, header.ContentTime) == ("19000101", "000000")
    assert ct.ContentDate == "20260101"


def test_what_an_earlier_hand_did_to_the_pixels_stays_stated_and_its_words_go(ct):
    cleaned, dates = Dataset(), Dataset()
    cleaned.CodeValue, dates.CodeValue = "113101", "113106"
    ct.DeidentificationMethodCodeSequence, ct.DeidentificationMethod = [cleaned, dates], "script of St Elsewhere"
    clean = Deidentifier(KEY)(ct)
    codes = [item.CodeValue for item in clean.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113101", "113104", "113107"]
    assert b"Elsewhere" not in encode(clean)


def test_the_dataset_that_was_given_stays_as_it_was(ct):
    before = encode(ct)
    clean = Deidentifier(KEY)(ct)
    clean.ImageType[0] = "DERIVED"
    assert encode(ct) == before


def test_a_second_pass_changes_nothing(ct):
    once = encode(Deidentifier(KEY)(ct))
    assert encode(Deidentifier(KEY)(pydicom.dcmread(io.BytesIO(once)))) == once


def test_a_second_pass_over_everything_changes_nothing():
    once = encode(Deidentifier(KEY)(planted_dataset(Marks())))
    assert encode(Deidentifier(KEY)(pydicom.dcmread(io.BytesIO(once)))) == once


def test_a_dataset_that_only_claims_to_be_de_identified_is_not_believed(ct):
    ct.PatientIdentityRemoved, ct.LongitudinalTemporalInformationModified = "YES", "MODIFIED"
    ct.PatientID = Deidentifier(OTHER_KEY).pseudonym("SECRET-4711")
    clean = Deidentifier(KEY)(ct)
    assert clean.PatientID != ct.PatientID
    assert clean.StudyDate < "20200229"


def test_one_key_gives_one_answer_and_another_key_another(ct):
    assert encode(Deidentifier(KEY)(ct)) == encode(Deidentifier(KEY)(ct))
    one, other = Deidentifier(KEY)(ct), Deidentifier(OTHER_KEY)(ct)
    for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert one[keyword].value != other[keyword].value, keyword


@given(st.dates(date(1990, 1, 1), date(2060, 1, 1)), st.dates(date(1990, 1, 1), date(2060, 1, 1)))
def test_dates_of_a_patient_keep_their_distances_between_files(first, second):
    deidentify = Deidentifier(KEY)
    moved = []
    for day in (first, second):
        dataset = Dataset()
        dataset.PatientID, dataset.StudyDate = "P1", f"{day:%Y%m%d}"
        dataset.AcquisitionDateTime = f"{day:%Y%m%d}235959.5"
        clean = deidentify(dataset)
        moved.append(date.fromisoformat(clean.StudyDate))
        assert clean.AcquisitionDateTime == f"{clean.StudyDate}235959.5"
    assert moved[1] - moved[0] == second - first
    assert 365 <= (first - moved[0]).days <= 4015


def test_patients_are_shifted_apart():
    shifts = set()
    for number in range(30):
        dataset = Dataset()
        dataset.PatientID, dataset.StudyDate = f"P{number}", "20200301"
        shifts.add(Deidentifier(KEY)(dataset).StudyDate)
    assert len(shifts) > 20


def test_dates_of_versions_that_are_in_print_never_carry_the_shift():
    dataset, item = Dataset(), Dataset()
    item.CodeValue, item.ContextGroupVersion, item.ContextIdentifier = "T-28000", "20121129000000", "7050"
    dataset.AnatomicRegionSequence = [item]
    assert Deidentifier(KEY)(dataset).AnatomicRegionSequence[0].ContextGroupVersion == "19000101000000"


@pytest.mark.parametrize("text", ["Doe^Jane", "20201332", "20200101-20200202", "00010101"])
def test_a_date_that_is_none_goes(text):
    dataset = Dataset()
    for keyword in ("StudyDate", "SeriesDate", "AdmittingDate"):
        dataset[keyword] = DataElement(keyword, "LO", text)
    clean = Deidentifier(KEY)(reread(dataset))
    assert clean.StudyDate is None or clean.StudyDate == ""
    assert clean.SeriesDate == "19000101"
    assert "AdmittingDate" not in clean


def test_a_vr_that_lies_does_not_keep_its_value():
    dataset, item = Dataset(), Dataset()
    item.CodeMeaning = "Doe^Jane"
    dataset[Tag("ConvolutionKernel")] = DataElement(Tag("ConvolutionKernel"), "SQ", Sequence([item]))
    dataset[Tag("AnatomicRegionSequence")] = DataElement(Tag("AnatomicRegionSequence"), "LO", "Doe^Jane")
    assert b"Doe" not in encode(Deidentifier(KEY)(reread(dataset)))


@pytest.mark.parametrize(
    ("keyword", "vr"),
    [
        ("PixelSpacing", b"DS"),
        ("SeriesNumber", b"IS"),
        ("Rows", b"LO"),
        ("RelatedGeneralSOPClassUID", b"UI"),
        ("PixelPaddingValue", b"S\0"),
    ],
)
def test_words_in_the_place_of_numbers_go(keyword, vr):
    dataset = with_element(Tag(keyword), vr, b"Doe^Jane")
    assert keyword in dataset
    assert b"Doe" not in encode(Deidentifier(KEY)(dataset))


def test_a_known_sequence_in_a_file_of_unknown_vrs_is_looked_through():
    inner = Dataset()
    inner.PatientComments, inner.ReferencedSOPInstanceUID = "Doe^Jane", "1.2.3.4"
    series = Dataset()
    series.ReferencedSeriesSequence = [inner]
    held = io.BytesIO()
    pydicom.dcmwrite(held, series, implicit_vr=True, little_endian=True)
    dataset = with_element(Tag("ReferencedSeriesSequence"), b"UN", held.getvalue()[8:])
    written = encode(Deidentifier(KEY)(dataset))
    assert b"Doe" not in written
    assert b"1.2.3.4" not in written
    assert Deidentifier(KEY).uid("1.2.3.4").encode() in written


def test_names_in_any_character_set_are_one_patient():
    pseudonyms = set()
    for charset in ("ISO_IR 100", "ISO_IR 192"):
        dataset = Dataset()
        dataset.SpecificCharacterSet, dataset.PatientID, dataset.PatientName = charset, "Jürgen-1", "Müller^Jürgen"
        dataset.Manufacturer = "Groß"
        clean = reread(Deidentifier(KEY)(reread(dataset)))
        pseudonyms.add((str(clean.PatientName), clean.PatientID))
        assert clean.Manufacturer == "Groß"
    assert len(pseudonyms) == 1


def test_without_an_id_the_name_and_then_the_study_tell_patients_apart():
    def pseudonym(**values):
        dataset = Dataset()
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return Deidentifier(KEY)(dataset).PatientID

    named = pseudonym(PatientID="", PatientName="Doe^Jane", StudyInstanceUID="1.2.3")
    assert named == pseudonym(PatientName="Doe^Jane", StudyInstanceUID="1.2.4")
    assert pseudonym(StudyInstanceUID="1.2.3") != pseudonym(StudyInstanceUID="1.2.4")


def test_registered_uids_stay_and_a_makers_class_too():
    dataset = Dataset()
    dataset.SOPClassUID, dataset.FrameOfReferenceUID = "1.3.12.2.1107.5.9.1", "1.2.840.10008.1.4.1.1"
    dataset.CodingSchemeUID = "1.2.276.0.76.5.401"
    clean = Deidentifier(KEY)(dataset)
    assert clean.SOPClassUID == "1.3.12.2.1107.5.9.1"
    assert clean.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert clean.CodingSchemeUID == "1.2.276.0.76.5.401"


def test_the_file_meta_follows_and_says_nothing_of_the_sender(ct):
    ct.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    ct.file_meta.PrivateInformationCreatorUID, ct.file_meta.PrivateInformation = "1.2.3.9", b"Doe^Jane"
    original = reread(ct)
    original.preamble = b"Doe^Jane".ljust(128)
    clean = Deidentifier(KEY)(original)
    assert (
        clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID == Deidentifier(KEY).uid(ct.SOPInstanceUID)
    )
    assert clean.file_meta.TransferSyntaxUID == ct.file_meta.TransferSyntaxUID
    written = encode(clean)
    assert not any(word in written for word in (b"Doe", b"ELSEWHERE", b"1.2.3.9"))


def test_a_report_keeps_its_numbers_and_codes_and_loses_its_prose():
    def named(code, value_type, **values):
        item, name = Dataset(), Dataset()
        name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "DCM", "name"
        item.ConceptNameCodeSequence, item.ValueType = [name], value_type
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return item

    number = Dataset()
    number.NumericValue = "12.5"
    dataset = named("126000", "CONTAINER")
    dataset.PatientID = "P1"
    dataset.ContentSequence = [
        named("121071", "TEXT", TextValue="seen by Dr. House"),
        named("111001", "TEXT", TextValue="tumorspread"),
        named("112039", "TEXT", TextValue="Lesion of Jane"),
        named("121008", "PNAME", PersonName="House^Gregory"),
        named("118565006", "NUM", MeasuredValueSequence=[number]),
        named("112040", "UIDREF", UID="1.2.3.4"),
        named("121125", "DATETIME", DateTime="20200301101112"),
        named("260753009", "SCOORD3D", GraphicData=[1.5, -2.5, 3.0], GraphicType="POINT"),
    ]
    deidentify = Deidentifier(KEY)
    clean = deidentify(dataset)
    seen, program, tracking, person, volume, uid, time, point = clean.ContentSequence
    assert (seen.TextValue, person.PersonName) == ("ANONYMIZED", "ANONYMIZED")
    assert program.TextValue == "tumorspread"
    assert tracking.TextValue == deidentify.pseudonym("Lesion of Jane")
    assert volume.MeasuredValueSequence[0].NumericValue == "12.5"
    assert deidentify.uid("1.2.3.4") == uid.UID
    assert time.DateTime.endswith("101112")
    assert time.DateTime < "2020"
    assert list(point.GraphicData) == [1.5, -2.5, 3.0]


def test_regions_of_a_structure_set_lose_their_names_and_stay_apart():
    dataset = Dataset()
    for number in (1, 2):
        roi = Dataset()
        roi.ROINumber, roi.ROIName = number, "GTV of Jane"
        dataset.setdefault("StructureSetROISequence", Sequence()).value.append(roi)
    names = [roi.ROIName for roi in Deidentifier(KEY)(dataset).StructureSetROISequence]
    assert names == ["ROI 1", "ROI 2"]


def test_an_enhanced_scan_keeps_the_places_of_its_frames(make_slices, make_enhanced):
    dataset = make_enhanced(make_slices(count=3))
    clean = Deidentifier(KEY)(reread(dataset))
    places = [
        [list(group.PlanePositionSequence[0].ImagePositionPatient) for group in one.PerFrameFunctionalGroupsSequence]
        for one in (dataset, clean)
    ]
    np.testing.assert_array_equal(*places)


def test_a_damaged_attribute_is_refused_without_quoting_it():
    dataset = with_element(Tag("PatientID"), b"US", b"Doe^Jane!")
    with pytest.raises(ReadError, match="damaged DICOM attributes") as refusal:
        Deidentifier(KEY)(dataset)
    assert "Doe" not in str(refusal.value)


@pytest.mark.parametrize("key", [b"", b"secret"])
def test_a_short_key_is_refused(key):
    with pytest.raises(ReadError, match="at least 16"):
        Deidentifier(key)
