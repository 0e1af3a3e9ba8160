from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections import namedtuple

import pytest

from tumorspread.data import archive, msd
from tumorspread.data.cases import find_cases
from tumorspread.data.check import check_dataset
from tumorspread.data.msd import fetch_msd_lung
from tumorspread.data.server import Patience
from tumorspread.errors import DownloadError, TumorspreadError

PATIENCE = Patience(attempts=3, pause_s=0.01, timeout_s=5)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pair(*names):
    return {"dataset.json", *(f"{part}/{name}.nii.gz" for name in names for part in ("imagesTr", "labelsTr"))}


@pytest.fixture
def server(web_server, lung_tar):
    return web_server(lung_tar.parent)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "data"


def fetch(server, out, **options):
    return fetch_msd_lung(out, source=server.url("Task06_Lung.tar"), patience=PATIENCE, **options)


def without_note(files):
    return {path: data for path, data in files.items() if not path.endswith(".txt")}


def test_the_whole_archive_is_unpacked_without_forks(server, out, lung_tar, lung_folder):
    folder = fetch(server, out, md5=hashlib.md5(lung_tar.read_bytes()).hexdigest())
    assert folder == out / "Task06_Lung"
    files = contents(folder)
    assert without_note(files) == contents(lung_folder)
    assert [data for path, data in files.items() if path.endswith(".txt")] == [b"notes"]
    assert (out / "Task06_Lung.tar").read_bytes() == lung_tar.read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["Task06_Lung", "Task06_Lung.tar"]


def test_a_second_fetch_of_the_whole_asks_the_server_nothing(server, out):
    before = contents(fetch(server, out))
    asked = len(server.ranges)
    assert contents(fetch(server, out)) == before
    assert len(server.ranges) == asked


def test_a_whole_fetch_that_breaks_off_goes_on_in_the_next_call(server, out, lung_tar, lung_folder):
    server.break_after, server.breaks = 65536, 3
    with pytest.raises(DownloadError, match="run the command again"):
        fetch(server, out)
    assert not (out / "Task06_Lung").exists()
    assert without_note(contents(fetch(server, out))) == contents(lung_folder)
    assert server.sent == lung_tar.stat().st_size + 2


def test_a_server_without_ranges_gives_the_whole(web_server, out, lung_tar, lung_folder):
    server = web_server(lung_tar.parent, has_ranges=False, break_after=100_000, breaks=2)
    assert without_note(contents(fetch(server, out))) == contents(lung_folder)


def test_a_server_without_ranges_gives_no_single_case(web_server, out, lung_tar):
    server = web_server(lung_tar.parent, has_ranges=False)
    with pytest.raises(DownloadError, match="no parts of a file; fetch the whole archive"):
        fetch(server, out, cases=["lung_001"])
    assert not (out / "Task06_Lung").exists()


def test_a_wrong_md5_unpacks_nothing(server, out):
    with pytest.raises(DownloadError, match=r"md5 .* expected 0000"):
        fetch(server, out, md5="0" * 32)
    assert not (out / "Task06_Lung").exists()
    assert list(out.glob("*.tar")) == list(out.glob("*.part")) == []


def test_the_default_address_has_the_published_md5(server, out, monkeypatch):
    monkeypatch.setattr(msd, "MSD_LUNG_URL", server.url("Task06_Lung.tar"))
    with pytest.raises(DownloadError, match=f"expected {msd.MSD_LUNG_MD5}"):
        fetch_msd_lung(out, patience=PATIENCE)


def test_single_cases_come_without_the_archive(server, out, lung_tar, lung_folder):
    folder = fetch(server, out, cases=["lung_003"])
    files, published = contents(folder), contents(lung_folder)
    assert set(files) == pair("lung_003")
    for path in set(files) - {"dataset.json"}:
        assert files[path] == published[path]
    assert not (out / "Task06_Lung.tar").exists()
    wanted = sum(len(data) for path, data in files.items() if path != "dataset.json")
    # Beside the case itself no more than one buffer for each file passed on the way.
    assert server.sent < wanted + 9 * archive.WALK_BYTES < lung_tar.stat().st_size


def test_fetched_cases_are_a_sound_data_set_of_their_own(server, out):
    folder = fetch(server, out, cases=["lung_003"])
    assert [case.name for case in find_cases(folder)] == ["lung_003"]
    assert check_dataset(folder) == ()


def test_more_cases_join_those_that_are_there(server, out):
    fetch(server, out, cases=["lung_003"])
    folder = fetch(server, out, cases=["lung_001"])
    assert set(contents(folder)) == pair("lung_001", "lung_003")
    assert json.loads((folder / "dataset.json").read_text())["partial"] == ["lung_001", "lung_003"]
    assert check_dataset(folder) == ()


def test_a_case_that_is_there_does_not_come_again(server, out):
    before = contents(fetch(server, out, cases=["lung_003"]))
    sent = server.sent
    assert contents(fetch(server, out, cases=["lung_003", "lung_003"])) == before
    assert server.sent - sent < len(before["imagesTr/lung_003.nii.gz"])


def test_the_whole_completes_a_partial_data_set(server, out, lung_folder):
    fetch(server, out, cases=["lung_003"])
    assert without_note(contents(fetch(server, out))) == contents(lung_folder)


def test_a_case_fetched_again_leaves_a_whole_data_set_whole(server, out):
    before = contents(fetch(server, out))
    assert contents(fetch(server, out, cases=["lung_001"])) == before


def test_a_test_scan_can_be_fetched_alone(server, out):
    folder = fetch(server, out, cases=["lung_002"])
    assert set(contents(folder)) == {"dataset.json", "imagesTs/lung_002.nii.gz"}


def test_an_unknown_case_names_those_there_are(server, out):
    with pytest.raises(DownloadError, match="no case lung_099; it holds lung_001, lung_002, lung_003, lung_004"):
        fetch(server, out, cases=["lung_001", "lung_099"])
    assert not (out / "Task06_Lung").exists()


def test_a_case_that_breaks_off_goes_on_in_the_next_call(server, out, lung_folder):
    published = lung_folder / "imagesTr" / "lung_001.nii.gz"
    server.break_after, server.breaks = 70_000, 3
    with pytest.raises(DownloadError, match="run the command again"):
        fetch(server, out, cases=["lung_001"])
    image = out / "Task06_Lung" / "imagesTr" / "lung_001.nii.gz"
    assert not image.exists()
    assert image.with_name(".lung_001.nii.gz.part").stat().st_size > 0
    folder = fetch(server, out, cases=["lung_001"])
    assert image.read_bytes() == published.read_bytes()
    assert set(contents(folder)) == pair("lung_001")


def test_a_case_that_comes_damaged_is_refused(web_server, out, lung_tar, tmp_path):
    damaged = tmp_path / "web" / "Task06_Lung.tar"
    damaged.parent.mkdir()
    with tarfile.open(lung_tar) as tar:
        middle = tar.getmember("Task06_Lung/imagesTr/lung_001.nii.gz").offset_data + 5000
    data = bytearray(lung_tar.read_bytes())
    data[middle : middle + 100] = bytes(100)
    damaged.write_bytes(data)
    with pytest.raises(DownloadError, match=r"lung_001.nii.gz came damaged"):
        fetch(web_server(damaged.parent), out, cases=["lung_001"])
    assert not list((out / "Task06_Lung").rglob("*lung_001*"))


@pytest.mark.parametrize("kind", ["tar", "folder of the tar", "folder", "folder above"])
@pytest.mark.parametrize("cases", [(), ("lung_004",)])
def test_a_local_source_gives_the_same_files(out, lung_tar, lung_folder, kind, cases):
    source = {
        "tar": lung_tar, "folder of the tar": lung_tar.parent, "folder": lung_folder,
        "folder above": lung_folder.parent,
    }[kind]  # fmt: skip
    files = without_note(contents(fetch_msd_lung(out, source=str(source), cases=cases)))
    if not cases:
        assert files == contents(lung_folder)
    assert set(files) == (pair("lung_004") if cases else set(contents(lung_folder)))


def test_a_local_tar_is_held_against_an_md5(out, lung_tar):
    with pytest.raises(DownloadError, match="expected 0000"):
        fetch_msd_lung(out, source=str(lung_tar), md5="0" * 32)


def test_an_unpacking_that_was_cut_short_is_completed(out, lung_tar, lung_folder):
    folder = fetch_msd_lung(out, source=str(lung_tar))
    image = folder / "imagesTr" / "lung_003.nii.gz"
    kept = folder / "imagesTr" / "lung_001.nii.gz"
    stamp = kept.stat().st_mtime_ns
    image.write_bytes(image.read_bytes()[:100])
    (folder / "dataset.json").unlink()
    assert without_note(contents(fetch_msd_lung(out, source=str(lung_tar)))) == contents(lung_folder)
    assert kept.stat().st_mtime_ns == stamp


def test_progress_counts_the_bytes_of_the_files(out, lung_tar, lung_folder):
    seen = []
    fetch_msd_lung(out, source=str(lung_folder), progress=lambda done, total: seen.append((done, total)))
    size = sum(len(data) for path, data in contents(lung_folder).items() if path != "dataset.json")
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)


@pytest.mark.parametrize("cut", [700, 0.3, 0.6, 0.9])
def test_a_tar_that_is_cut_off_is_refused(out, lung_tar, tmp_path, cut):
    data = lung_tar.read_bytes()
    (tmp_path / "short.tar").write_bytes(data[: cut if cut > 1 else int(cut * len(data))])
    with pytest.raises(DownloadError):
        fetch_msd_lung(out, source=str(tmp_path / "short.tar"))
    assert not (out / "Task06_Lung" / "dataset.json").exists()


def test_a_tar_that_ends_between_two_files_is_refused(out, lung_tar, tmp_path):
    with tarfile.open(lung_tar) as tar:
        end = tar.getmember("Task06_Lung/labelsTr/lung_004.nii.gz").offset
    (tmp_path / "short.tar").write_bytes(lung_tar.read_bytes()[:end])
    with pytest.raises(DownloadError):
        fetch_msd_lung(out, source=str(tmp_path / "short.tar"))


def test_a_file_that_is_no_tar_is_refused(out, tmp_path):
    (tmp_path / "x.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(DownloadError, match="not a readable tar"):
        fetch_msd_lung(out, source=str(tmp_path / "x.tar"))


def test_a_page_served_in_place_of_the_tar_is_refused(web_server, out, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "Task06_Lung.tar").write_bytes(b"<html>not found</html>" * 100)
    server = web_server(tmp_path / "web")
    with pytest.raises(DownloadError, match="not a readable tar"):
        fetch(server, out, cases=["lung_001"])


def test_another_archive_is_refused(out, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("Task07_Pancreas/dataset.json"))
    with pytest.raises(DownloadError, match=r"no Task06_Lung/dataset\.json"):
        fetch_msd_lung(out, source=str(tmp_path / "x.tar"))


def hostile(kind):
    info = tarfile.TarInfo({"up": "Task06_Lung/../escaped.txt", "out": "../escaped.txt"}.get(kind, "Task06_Lung/x"))
    if kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, "dataset.json"
    elif kind == "device":
        info.type = tarfile.CHRTYPE
    else:
        info.size = 4
    return info


@pytest.mark.parametrize("kind", ["up", "out", "link", "device"])
def test_a_tar_that_reaches_out_of_its_folder_is_refused(out, tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(hostile(kind), io.BytesIO(b"evil"))
    with pytest.raises(DownloadError):
        fetch_msd_lung(out, source=str(tmp_path / "x.tar"))
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_source_that_is_not_there_is_refused(out, tmp_path):
    with pytest.raises(DownloadError, match="no tar and no folder"):
        fetch_msd_lung(out, source=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("cases", [(), ("lung_001",)])
def test_a_disk_too_full_is_seen_before_the_first_byte(server, out, monkeypatch, cases):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 1000))
    with pytest.raises(DownloadError, match="GB free"):
        fetch(server, out, cases=cases)
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_a_place_that_cannot_be_written_is_refused(lung_tar, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TumorspreadError, match="cannot fill"):
        fetch_msd_lung(tmp_path / "file", source=str(lung_tar))
