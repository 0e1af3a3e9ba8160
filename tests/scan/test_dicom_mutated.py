"""Damaged DICOM files by the thousand: each is read right or refused in one line, without a crash, hang or flood."""

from __future__ import annotations

import io
import re
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.fileset import FileSet
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

SLICES, VICTIM = 4, 2
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
PACKED = (RLELossless, JPEG2000Lossless, JPEGLSLossless)
REAL = Path(pydicom.data.get_testdata_file("DICOMDIR")).parent / "98892001" / "CT5N"
MAX_MIB, MAX_SECONDS = 1024, 30
# Lengths and numbers that overflow, wrap or ask for all the memory there is.
ODD_NUMBERS = [struct.pack("<I", n) for n in (0, 1, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 0xFFFFFFFE, 0xFFFFFFFF)]
# What stands at the joints of a file: item and delimiter tags, markers of JPEG, groups, VRs.
JOINTS = [
    b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xd8", b"\xff\xd9", b"\xff\xc3", b"\xff\xda",
    b"\xff\x4f\xff\x51", b"\xe0\x7f\x10\x00", b"\x02\x00\x10\x00", b"SQ\0\0", b"UN\0\0", b"OB\0\0", b"\\", b"-", b"NaN",
]  # fmt: skip


@pytest.fixture(scope="session")
def bases(tmp_path_factory, make_slices, make_enhanced, repack_as_jpeg):
    """Whole inputs by name: a folder, and the file in it to damage."""
    root = tmp_path_factory.mktemp("bases")
    found = {}
    for syntax in (*PLAIN, *PACKED):
        folder = root / syntax.replace(".", "_")
        folder.mkdir()
        for number, dataset in enumerate(make_slices(SLICES)):
            save_as(dataset, syntax, folder / f"{number}.dcm")
        found[syntax.name] = folder, f"{VICTIM}.dcm"
    found["JPEG lossless"] = shutil.copytree(found[ExplicitVRLittleEndian.name][0], root / "jpeg"), f"{VICTIM}.dcm"
    for file in sorted((root / "jpeg").iterdir()):
        repack_as_jpeg(file)
    for name, syntax in (("enhanced", ExplicitVRLittleEndian), ("enhanced RLE", RLELossless)):
        folder = root / name.replace(" ", "_")
        folder.mkdir()
        save_as(make_enhanced(make_slices(SLICES)), syntax, folder / "frames.dcm")
        found[name] = folder, "frames.dcm"
    found["real"] = shutil.copytree(REAL, root / "real"), sorted(file.name for file in REAL.iterdir())[VICTIM]
    found["DICOMDIR"] = make_medium(root / "medium", make_slices(SLICES)), "DICOMDIR"
    return found


def save_as(dataset, syntax, path):
    if syntax in PACKED:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    big, implicit = syntax == ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=not big, enforce_file_format=True)


def make_medium(folder, slices):
    medium = FileSet()
    for dataset in slices:
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "120000", "1"
        medium.add(dataset)
    medium.write(folder)
    return folder


Edit = tuple[str, float, bytes, int]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "set", "insert", "delete", "repeat", "cut", "swap"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.binary(min_size=1, max_size=6), st.sampled_from(ODD_NUMBERS), st.sampled_from(JOINTS)),
        st.integers(1, 200),
    ),
    min_size=1,
    max_size=4,
)


def mutate(content: bytes, edits: list[Edit], header_share: float) -> bytes:
    """The content after the edits; places in the first part, the headers, are drawn as often as in all the rest."""
    data = bytearray(content)
    for kind, place, value, length in edits:
        known = min(len(data), 1400)
        at = int(place / header_share * known) if place < header_share else int(place * len(data))
        if kind == "set":
            data[at : at + len(value)] = value
        elif kind == "insert":
            data[at:at] = value
        elif kind == "delete":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        elif kind == "swap":
            other = len(data) - at
            data[at : at + length], data[other : other + length] = data[other : other + length], data[at : at + length]
        elif length < 20:
            del data[at:]
    return bytes(data)


def attack(base, edits, bases, folder, reading_child):
    """Read the base with one file damaged, and check what comes of it."""
    source, victim = bases[base]
    target = folder / "scan"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    damaged = mutate((source / victim).read_bytes(), edits, 0.7)
    (target / victim).write_bytes(damaged)
    is_directory = victim == "DICOMDIR"
    for path in [target / victim] if is_directory else [target]:
        found = reading_child.read(path, save=str(folder / "voxels.npy"))
        judge(found)
        judge(reading_child.read(path, list=True))
        if found["error"] is None and not is_directory:
            compare(target, np.load(folder / "voxels.npy"))
    return found["error"]


def judge(found):
    assert found["is_ours"], f"{found['error']}: {found['message']}"
    assert found["mib"] < MAX_MIB, found
    assert found["seconds"] < MAX_SECONDS, found
    if found["error"] is not None:
        assert found["message"]
        assert "\n" not in found["message"]
        assert not re.search("Doe|Jane|SECRET|4711", found["message"]), found["message"]


def compare(folder: Path, voxels):
    """Where pydicom reads what is not compressed, every slice of ours is one of those, HU for HU."""
    theirs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in sorted(folder.iterdir()):
            try:
                dataset = pydicom.dcmread(file)
                if dataset.file_meta.TransferSyntaxUID not in PLAIN or "RescaleSlope" not in dataset:
                    return
                hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
                theirs.append(hu.astype(voxels.dtype))
            except Exception:
                return
    for plane in voxels:
        assert any(np.array_equal(plane, hu) for hu in theirs)


BASES = st.sampled_from(
    [*(s.name for s in (*PLAIN, *PACKED)), "JPEG lossless", "enhanced", "enhanced RLE", "real", "DICOMDIR"]
)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def test_each_undamaged_base_is_read(bases, reading_child):
    for name, (folder, victim) in bases.items():
        found = reading_child.read(folder / victim if victim == "DICOMDIR" else folder)
        assert found["error"] is None, f"{name}: {found['message']}"


@settings(max_examples=60, suppress_health_check=QUIET)
@given(base=BASES, edits=EDITS)
def test_a_damaged_file_is_read_right_or_refused(base, edits, bases, tmp_path, reading_child):
    attack(base, edits, bases, tmp_path, reading_child)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_5000_damaged_files_are_read_right_or_refused(bases, tmp_path, reading_child):
    outcomes = []

    @settings(max_examples=5000, suppress_health_check=QUIET, phases=[Phase.generate, Phase.shrink])
    @given(base=BASES, edits=EDITS)
    def run(base, edits):
        outcomes.append(attack(base, edits, bases, tmp_path, reading_child))

    run()
    assert len(outcomes) >= 5000
    # Some harm nothing that counts, most do: a generator that did only one of both would show nothing.
    assert 0.05 < np.mean([outcome is None for outcome in outcomes]) < 0.95


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.999])
def test_a_cut_zip_is_refused(bases, tmp_path, reading_child, cut):
    folder, _ = bases[ExplicitVRLittleEndian.name]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    content = buffer.getvalue()
    (tmp_path / "scan.zip").write_bytes(content[: int(len(content) * cut)])
    found = reading_child.read(tmp_path / "scan.zip")
    judge(found)
    assert found["error"] == "ReadError"
