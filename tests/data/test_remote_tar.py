from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest

from tumorspread.data.remote_tar import CHUNK_BYTES, RangeReader, download, file_md5
from tumorspread.data.server import Patience, look_up
from tumorspread.errors import DownloadError

PATIENCE = Patience(attempts=3, pause_s=0.01, timeout_s=5)
SIZE = 10 * CHUNK_BYTES + 17


@pytest.fixture
def content(tmp_path):
    data = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8).tobytes()
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "file.bin").write_bytes(data)
    return data


@pytest.fixture
def fetch(tmp_path):
    """Look the file up on a server and download it to `tmp_path`/got.bin."""

    def run(server, **options):
        remote = look_up(server.url("file.bin"), PATIENCE)
        download(remote, tmp_path / "got.bin", patience=PATIENCE, **options)
        return (tmp_path / "got.bin").read_bytes()

    return run


def left_over(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.name not in ("web", "got.bin"))


def test_a_file_comes_whole_and_leaves_nothing_beside_it(web_server, tmp_path, content, fetch):
    assert fetch(web_server(tmp_path / "web"), md5=hashlib.md5(content).hexdigest().upper()) == content
    assert left_over(tmp_path) == []


def test_progress_goes_up_to_the_size(web_server, tmp_path, content, fetch):
    seen = []
    fetch(web_server(tmp_path / "web"), progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (SIZE, SIZE)


def test_a_broken_download_goes_on_where_it_stopped(web_server, tmp_path, content, fetch):
    server = web_server(tmp_path / "web", break_after=4 * CHUNK_BYTES, breaks=2)
    assert fetch(server) == content
    assert server.ranges[1:] == [
        None,
        f"bytes={4 * CHUNK_BYTES}-{SIZE - 1}",
        f"bytes={8 * CHUNK_BYTES}-{SIZE - 1}",
    ]
    assert server.sent == SIZE + 1  # one byte for the look-up


def test_a_download_that_gave_up_goes_on_in_the_next_call(web_server, tmp_path, content, fetch):
    server = web_server(tmp_path / "web", break_after=2 * CHUNK_BYTES, breaks=3)
    with pytest.raises(DownloadError, match=r"gave up after 3 attempts .* run the command again"):
        fetch(server)
    assert not (tmp_path / "got.bin").exists()
    assert (tmp_path / "got.bin.part").stat().st_size == 6 * CHUNK_BYTES
    assert fetch(server) == content
    assert server.sent == SIZE + 2  # nothing came twice but the byte of each look-up


def test_a_short_answer_that_does_not_say_its_length_is_noticed(web_server, tmp_path, content, fetch):
    server = web_server(tmp_path / "web", says_length=False, break_after=4 * CHUNK_BYTES, breaks=2)
    assert fetch(server) == content


def test_without_ranges_a_broken_download_starts_over(web_server, tmp_path, content, fetch):
    server = web_server(tmp_path / "web", has_ranges=False, break_after=4 * CHUNK_BYTES, breaks=2)
    assert fetch(server) == content


def test_a_server_that_gives_no_ranges_any_more_is_not_appended(web_server, tmp_path, content, fetch):
    server = web_server(tmp_path / "web", break_after=2 * CHUNK_BYTES, breaks=3)
    with pytest.raises(DownloadError):
        fetch(server)
    server.has_ranges = False
    assert fetch(server) == content


def test_ranges_lost_between_look_up_and_download_start_over(web_server, tmp_path, content):
    server = web_server(tmp_path / "web", break_after=4 * CHUNK_BYTES, breaks=1)
    remote = look_up(server.url("file.bin"), PATIENCE)
    server.has_ranges = False
    download(remote, tmp_path / "got.bin", patience=PATIENCE)
    assert server.ranges[2] == f"bytes={4 * CHUNK_BYTES}-{SIZE - 1}"
    assert (tmp_path / "got.bin").read_bytes() == content


def test_the_beginning_of_an_older_file_is_thrown_away(web_server, tmp_path, content, fetch):
    server = web_server(tmp_path / "web", break_after=2 * CHUNK_BYTES, breaks=3)
    with pytest.raises(DownloadError):
        fetch(server)
    newer = content[::-1]
    (tmp_path / "web" / "file.bin").write_bytes(newer)
    server.etag = '"v2"'
    assert fetch(server) == newer


def test_a_wrong_md5_leaves_neither_file_nor_beginning(web_server, tmp_path, content, fetch):
    with pytest.raises(DownloadError, match=f"md5 {hashlib.md5(content).hexdigest()}, expected {'0' * 32}"):
        fetch(web_server(tmp_path / "web"), md5="0" * 32)
    assert not (tmp_path / "got.bin").exists()
    assert not (tmp_path / "got.bin.part").exists()


def test_a_part_of_a_file_comes_alone(web_server, tmp_path, content, fetch):
    server = web_server(tmp_path / "web", break_after=CHUNK_BYTES, breaks=1)
    assert fetch(server, start=1000, stop=1000 + 3 * CHUNK_BYTES) == content[1000 : 1000 + 3 * CHUNK_BYTES]
    assert server.sent == 3 * CHUNK_BYTES + 1


def test_an_empty_part_is_an_empty_file(web_server, tmp_path, content, fetch):
    assert fetch(web_server(tmp_path / "web"), start=5, stop=5) == b""


def test_a_part_from_a_server_without_ranges_is_refused(web_server, tmp_path, content, fetch):
    with pytest.raises(DownloadError, match="no parts of a file; fetch the whole"):
        fetch(web_server(tmp_path / "web", has_ranges=False), start=5, stop=9)


def test_a_file_of_unknown_length_comes_whole(web_server, tmp_path, content, fetch):
    assert fetch(web_server(tmp_path / "web", has_ranges=False, says_length=False)) == content


def test_a_folder_that_is_not_there_is_refused(web_server, tmp_path, content):
    (tmp_path / "flat").write_text("a file")
    remote = look_up(web_server(tmp_path / "web").url("file.bin"), PATIENCE)
    with pytest.raises(DownloadError, match="cannot store"):
        download(remote, tmp_path / "flat" / "got.bin", patience=PATIENCE)


def test_a_remote_file_reads_and_seeks_like_a_local_one(web_server, tmp_path, content):
    server = web_server(tmp_path / "web", break_after=10)
    remote = look_up(server.url("file.bin"), PATIENCE)
    server.breaks = 2
    local = io.BytesIO(content)
    with io.BufferedReader(RangeReader(remote, PATIENCE), 4096) as reader:
        for offset, whence, count in [(0, 0, 5), (70000, 0, 9000), (-3, 2, 10), (-50, 1, 20), (0, 2, 1)]:
            reader.seek(offset, whence)
            local.seek(offset, whence)
            assert reader.read(count) == local.read(count)
            assert reader.tell() == local.tell()


def test_reading_in_place_needs_ranges(web_server, tmp_path, content):
    remote = look_up(web_server(tmp_path / "web", has_ranges=False).url("file.bin"), PATIENCE)
    with pytest.raises(DownloadError, match="no parts"):
        RangeReader(remote)


def test_the_md5_is_that_of_hashlib(tmp_path, content):
    assert file_md5(tmp_path / "web" / "file.bin") == hashlib.md5(content).hexdigest()
