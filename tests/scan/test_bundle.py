"""Files, folders and zips: kinds by content, limits kept, nothing unpacked, every fault our own."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tumorspread.errors import ReadError
from tumorspread.scan import bundle as module
from tumorspread.scan.bundle import file_kind, kind_of, open_bundle, plain, plain_list


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def test_the_first_bytes_tell_the_kind():
    assert {kind_of(picture(k)) for k in ("PNG", "JPEG", "TIFF")} == {"image"}
    assert kind_of(bytes(128) + b"DICM") == "dicom"
    assert kind_of(bytes(344) + b"n+1\0" + bytes(4)) == "nifti"
    assert kind_of(b"\x1f\x8b\x08") == "gzip"
    assert kind_of(b"PK\x03\x04") == "zip"
    assert kind_of(b"%PDF-1.7") == kind_of(b"") == kind_of(b"hello") == "other"


def test_a_folder_is_listed_with_its_folders_and_without_resource_forks(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/x", "a/y", "z", "a/._y", ".DS_Store"):
        (tmp_path / name).write_bytes(name.encode())
    with open_bundle(tmp_path) as bundle:
        assert bundle.files == ("a/b/x", "a/y", "z")
        with bundle.open("a/b/x") as stream:
            assert stream.read() == b"a/b/x"


def test_a_zip_gives_the_bytes_of_its_members_and_can_be_sought_in(tmp_path):
    data = np.random.default_rng(0).bytes(300_000)
    with zipfile.ZipFile(tmp_path / "scan.dcm", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/x", data)
        archive.writestr("__MACOSX/._x", "fork")
    assert file_kind(tmp_path / "scan.dcm") == "zip"
    with open_bundle(tmp_path / "scan.dcm") as bundle:
        assert bundle.files == ("in/x",)
        with bundle.open("in/x") as stream:
            stream.seek(200_000)
            assert stream.read(100) == data[200_000:200_100]
            stream.seek(5)
            assert stream.read(100) == data[5:105]


def test_zip_bombs_are_refused_before_anything_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ZIP_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2**20 + 1))
    with (
        pytest.raises(ReadError, match=r"bomb.zip: unpacks from 0.0 to 1 MiB"),
        open_bundle(tmp_path / "bomb.zip"),
    ):
        pass


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 2)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(3):
            archive.writestr(str(number), "x")
            (tmp_path / str(number)).write_text("x")
    with (
        pytest.raises(ReadError, match="3 files; expected the files of one scan"),
        open_bundle(tmp_path / "many.zip"),
    ):
        pass
    with pytest.raises(ReadError, match="more than 2 files"), open_bundle(tmp_path):
        pass


def test_damaged_encrypted_and_empty_archives_are_refused_in_our_words(tmp_path):
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "secret" * 50)
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:60])
    with pytest.raises(ReadError, match="a damaged zip"), open_bundle(path):
        pass
    locked = bytearray(whole)
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(locked)
    with pytest.raises(ReadError, match="encrypted"), open_bundle(path) as bundle, bundle.open("x"):
        pass
    wrong = bytearray(whole)
    wrong[40] ^= 1
    path.write_bytes(wrong)
    with pytest.raises(ReadError, match="CRC"), open_bundle(path) as bundle:
        bundle.kind("x")
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(ReadError, match="holds no files"), open_bundle(path):
        pass


def test_an_empty_folder_and_a_missing_path_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="holds no files"), open_bundle(tmp_path / "empty"):
        pass
    with pytest.raises(ReadError, match="no such file or folder"), open_bundle(tmp_path / "absent"):
        pass


def test_names_in_messages_are_one_short_line():
    assert plain("a\nb\x1b[31m") == "a?b?[31m"
    assert len(plain("x" * 500)) == 100
    assert plain_list(map(str, range(11))) == "0, 1, 2, 3, 4, 5, 6, 7 and 3 more"
