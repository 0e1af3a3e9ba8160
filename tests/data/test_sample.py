"""The sample patient: what is taken out of the wheel, and what is refused."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile

import pytest

from tumorspread.data import sample
from tumorspread.data.sample import fetch_sample
from tumorspread.errors import DatasetError, DownloadError

ROOT = "cerr/datasets/radiomics_phantom_dicom"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with two patients, and code that must stay inside."""
    path = tmp_path / "pycerr.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("pat_4/DCM_IMG_00000.dcm", "pat_4/DCM_IMG_00001.dcm", "pat_4/DCM_RS_00002.dcm"):
            archive.writestr(f"{ROOT}/{name}", name)
        archive.writestr(f"{ROOT}/pat_1/DCM_IMG_00000.dcm", "another patient")
        archive.writestr(f"{ROOT}/README_LICENSE.txt", "CC BY-NC 3.0")
        archive.writestr("cerr/__init__.py", "raise SystemExit")
    monkeypatch.setattr(sample, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_one_patient_his_contours_and_the_licence_are_unpacked_and_nothing_else(wheel, tmp_path):
    out = fetch_sample(tmp_path / "sample", wheel=wheel)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "LICENCE.txt", "ct/DCM_IMG_00000.dcm", "ct/DCM_IMG_00001.dcm", "rtstruct.dcm",
    ]  # fmt: skip
    assert (out / "rtstruct.dcm").read_text() == "pat_4/DCM_RS_00002.dcm"


def test_another_patient_is_unpacked_where_that_one_is_asked_for(wheel, tmp_path):
    out = fetch_sample(tmp_path / "sample", patient="pat_1", wheel=wheel)
    assert [path.read_text() for path in (out / "ct").iterdir()] == ["another patient"]
    with pytest.raises(DatasetError, match="pat_9: no sample patient; expected one of pat_1"):
        fetch_sample(tmp_path / "other", patient="pat_9", wheel=wheel)
    assert not (tmp_path / "other").exists()


def test_another_wheel_is_refused_and_leaves_nothing(wheel, tmp_path):
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(DownloadError, match="sha256"):
        fetch_sample(tmp_path / "sample", wheel=wheel)
    with pytest.raises(DownloadError, match=r"missing\.whl"):
        fetch_sample(tmp_path / "sample", wheel=tmp_path / "missing.whl")
    assert not (tmp_path / "sample").exists()


def test_a_folder_with_something_in_it_is_kept(wheel, tmp_path):
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty"):
        fetch_sample(tmp_path / "sample", wheel=wheel)
    assert (tmp_path / "sample" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("fault", ["no network", "no pip", "no end"])
def test_without_a_network_it_says_so(fault, tmp_path, monkeypatch):
    def run(command, **_):
        if fault == "no pip":
            raise OSError("no such file")
        if fault == "no end":
            raise subprocess.TimeoutExpired(command, 600)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution")

    monkeypatch.setattr(sample.subprocess, "run", run)
    with pytest.raises(DownloadError, match="is there a network"):
        fetch_sample(tmp_path / "sample")
    assert not (tmp_path / "sample").exists()
