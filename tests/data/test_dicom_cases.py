"""Folders of patients' DICOM become cases; what is left has its reason in the table."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tumorspread.cli import main
from tumorspread.data.cases import find_cases, read_dataset_info
from tumorspread.data.check import check_dataset
from tumorspread.data.convert import convert
from tumorspread.data.dicom_cases import read_taken
from tumorspread.errors import DatasetError
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.volume import Volume

CT, SEG, RTSTRUCT = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "66.4", "481.3"))
SHAPE, SPACING_MM = (9, 40, 48), (2.5, 0.8, 0.7)
GRID = Volume.upright(np.zeros(SHAPE, np.int16), SPACING_MM)


def new(sop_class, modality, **values) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality = modality
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def items(*contents) -> list[Dataset]:
    found = []
    for content in contents:
        found.append(Dataset())
        for keyword, value in content.items():
            setattr(found[-1], keyword, value)
    return found


class Study:
    """A patient's folder with one CT series, to draw on."""

    def __init__(self, folder, patient="P1", seed=0):
        self.folder, self.series, self.frame = folder, generate_uid(), generate_uid()
        self.hu = np.random.default_rng(seed).integers(-1000, 400, SHAPE).astype(np.int16)
        self.hu[:, :8] = -1000
        for z, plane in enumerate(self.hu):
            dataset = new(
                CT, "CT", PatientID=patient, SeriesInstanceUID=self.series, FrameOfReferenceUID=self.frame,
                StudyInstanceUID="1.2", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], Rows=SHAPE[1], Columns=SHAPE[2],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=[0, 0, z * SPACING_MM[0]],
                PixelSpacing=list(SPACING_MM[1:]), SliceThickness=2.5, SamplesPerPixel=1, BitsAllocated=16,
                BitsStored=16, HighBit=15, PixelRepresentation=1, PhotometricInterpretation="MONOCHROME2",
                RescaleSlope=1, RescaleIntercept=0, PixelData=plane.tobytes(),
            )  # fmt: skip
            self.save(dataset, f"ct/{z}.dcm")

    def save(self, dataset, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)

    def outline(self, name, *rois, frame_only=False):
        """An RTSTRUCT of boxes (low, high) by name."""
        series = items({"SeriesInstanceUID": self.series})
        study = items({"RTReferencedSeriesSequence": series})
        reference = {"FrameOfReferenceUID": self.frame} | ({} if frame_only else {"RTReferencedStudySequence": study})
        dataset = new(RTSTRUCT, "RTSTRUCT", ReferencedFrameOfReferenceSequence=items(reference))
        named = enumerate(rois, 1)
        dataset.StructureSetROISequence = items(*({"ROINumber": i, "ROIName": n} for i, (n, *_) in named))
        drawn = [[contour(z, low, high) for z in range(low[0], high[0])] for _, low, high in rois]
        dataset.ROIContourSequence = items(
            *({"ReferencedROINumber": i, "ContourSequence": items(*own)} for i, own in enumerate(drawn, 1))
        )
        self.save(dataset, name)

    def segment(self, name, *segments, step_mm=SPACING_MM[1]):
        """A BINARY SEG of (label, meaning, mask)."""
        dataset = new(
            SEG, "SEG", SegmentationType="BINARY", Rows=SHAPE[1], Columns=SHAPE[2], SamplesPerPixel=1,
            BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0, PhotometricInterpretation="MONOCHROME2",
            NumberOfFrames=len(segments) * SHAPE[0], FrameOfReferenceUID=self.frame,
            ReferencedSeriesSequence=items({"SeriesInstanceUID": self.series}),
        )  # fmt: skip
        kinds = [items({"CodeValue": m, "CodingSchemeDesignator": "99T", "CodeMeaning": m}) for _, m, _ in segments]
        dataset.SegmentSequence = items(
            *(
                {"SegmentNumber": i, "SegmentLabel": label, "SegmentedPropertyTypeCodeSequence": kind}
                for i, ((label, *_), kind) in enumerate(zip(segments, kinds, strict=True), 1)
            )
        )
        shared = {
            "PlaneOrientationSequence": items({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}),
            "PixelMeasuresSequence": items({"PixelSpacing": [step_mm, SPACING_MM[2]]}),
        }
        dataset.SharedFunctionalGroupsSequence = items(shared)
        dataset.PerFrameFunctionalGroupsSequence = items(
            *(
                {
                    "PlanePositionSequence": items({"ImagePositionPatient": [0, 0, z * SPACING_MM[0]]}),
                    "SegmentIdentificationSequence": items({"ReferencedSegmentNumber": number}),
                }
                for number in range(1, len(segments) + 1)
                for z in range(SHAPE[0])
            )
        )
        bits = np.concatenate([mask.ravel() for *_, mask in segments])
        dataset.PixelData = np.packbits(bits, bitorder="little").tobytes()
        self.save(dataset, name)


def contour(z, low, high) -> dict:
    rows, columns = (low[1] - 0.5, high[1] - 0.5), (low[2] - 0.5, high[2] - 0.5)
    corners = [(z, rows[a], columns[b]) for a, b in ((0, 0), (0, 1), (1, 1), (1, 0))]
    points = GRID.to_world(corners).ravel()
    return {
        "ContourGeometricType": "CLOSED_PLANAR", "NumberOfContourPoints": 4, "ContourData": [f"{n:.6f}" for n in points]
    }  # fmt: skip


def box(low, high) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = True
    return mask


ONE, OTHER = ((2, 10, 10), (5, 20, 22)), ((6, 25, 30), (8, 33, 41))


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def masks(out) -> dict[str, np.ndarray]:
    return {case.name: read_nifti(case.mask).voxels.astype(bool) for case in find_cases(out)}


def test_ct_with_contours_or_segments_becomes_cases_exactly(source, tmp_path):
    """As NSCLC-Radiomics: the tumour among organs, in an RTSTRUCT of one patient and in a SEG of another."""
    drawn, coded = Study(source / "LUNG1-001/study/a", "P1"), Study(source / "LUNG1-002/study/a", "P2", seed=1)
    drawn.outline("rs/1.dcm", ("Lung-Left", (0, 5, 5), (9, 30, 30)), ("GTV-1", *ONE), ("gtv-2", *OTHER))
    coded.segment("seg/1.dcm", ("x", "Neoplasm", box(*ONE)), ("Heart", "Heart", box((0, 0, 0), (9, 9, 9))))
    steps = []
    out = convert(source, tmp_path / "out", progress=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    found = masks(out)
    assert np.array_equal(found["LUNG1-001"], box(*ONE) | box(*OTHER))
    assert np.array_equal(found["LUNG1-002"], box(*ONE))
    for case, study in zip(find_cases(out), (drawn, coded), strict=True):
        image = read_nifti(case.image)
        assert np.array_equal(image.voxels, study.hu)
        assert image.same_grid(GRID)
    assert [fault.text for fault in check_dataset(out)] == []
    rows = read_taken(out)
    assert [(row.case, row.regions, row.object) for row in rows] == [
        ("LUNG1-001", "GTV-1, gtv-2", "study/a/rs/1.dcm"), ("LUNG1-002", "x", "study/a/seg/1.dcm")
    ]  # fmt: skip
    voxel_ml = np.prod(SPACING_MM) / 1000
    assert float(rows[0].volume_ml) == pytest.approx((3 * 10 * 12 + 2 * 8 * 11) * voxel_ml, abs=5e-4)
    assert read_dataset_info(out).intensity == "hu"


@pytest.mark.parametrize("by_name", [True, False])
def test_regions_are_chosen_by_pattern(source, tmp_path, by_name):
    Study(source / "a").outline("1.dcm", ("Lung-Left", *OTHER), ("GTV-1", *ONE))
    out = convert(source, tmp_path / "out", regions=["LUNG-left"] if by_name else ["lung*", "*-1"])
    assert np.array_equal(masks(out)["a"], box(*OTHER) if by_name else box(*ONE) | box(*OTHER))


def test_of_four_readers_at_least_half_make_the_tumour_and_what_one_alone_saw_of_it_goes(source, tmp_path):
    """As LIDC-IDRI: a file a reader and nodule; the second nodule was outlined by one reader."""
    study = Study(source / "LIDC-IDRI-0001")
    for reader in range(4):
        low, high = ONE
        study.segment(f"{reader}.dcm", ("Nodule 1", "Nodule", box(low, (high[0], high[1] + reader, high[2]))))
    study.segment("4.dcm", ("Nodule 2", "Nodule", box(*OTHER)))
    out = convert(source, tmp_path / "out")
    grown = box(ONE[0], (ONE[1][0], ONE[1][1] + 2, ONE[1][2]))  # two of four reach 2 rows further
    assert np.array_equal(masks(out)["LIDC-IDRI-0001"], grown | box(*OTHER))
    assert [row.remark.startswith("one of 4 readings") for row in read_taken(out)] == [True] * 4 + [False]


def test_seg_is_taken_where_both_are_there_and_contours_where_the_seg_cannot_be(source, tmp_path):
    both, fallback = Study(source / "both", "P1"), Study(source / "fallback", "P2")
    for study in (both, fallback):
        study.outline("rs.dcm", ("GTV-1", *OTHER))
    both.segment("seg.dcm", ("GTV-1", "", box(*ONE)))
    fallback.segment("seg.dcm", ("GTV-1", "", box(*ONE)), step_mm=0.4)
    out = convert(source, tmp_path / "out")
    assert np.array_equal(masks(out)["both"], box(*ONE))
    assert np.array_equal(masks(out)["fallback"], box(*OTHER))
    remarks = {(row.patient, row.object): row.remark for row in read_taken(out)}
    assert remarks["both", "rs.dcm"] == "a SEG of the same CT was taken instead"
    assert "is on another grid than the scan" in remarks["fallback", "seg.dcm"]


def test_what_is_left_has_its_reason_and_the_rest_is_taken(source, tmp_path):
    Study(source / "good").outline("rs.dcm", ("GTV-1", *ONE), frame_only=True)
    Study(source / "nothing drawn", "P2")
    organs, gap, strange, damaged = (Study(source / name, name) for name in ("organs", "gap", "strange", "damaged"))
    organs.outline("rs.dcm", ("Heart", *ONE))
    gap.outline("rs.dcm", ("GTV-1", *ONE))
    (gap.folder / "ct/4.dcm").unlink()
    strange.series = strange.frame = generate_uid()
    strange.outline("rs.dcm", ("GTV-1", *ONE))
    damaged.outline("rs.dcm", ("GTV-1", *ONE))
    whole = (damaged.folder / "rs.dcm").read_bytes()
    (damaged.folder / "rs.dcm").write_bytes(whole[: len(whole) - 300])
    (source / "empty").mkdir()
    (source / "notes").mkdir()
    (source / "notes/readme.txt").write_text("no DICOM")
    out = convert(source, tmp_path / "out")
    assert [case.name for case in find_cases(out)] == ["good"]
    remarks = {row.patient: row.remark for row in read_taken(out) if row.object or row.patient == "nothing drawn"}
    assert remarks["good"] == ""
    assert remarks["nothing drawn"] == "no SEG or RTSTRUCT was drawn on it"
    assert remarks["organs"] == "no region is named as tumours are; found Heart; choose with --roi"
    assert remarks["gap"].startswith("the CT: ct: 1 of the slices, 2.50 mm apart, are missing")
    assert remarks["strange"] == "was drawn on none, or on several, of the 1 CT series here"
    assert "cut off" in remarks["damaged"] or "damaged" in remarks["damaged"]


def test_a_ct_of_which_one_of_two_files_cannot_be_read_is_no_case(source, tmp_path):
    """The lesion in that file would be taught as none."""
    Study(source / "good").segment("seg.dcm", ("nodule", "", box(*ONE)))
    half, hurt = Study(source / "half", "P2"), Study(source / "hurt", "P3")
    half.segment("1.dcm", ("nodule 1", "", box(*ONE)))
    half.segment("2.dcm", ("nodule 2", "", box(*OTHER)), step_mm=0.4)
    hurt.segment("1.dcm", ("nodule 1", "", box(*ONE)))
    hurt.segment("2.dcm", ("nodule 2", "", box(*OTHER)))
    whole = (hurt.folder / "2.dcm").read_bytes()
    (hurt.folder / "2.dcm").write_bytes(whole[:700])
    out = convert(source, tmp_path / "out")
    assert [case.name for case in find_cases(out)] == ["good"]
    remarks = {(row.patient, row.object): row.remark for row in read_taken(out)}
    assert remarks["half", "1.dcm"].startswith("another file drawn on the same CT cannot be read")
    assert "another grid" in remarks["half", "2.dcm"]
    assert remarks["hurt", "1.dcm"].startswith("a damaged file in the patient's folder may be drawn on the same CT")
    assert [row.volume_ml for row in read_taken(out) if row.patient != "good"] == [""] * 4


def test_nothing_to_take_is_refused_with_the_first_reasons_and_leaves_nothing(source, tmp_path):
    Study(source / "organs").outline("rs.dcm", ("Heart", *ONE))
    with pytest.raises(
        DatasetError, match=r"nothing can be taken of it; organs: no region is named .*Heart"
    ) as refusal:
        convert(source, tmp_path / "out")
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_two_folders_of_one_patient_are_one_patient_and_two_names_never_become_one(source, tmp_path):
    for number, (name, patient) in enumerate({"scan 1": "P", "scan_1": "P", "other": "Q"}.items()):
        Study(source / name, patient, seed=number).outline("rs.dcm", ("GTV-1", *ONE))
    info = read_dataset_info(convert(source, tmp_path / "out"))
    assert info.patients == {"other": "other", "scan_1": "scan 1", "scan_1_2": "scan 1"}


def test_the_folder_of_one_patient_is_enough(source, tmp_path):
    Study(source / "patient").outline("rs.dcm", ("GTV-1", *ONE))
    shutil.move(source / "patient/rs.dcm", source / "rs.dcm")
    assert [case.name for case in find_cases(convert(source, tmp_path / "out"))] == ["source"]


def test_the_command_prints_the_table_and_no_identity(source, tmp_path, monkeypatch, capsys):
    Study(source / "a", "SECRET-4711").outline("rs.dcm", ("GTV-1", *ONE))
    Study(source / "b", "SECRET-4712").outline("rs.dcm", ("Heart", *ONE))
    argv = ["tumorspread", "data", "convert", str(source), "-o", str(tmp_path / "out"), "--roi", "gtv*"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert end.value.code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["patient", "a", "b"]
    assert "choose with --roi" in out
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".csv"))
    assert "SECRET" not in out + err + written.decode()


@pytest.mark.parametrize("option", [{"spacing_mm": (1, 1, 1)}, {"window_hu": (-1000, 400)}, {"seed": 1}])
def test_options_of_other_sources_are_refused(source, tmp_path, option):
    Study(source / "a").outline("rs.dcm", ("GTV-1", *ONE))
    with pytest.raises(DatasetError, match="leave these options out"):
        convert(source, tmp_path / "out", **option)


@pytest.mark.real
def test_real_patients_become_cases(shared_data, tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("RadPhantom-pat2", "RadPhantom-pat4", "CIP-ct64"):
        (folder / name).symlink_to(shared_data / "dicom" / name)
    out = convert(folder, tmp_path / "out")
    assert [fault.text for fault in check_dataset(out) if fault.level == "fault"] == []
    volumes = {row.case: float(row.volume_ml) for row in read_taken(out) if row.case}
    # Beside the data stand 6.65 and 125.5 mL, of masks that take in a rim of a quarter of a pixel.
    assert volumes == {
        "RadPhantom-pat2": pytest.approx(6.65, rel=0.05),
        "RadPhantom-pat4": pytest.approx(125.5, rel=0.03),
    }
