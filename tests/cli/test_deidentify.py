"""The verb `deidentify`: what it writes, what it says, and that a refusal leaves nothing."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import re
import shutil
import subprocess
from datetime import date

import numpy as np
import pydicom
import pytest
from tests.scan.conftest import make_slices, save_slices

from tumorspread.scan.deidentify import Deidentifier, read_key
from tumorspread.scan.read import read

# Nothing that the digits of a random UID could hold by chance.
NAMES = ("Doe^", "DOE_", "Jane", "SECRET")


@pytest.fixture
def source(tmp_path):
    return save_slices(make_slices(3), tmp_path / "DOE_JANE")


@pytest.fixture
def key(tmp_path):
    (tmp_path / "study.key").write_text(bytes(range(32)).hex() + "\n")
    return tmp_path / "study.key"


@pytest.fixture
def hospital_scan(data, tmp_path):
    """A phantom as a scanner in a hospital would send it, a copied slice among it."""
    volume = read(data / "imagesTr" / "phantom_000.nii.gz")
    down, across = (volume.affine[:3, axis] / np.linalg.norm(volume.affine[:3, axis]) for axis in (1, 2))
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    slices = [make_slices(1)[0] for _ in volume.voxels]
    for number, (dataset, pixels) in enumerate(zip(slices, volume.voxels, strict=True)):
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            dataset[keyword].value = slices[0][keyword].value
        dataset.StudyDate = dataset.PatientBirthDate = "19480317"
        dataset.InstanceNumber, dataset.SliceThickness = number + 1, float(spacing[0])
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [float(spacing[1]), float(spacing[2])]
        dataset.ImageOrientationPatient = [float(f"{c:.8f}") for c in (*across, *down)]
        place = volume.affine @ [number, 0, 0, 1]
        dataset.ImagePositionPatient = [float(f"{c:.6f}") for c in place[:3]]
        dataset.PixelData = np.clip(pixels + 1024, 0, 4095).astype(np.uint16).tobytes()
    folder = save_slices(slices, tmp_path / "DOE_JANE")
    shutil.copy(folder / "slice_00.dcm", folder / "Jane_copy.dcm")
    return folder


def test_analyse_leaves_the_patient_out_of_everything_it_writes(run, hospital_scan, key, weights, tmp_path):
    out = tmp_path / "out"
    code, table, messages = run(
        "analyse", hospital_scan, "-o", out, "-w", weights, "--threshold", "0.01", "--rtstruct", "--deidentify", key
    )
    assert code == 0, messages
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"findings.json", "report.html", "report-sr.dcm", "seg.dcm", "rtstruct.dcm"} <= set(written)
    original = pydicom.dcmread(hospital_scan / "slice_00.dcm")
    uids = [original[f"{kind}InstanceUID"].value for kind in ("Study", "Series", "SOP")]
    # The day it was made, beside the same day shifted, would tell the shift.
    today = date.today()
    for word in (*NAMES, "19480317", f"{today:%Y%m%d}", f"{today}", *uids):
        assert word not in table + messages
        assert [name for name, content in written.items() if word.encode() in unpacked(content)] == []
    deidentifier = Deidentifier(read_key(key))
    for name in ("report-sr.dcm", "seg.dcm", "rtstruct.dcm"):
        made = pydicom.dcmread(out / name)
        assert made.PatientID == deidentifier.pseudonym("SECRET-4711")
        assert made.StudyInstanceUID == deidentifier.uid(original.StudyInstanceUID)
        assert deidentifier.uid(original.SOPInstanceUID).encode() in written[name]
        assert made.PatientIdentityRemoved == "YES"
        assert made.StudyDate < "19480317"
        assert made.get("ContentDate", made.StudyDate) == made.StudyDate
        assert made.get("ContentTime", "000000") == "000000"
    findings = json.loads(written["findings.json"])
    assert findings["scan"]["source"] == deidentifier.pseudonym("DOE_JANE")
    assert [w["text"] for w in findings["warnings"] if w["code"] == "copied_slices"] == [
        "1 files repeat others exactly and were left out"
    ]


def test_results_of_a_de_identified_scan_are_valid(run, hospital_scan, key, weights, tmp_path):
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy is missing; Debian: apt install dicom3tools")
    out = tmp_path / "out"
    code, _, messages = run(
        "analyse", hospital_scan, "-o", out, "-w", weights, "--threshold", "0.01", "--rtstruct", "--deidentify", key
    )
    assert code == 0, messages
    for path in out.glob("*.dcm"):
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", timeout=120)
        assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == [], path.name


def unpacked(content):
    """What a file says, the coded pixels of a page's pictures aside."""
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", content)


def test_analyse_warns_of_text_in_the_pictures_of_its_report(run, hospital_scan, key, weights, tmp_path):
    for path in hospital_scan.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.BurnedInAnnotation = "YES"
        dataset.save_as(path)
    arguments = ("analyse", hospital_scan, "-w", weights, "--no-dicom")
    code, _, messages = run(*arguments, "-o", tmp_path / "out", "--deidentify", key)
    assert code == 0
    assert messages.count("warning: look at the report's pictures before you share them") == 1


def test_analyse_does_not_begin_without_the_key_it_is_told_to_use(run, data, tmp_path):
    scan = data / "imagesTr" / "phantom_000.nii.gz"
    code, out, messages = run("analyse", scan, "-o", tmp_path / "out", "--deidentify", tmp_path / "none.key")
    assert (code, out) == (1, "")
    assert (
        "none.key: the key cannot be read (No such file or directory); `tumorspread deidentify` makes one" in messages
    )
    assert not (tmp_path / "out").exists()


def left_beside(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def test_a_first_run_makes_the_key_and_a_second_one_uses_it(run, source, tmp_path):
    code, table, messages = run("deidentify", source, "-o", tmp_path / "one", "--key", tmp_path / "new.key")
    assert code == 0, messages
    assert "wrote the new key" in messages
    code, _, messages = run("deidentify", source, "-o", tmp_path / "two", "--key", tmp_path / "new.key")
    assert code == 0, messages
    assert "new key" not in messages
    one, two = (
        {p.relative_to(tmp_path / o): p.read_bytes() for p in (tmp_path / o).rglob("*.dcm")} for o in ("one", "two")
    )
    assert one == two
    assert len(one) == 3
    pseudonym = Deidentifier(read_key(tmp_path / "new.key")).pseudonym("SECRET-4711")
    assert {path.parts[0] for path in one} == {pseudonym}
    assert [line.split()[-1] for line in table.splitlines() if line.startswith(("written", "patients"))] == ["3", "1"]


def test_nothing_that_is_printed_logged_or_written_names_the_patient(run, source, key, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    code, table, messages = run("deidentify", source, "-o", tmp_path / "out", "--key", key)
    assert code == 0
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm"))
    for word in NAMES:
        assert word not in table + messages + caplog.text
        assert word.encode() not in written


def test_a_picture_with_text_is_warned_of_and_listed(run, source, key, tmp_path):
    dataset = pydicom.dcmread(source / "slice_01.dcm")
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(source / "slice_01.dcm")
    code, table, messages = run("deidentify", source, "-o", tmp_path / "out", "--key", key)
    assert code == 0
    assert "to look at, burned_in" in table
    assert "warning: 1 of 3 files: the header says that text is burned into the pixels" in messages
    with (tmp_path / "out" / "look-at.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["why"] == "burned_in"
    assert pydicom.dcmread(tmp_path / "out" / row["file"]).InstanceNumber == 2

    code, table, _ = run("deidentify", source, "-o", tmp_path / "fewer", "--key", key, "--on-risk", "skip")
    assert code == 0
    assert "left out, burned_in" in table
    assert len(list((tmp_path / "fewer").rglob("*.dcm"))) == 2

    code, _, messages = run("deidentify", source, "-o", tmp_path / "none", "--key", key, "--on-risk", "refuse")
    assert code == 1
    assert "slice_01.dcm: the header says that text is burned" in messages
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing", "-o", "out", "--key", "new.key"), "missing: no such file or folder"),
        (("DOE_JANE", "-o", "DOE_JANE/out", "--key", "new.key"), "name a folder outside"),
        (("DOE_JANE", "-o", "out", "--key", "out/new.key"), "keep it elsewhere"),
        (("DOE_JANE", "-o", "out", "--key", "nowhere/new.key"), "make it first"),
        (("DOE_JANE", "-o", "full", "--key", "new.key"), "is not empty"),
        (("DOE_JANE", "-o", "out", "--key", "full/old.txt"), "not a key; expected one line of 64"),
        (("DOE_JANE", "-o", "out", "--key", "full"), "the key cannot be read"),
        (("full", "-o", "out", "--key", "new.key"), "no DICOM files to write among 1 files"),
        (("damaged", "-o", "out", "--key", "new.key"), "slice_01.dcm: .*--skip-damaged"),
    ],
)
def test_a_refusal_is_one_line_and_leaves_nothing(run, source, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.txt").write_text("a secret")
    damaged = save_slices(make_slices(2), tmp_path / "damaged") / "slice_01.dcm"
    damaged.write_bytes(damaged.read_bytes()[:-50])
    before = left_beside(tmp_path)
    code, out, messages = run("deidentify", *arguments)
    assert (code, out) == (1, "")
    assert len(messages.splitlines()) == 1
    assert re.search(words, messages), messages
    assert not [word for word in NAMES if word in messages.replace("DOE_JANE", "")]
    assert left_beside(tmp_path) == before


@pytest.mark.parametrize("arguments", [("DOE_JANE", "--key", "k"), ("DOE_JANE", "-o", "out")])
def test_an_output_and_a_key_must_be_named(run, source, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, messages = run("deidentify", *arguments)
    assert code == 2
    assert "Missing option" in messages


def test_an_unknown_way_with_risks_is_a_fault_of_usage(run, source, key, tmp_path):
    code, _, messages = run("deidentify", source, "-o", tmp_path / "out", "--key", key, "--on-risk", "ignore")
    assert code == 2
    assert "'warn', 'skip', 'refuse'" in messages


def test_the_help_shows_examples(run):
    code, out, _ = run("deidentify", "--help")
    assert code == 0
    assert "tumorspread deidentify study/ -o shared --key" in out
