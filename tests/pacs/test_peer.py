"""Names of nodes, and certificates."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import replace

import pytest

from tumorspread.errors import NetworkError
from tumorspread.pacs.peer import Peer, check_aet, parse_peer
from tumorspread.pacs.tls import TlsFiles, client_context, server_context
from tumorspread.pacs.worker import Waits


def test_a_node_is_read_from_text():
    assert parse_peer("PACS@10.0.0.7:104") == Peer("PACS", "10.0.0.7", 104)
    assert parse_peer("MY PACS@[::1]:11112") == Peer("MY PACS", "::1", 11112)


@pytest.mark.parametrize(
    "text", ["PACS", "PACS@host", "@host:104", "PACS@host:0", "PACS@host:70000", "A" * 17 + "@h:1", "A\\B@h:1"]
)
def test_another_form_is_refused_in_one_line(text):
    with pytest.raises(NetworkError, match="expected"):
        parse_peer(text)


@pytest.mark.parametrize("text", ["", " ", "ABCDEFGHIJKLMNOPQ", "É", "A\n"])
def test_what_is_no_title_is_refused(text):
    with pytest.raises(NetworkError):
        check_aet(text)


def test_waits_double_up_to_the_longest():
    waits = Waits(5.0, 600.0)
    assert [waits.after(n) for n in (0, 1, 2, 3, 7, 500)] == [5, 10, 20, 40, 600, 600]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a certificate of 127.0.0.1 that it has signed, and one that nobody has."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    openssl(*new, "-x509", "-keyout", "odd.key", "-out", "odd.pem", "-subj", "/CN=127.0.0.1", "-days", "2")
    openssl(*new, "-keyout", "us.key", "-out", "us.csr", "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    openssl(
        "x509", "-req", "-in", "us.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-out", "us.pem", "-extfile", "names",
    )  # fmt: skip
    return folder


@pytest.fixture
def tls_files(certificates):
    return TlsFiles(certificates / "us.pem", certificates / "us.key", certificates / "ca.pem")


def test_both_ways_by_tls(net, start_listener, tls_files):
    pacs = net.Pacs(tls=server_context(tls_files)).start()
    slices = net.make_series(4)
    listener = start_listener(pacs.port, tls=tls_files)
    assert net.send(listener.port, slices, tls=(client_context(tls_files), "127.0.0.1")) == [0] * 4
    listener.wait_state(slices[0].SeriesInstanceUID, "done")
    pacs.stop()
    assert len(pacs.got) == 1


def test_who_has_no_certificate_or_no_tls_is_not_let_in(net, pacs, start_listener, tls_files, certificates):
    slices = net.make_series(2)
    listener = start_listener(pacs.port, tls=tls_files)
    assert net.send(listener.port, slices) == []
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.load_verify_locations(tls_files.authority)
    assert net.send(listener.port, slices, tls=(nameless, "127.0.0.1")) == []
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.load_verify_locations(tls_files.authority)
    stranger.load_cert_chain(certificates / "odd.pem", certificates / "odd.key")
    assert net.send(listener.port, slices, tls=(stranger, "127.0.0.1")) == []
    assert not list((listener.seat.folder / "series").iterdir())


def test_results_do_not_go_to_a_pacs_with_a_foreign_certificate(net, start_listener, tls_files, certificates):
    odd = TlsFiles(certificates / "odd.pem", certificates / "odd.key", None)
    pacs = net.Pacs(tls=server_context(odd)).start()
    slices = net.make_series(3)
    listener = start_listener(pacs.port, tls=tls_files)
    net.send(listener.port, slices, tls=(client_context(tls_files), "127.0.0.1"))
    net.wait_for(lambda: "retry" in listener.events())
    pacs.stop()
    assert pacs.got == []
    assert listener.state(slices[0].SeriesInstanceUID) == "analysed"


def test_a_caller_that_never_speaks_keeps_nobody_out(net, pacs, start_listener, tls_files):
    listener = start_listener(pacs.port, tls=tls_files)
    with socket.create_connection(("127.0.0.1", listener.port)):
        time.sleep(0.2)
        slices = net.make_series(1)
        assert net.send(listener.port, slices, tls=(client_context(tls_files), "127.0.0.1")) == [0]


def test_a_stranger_that_announces_gigabytes_is_cut_off(net, pacs, start_listener):
    listener = start_listener(pacs.port)
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as one:
        one.sendall(b"\x01\x00" + (2**32 - 1).to_bytes(4, "big") + b"x" * 1000)
        try:
            assert one.recv(1000) == b"" or True
            while one.recv(1000):
                pass
        except ConnectionError:
            pass
    assert net.send(listener.port, net.make_series(1)) == [0]


@pytest.mark.parametrize("name", ["certificate", "key", "authority"])
def test_a_file_that_is_no_certificate_is_refused(tls_files, tmp_path, name):
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(NetworkError, match="expected PEM files"):
        server_context(replace(tls_files, **{name: tmp_path / "junk.pem"}))
    with pytest.raises(NetworkError, match="expected PEM files"):
        client_context(replace(tls_files, **{name: tmp_path / "none.pem"}))
