from __future__ import annotations

import pytest

from tumorspread.data.server import Patience, look_up, open_part
from tumorspread.errors import DownloadError

PATIENCE = Patience(attempts=3, pause_s=0.01, timeout_s=5)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file.bin").write_bytes(bytes(range(256)) * 10)
    return tmp_path


def test_a_look_up_learns_size_mark_and_ranges(web_server, folder):
    remote = look_up(web_server(folder).url("file.bin"), PATIENCE)
    assert (remote.size, remote.mark, remote.has_ranges) == (2560, '"v1"', True)


def test_a_look_up_sees_that_a_server_ignores_ranges(web_server, folder):
    remote = look_up(web_server(folder, has_ranges=False).url("file.bin"), PATIENCE)
    assert (remote.size, remote.has_ranges) == (2560, False)


def test_a_weak_etag_is_no_mark(web_server, folder):
    assert look_up(web_server(folder, etag='W/"v1"').url("file.bin"), PATIENCE).mark is None


def test_a_passing_refusal_is_tried_again(web_server, folder):
    server = web_server(folder, refusals=[503, 429])
    assert look_up(server.url("file.bin"), PATIENCE).size == 2560
    assert len(server.ranges) == 3


def test_a_lasting_refusal_ends_after_all_attempts(web_server, folder):
    server = web_server(folder, refusals=[503] * 9)
    with pytest.raises(DownloadError, match=r"3 attempts \(HTTP 503 .*run the command again"):
        look_up(server.url("file.bin"), PATIENCE)
    assert len(server.ranges) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_a_final_refusal_is_not_tried_again(web_server, folder, status):
    server = web_server(folder, refusals=[status] * 9)
    with pytest.raises(DownloadError, match=f"HTTP {status}"):
        look_up(server.url("file.bin"), PATIENCE)
    assert len(server.ranges) == 1


def test_a_server_that_is_not_there_is_one_line(web_server, folder):
    with pytest.raises(DownloadError, match="ConnectionError") as caught:
        look_up("http://127.0.0.1:9/file.bin", PATIENCE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://", "ftp://127.0.0.1/file.tar", "://x"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(DownloadError, match="not an address"):
        look_up(address, PATIENCE)


def test_a_part_is_the_bytes_asked_for(web_server, folder):
    remote = look_up(web_server(folder).url("file.bin"), PATIENCE)
    with open_part(remote, 100, 103, PATIENCE) as (first, answer):
        assert (first, answer.content) == (100, bytes([100, 101, 102]))


def test_a_file_that_changed_meanwhile_is_refused(web_server, folder):
    server = web_server(folder)
    remote = look_up(server.url("file.bin"), PATIENCE)
    server.etag = '"v2"'
    with pytest.raises(DownloadError, match="changed on the server"), open_part(remote, 100, 103, PATIENCE):
        pass


def test_another_range_than_asked_for_is_refused(web_server, folder, monkeypatch):
    server = web_server(folder)
    remote = look_up(server.url("file.bin"), PATIENCE)
    honest = server._send_head
    monkeypatch.setattr(server, "_send_head", lambda h, p, first, last, n: honest(h, p, first + 1, last + 1, n))
    refused = pytest.raises(DownloadError, match=r"sent bytes 101-104 of 2560, asked for 100-103")
    with refused, open_part(remote, 100, 103, PATIENCE):
        pass
