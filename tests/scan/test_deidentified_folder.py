"""Folders of DICOM files: the same scan comes out, under other names, or nothing does."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from tests.scan.conftest import make_enhanced, make_slices, new_object, save_slices

from tumorspread.errors import OutputError, ReadError
from tumorspread.scan.deidentified_folder import CHECK_LIST, check_places, deidentify_folder, write_check_list
from tumorspread.scan.deidentify import Deidentifier
from tumorspread.scan.dicom import read_dicom
from tumorspread.scan.quiet import quiet_to_the_end

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Nothing that the digits of a random UID could hold by chance.
NAMES = (b"Doe^", b"DOE_", b"Jane", b"SECRET", b"20200301")


def deidentified(source, out, key=KEY, **options):
    out.mkdir()
    return deidentify_folder(source, out, Deidentifier(key), **options)


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dated_slices(count=4, **options):
    slices = make_slices(count, **options)
    for dataset in slices:
        dataset.StudyDate, dataset.SeriesDate, dataset.StudyTime = "20200301", "20200301", "101112"
    return slices


@pytest.fixture
def source(tmp_path):
    return save_slices(dated_slices(), tmp_path / "DOE_JANE")


@pytest.mark.parametrize("orientation", [((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), ((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8))])
def test_a_series_reads_to_the_same_volume(tmp_path, orientation):
    source = save_slices(dated_slices(orientation=orientation), tmp_path / "in")
    assert deidentified(source, tmp_path / "out").written == 4
    before, after = read_dicom(source), read_dicom(tmp_path / "out")
    np.testing.assert_array_equal(after.voxels, before.voxels)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.voxels.dtype == before.voxels.dtype
    assert after.remarks == before.remarks


def test_an_enhanced_scan_reads_to_the_same_volume(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    make_enhanced(dated_slices()).save_as(source / "enhanced.dcm", enforce_file_format=True)
    deidentified(source, tmp_path / "out")
    before, after = read_dicom(source), read_dicom(tmp_path / "out")
    np.testing.assert_array_equal(after.voxels, before.voxels)
    np.testing.assert_array_equal(after.affine, before.affine)


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "JPEG-LL.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "rtplan.dcm"]
)
def test_every_transfer_syntax_keeps_its_pixels_as_they_were_packed(tmp_path, name):
    source = Path(pydicom.data.get_testdata_file(name))
    deidentified(source, tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.dcm")
    before, after = pydicom.dcmread(source), pydicom.dcmread(path)
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert after.get("PixelData") == before.get("PixelData")
    assert str(before.get("PatientName") or "\0").encode() not in path.read_bytes()


def test_neither_names_nor_bytes_tell_who_it_was(source, tmp_path):
    deidentified(source, tmp_path / "out")
    for name, written in files_of(tmp_path / "out").items():
        assert not [word for word in NAMES if word in written or word in name.encode()]
        assert name.startswith(f"{Deidentifier(KEY).pseudonym('SECRET-4711')}/")


def test_two_runs_with_one_key_agree_to_the_byte_and_two_keys_share_no_uid(source, tmp_path):
    for out, key in (("one", KEY), ("again", KEY), ("other", OTHER_KEY)):
        deidentified(source, tmp_path / out, key)
    one, again, other = (files_of(tmp_path / out) for out in ("one", "again", "other"))
    assert one == again
    assert not set(one) & set(other)
    uids = []
    for files in (one, other):
        datasets = [pydicom.dcmread(io.BytesIO(written)) for written in files.values()]
        uids.append({d[k].value for d in datasets for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")})
    assert not uids[0] & uids[1]


def test_the_files_of_a_study_still_refer_to_one_another(source, tmp_path):
    slices = [pydicom.dcmread(path) for path in sorted(source.iterdir())]
    report, reference = new_object("1.2.840.10008.5.1.4.1.1.88.33"), Dataset()
    reference.ReferencedSOPInstanceUID, reference.ReferencedSOPClassUID = (
        slices[2].SOPInstanceUID,
        slices[2].SOPClassUID,
    )
    report.PatientID, report.StudyInstanceUID, report.StudyDate = "SECRET-4711", slices[0].StudyInstanceUID, "20200305"
    report.ReferencedInstanceSequence = [reference]
    report.save_as(source / "report.dcm", enforce_file_format=True)
    deidentified(source, tmp_path / "out")
    clean = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    (report,) = [one for one in clean if one.SOPClassUID == report.SOPClassUID]
    images = [one for one in clean if one is not report]
    assert {one.StudyInstanceUID for one in clean} == {report.StudyInstanceUID}
    assert {one.SeriesInstanceUID for one in images} == {images[0].SeriesInstanceUID}
    by_uid = {one.SOPInstanceUID: one for one in images}
    assert by_uid[report.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID].InstanceNumber == 3
    days = pydicom.valuerep.DA(report.StudyDate) - pydicom.valuerep.DA(images[0].StudyDate)
    assert days.days == 4


def test_a_later_study_of_the_patient_keeps_its_distance(source, tmp_path):
    later = save_slices(dated_slices(), tmp_path / "later")
    for path in later.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.StudyDate = "20200830"
        dataset.save_as(path)
    dates = []
    for number, folder in enumerate((source, later)):
        deidentified(folder, tmp_path / f"out{number}")
        read = [pydicom.dcmread(path) for path in (tmp_path / f"out{number}").rglob("*.dcm")]
        assert {one.PatientID for one in read} == {Deidentifier(KEY).pseudonym("SECRET-4711")}
        (day,) = {one.StudyDate for one in read}
        dates.append(pydicom.valuerep.DA(day))
    assert (dates[1] - dates[0]).days == 182


def test_a_zip_gives_what_its_folder_gives(source, tmp_path):
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in source.iterdir():
            archive.write(path, f"DOE/{path.name}")
    deidentified(source, tmp_path / "folder")
    deidentified(tmp_path / "study.zip", tmp_path / "zip")
    assert files_of(tmp_path / "zip") == files_of(tmp_path / "folder")


def test_a_uid_given_twice_loses_no_file(source, tmp_path):
    shutil.copy(source / "slice_00.dcm", source / "copy.dcm")
    assert deidentified(source, tmp_path / "out").written == 5
    assert len(files_of(tmp_path / "out")) == 5


def test_what_is_not_dicom_and_a_dicomdir_stay_behind_and_are_counted(source, tmp_path):
    (source / "letter.txt").write_text("Dear Jane Doe")
    shutil.copy(pydicom.data.get_testdata_file("DICOMDIR"), source / "DICOMDIR")
    tally = deidentified(source, tmp_path / "out")
    assert (tally.written, tally.not_dicom, tally.directories, tally.patients) == (4, 1, 1, 1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated|end of file|OSError|EOF"),
        (lambda path: path.write_bytes(b""), "empty or not DICOM"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "damaged"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name_or_left_out(source, tmp_path, damage, words):
    damage(source / "slice_02.dcm")
    with pytest.raises(ReadError, match=words) as refusal:
        deidentified(source, tmp_path / "refused")
    assert str(refusal.value).startswith("slice_02.dcm: ")
    tally = deidentified(source, tmp_path / "out", skip_damaged=True)
    assert (tally.written, tally.damaged) == (3, ("slice_02.dcm",))


@pytest.fixture
def capture(source):
    """The series, and a picture that the scanner's console drew beside it."""
    dataset = dated_slices(1)[0]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CAPTURE
    dataset.Modality, dataset.BurnedInAnnotation = "OT", "YES"
    dataset.save_as(source / "dose.dcm", enforce_file_format=True)
    return source


def test_a_picture_with_text_is_written_and_named_by_its_new_name(capture, tmp_path):
    tally = deidentified(capture, tmp_path / "out")
    assert tally.written == 5
    assert [(risk.remark.code, len(risk.files)) for risk in tally.risks] == [("burned_in", 1), ("screen_capture", 1)]
    write_check_list(tally, tmp_path / "out")
    head, *rows = (tmp_path / "out" / CHECK_LIST).read_text().splitlines()
    assert head == "why,file"
    assert [row.split(",")[0] for row in rows] == ["burned_in", "screen_capture"]
    for row in rows:
        assert pydicom.dcmread(tmp_path / "out" / row.split(",")[1]).SOPClassUID == CAPTURE


def test_a_picture_with_text_is_left_out_on_request(capture, tmp_path):
    tally = deidentified(capture, tmp_path / "out", on_risk="skip")
    assert (tally.written, tally.risks) == (4, ())
    assert [risk.files for risk in tally.risks_left_out] == [("dose.dcm",), ("dose.dcm",)]
    write_check_list(tally, tmp_path / "out")
    assert not (tmp_path / "out" / CHECK_LIST).exists()


def test_a_picture_with_text_is_refused_on_request_even_where_damaged_files_are_not(capture, tmp_path):
    with pytest.raises(ReadError, match=r"^dose\.dcm: the header says that text is burned .* --on-risk skip"):
        deidentified(capture, tmp_path / "out", on_risk="refuse", skip_damaged=True)


def test_a_damaged_file_meta_is_refused_by_the_file_s_name(source, tmp_path):
    path = source / "slice_01.dcm"
    written = path.read_bytes()
    place = written.index(b"\x02\x00\x02\x00UI") + 4
    path.write_bytes(written[:place] + b"U\0" + written[place + 2 :])
    with pytest.raises(ReadError, match=r"^slice_01\.dcm: .*--skip-damaged"):
        deidentified(source, tmp_path / "out")


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "letter.txt").write_text("x")
    with pytest.raises(ReadError, match="no DICOM files to write among 1 files"):
        deidentified(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("out", "key", "words"),
    [
        ("in/out", "k", "lies in .*name a folder outside"),
        ("in", "k", "lies in"),
        ("out", "out/k", "would lie in .*keep it elsewhere"),
        ("out", "none/k", "there is no folder .*make it first"),
    ],
)
def test_places_that_mix_what_must_stay_apart_are_refused(tmp_path, out, key, words):
    (tmp_path / "in").mkdir()
    with pytest.raises(OutputError, match=words):
        check_places(tmp_path / "in", tmp_path / out, tmp_path / key)
    check_places(tmp_path / "in", tmp_path / "out", tmp_path / "k")


def test_what_pydicom_finds_fault_with_is_not_quoted_in_a_log_or_a_warning(source, tmp_path, caplog, recwarn):
    path = source / "slice_00.dcm"
    written = path.read_bytes()
    path.write_bytes(written.replace(b"2.25.", b"Jane.").replace(b"1.2.826.", b"1.2.Jane"))
    deidentified(source, tmp_path / "out", skip_damaged=True)
    assert caplog.records == []
    assert [str(warning.message) for warning in recwarn if "Jane" in str(warning.message)] == []


MUTATED = [
    Path(pydicom.data.get_testdata_file(name)).read_bytes()
    for name in ("CT_small.dcm", "rtplan.dcm", "reportsi.dcm", "MR_small_implicit.dcm", "rtstruct.dcm")
]


def mutate(original: bytes, seed: int) -> bytes:
    chance, mutated = random.Random(seed), bytearray(original)
    for _ in range(chance.choice((1, 1, 2, 5))):
        # Most of what can break is at the front.
        place = chance.randrange(min(len(mutated), chance.choice((600, 4000, 10**9))) or 1)
        kind = chance.randrange(4)
        if kind == 0:
            mutated[place : place + 1] = bytes([chance.choice((0, 255, chance.randrange(256)))])
        elif kind == 1:
            del mutated[place : place + chance.randrange(1, 9)]
        elif kind == 2:
            mutated[place:place] = chance.randbytes(chance.randrange(1, 9))
        elif place > 200:
            del mutated[place:]
    return bytes(mutated)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(range(len(MUTATED))), st.integers(0, 2**32))
def test_a_mutated_file_is_written_whole_or_refused_in_one_line(tmp_path, caplog, which, seed):
    path, out = tmp_path / "mutated.dcm", tmp_path / "out"
    path.write_bytes(mutate(MUTATED[which], seed))
    shutil.rmtree(out, ignore_errors=True)
    try:
        tally = deidentified(path, out)
    except ReadError as error:
        refusal = str(error)
    else:
        refusal = ""
    # A library's log may quote what a file holds.
    assert caplog.records == []
    if refusal:
        assert "\n" not in refusal
        assert files_of(out) == {}
        return
    (written,) = files_of(out).values()
    assert tally.written == 1
    with quiet_to_the_end():
        clean = pydicom.dcmread(io.BytesIO(written))
        assert clean.PatientIdentityRemoved == "YES"
        assert not [element for element in clean.iterall() if element.tag.is_private]


@pytest.mark.real
@pytest.mark.parametrize("name", ["RadPhantom-pat2", "CIP-ct64"])
def test_a_real_series_reads_to_the_same_volume(shared_data, tmp_path, name):
    source = shared_data / "dicom" / name
    deidentified(source, tmp_path / "out")
    before, after = read_dicom(source), read_dicom(tmp_path / "out")
    np.testing.assert_array_equal(after.voxels, before.voxels)
    np.testing.assert_array_equal(after.affine, before.affine)


@pytest.mark.real
def test_real_segmentations_and_reports_are_as_valid_as_before(shared_data, tmp_path):
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy is missing; Debian: apt install dicom3tools")
    for path in sorted((shared_data / "dicom" / "objects").rglob("*.dcm")):
        out = tmp_path / path.stem
        deidentified(path, out)
        (clean,) = out.rglob("*.dcm")
        assert errors_of(clean) <= errors_of(path), path.name
        np.testing.assert_equal(pydicom.dcmread(clean).get("PixelData"), pydicom.dcmread(path).get("PixelData"))


def errors_of(path):
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", timeout=120)
    return {line for line in done.stderr.splitlines() if line.startswith("Error")}
