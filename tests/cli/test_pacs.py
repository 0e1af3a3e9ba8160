"""The verbs of the network: what they refuse, in one line, before anything is received or sent."""

from __future__ import annotations

import socket

import pytest

LISTEN = ("listen", "--aet", "SPREAD", "--port", "11112", "--to", "PACS@127.0.0.1:104")


def refusal(run, *argv):
    code, out, err = run(*argv)
    assert (code, out) == (1, "")
    assert err.startswith("tumorspread: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--to", "PACS"), "expected AET@host:port"),
        (("--to", "PACS@host:99999"), "expected AET@host:port"),
        (("--aet", "A" * 17), "no AE title"),
        (("--allow", "B\\C"), "no AE title"),
        (("--weights", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--tls-cert", "us.pem"), "--tls-key"),
        (("--tls-cert", "none.pem", "--tls-key", "none.key"), "expected PEM files"),
        (("--bind", "192.0.2.1"), "cannot listen at 192.0.2.1"),
    ],
)
def test_a_seat_that_cannot_be_taken_is_refused_in_one_line(run, tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    assert said in refusal(run, *LISTEN, *argv)


def test_a_port_that_is_taken_is_refused(run, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert "is another program there" in refusal(run, *LISTEN, "--port", port, "--folder", tmp_path / "queue")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--header-file", "none"), "cannot be read as one line"),
        (("--header-env", "NO_SUCH_NAME"), "no such environment variable"),
        (("--header-file", "none", "--header-env", "X"), "give one of them"),
    ],
)
def test_who_we_are_is_asked_before_the_server_is(run, tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_SUCH_NAME", raising=False)
    url = "http://127.0.0.1:1/dicom-web"
    assert said in refusal(run, "fetch", url, "--study", "1.2.3", "-o", tmp_path / "ct", *argv)
    (tmp_path / "seg.dcm").write_bytes(b"")
    assert said in refusal(run, "store", url, tmp_path / "seg.dcm", *argv)


def test_a_server_that_is_not_there_is_one_line(run, tmp_path):
    argv = ("fetch", "http://127.0.0.1:1/dicom-web", "--study", "1.2.3", "-o", tmp_path / "ct")
    assert "cannot be reached" in refusal(run, *argv)
    assert "expected the PEM file" in refusal(run, *argv, "--ca", tmp_path / "none.pem")
    assert not (tmp_path / "ct").exists()
