"""Requests that somebody else's page, another program of this machine or a damaged file might send: all refused, and
nothing is written.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import shutil
import struct
import zipfile
from contextlib import closing

import pytest
from starlette.testclient import TestClient

from tumorspread.errors import ReadError
from tumorspread.viewer.app import make_app
from tumorspread.viewer.guard import Access, Guard
from tumorspread.viewer.images import image_file
from tumorspread.viewer.jobs import Jobs
from tumorspread.viewer.shelf import Shelf, find_results

PORT, TOKEN = 8123, "the-right-token-of-this-session"
HOST = f"127.0.0.1:{PORT}"
AUTHORISED = {"host": HOST, "authorization": f"Bearer {TOKEN}"}


def do_nothing(folder, name, tell):
    raise AssertionError("no attack comes as far as an analysis")


@pytest.fixture(scope="module")
def home(first_result, tmp_path_factory):
    """A result folder, an empty one for uploads, and a file that is nobody's business."""
    folder = tmp_path_factory.mktemp("attacked")
    shutil.copytree(first_result / "result", folder / "result")
    (folder / "uploads").mkdir()
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def viewer(home):
    """A client of a viewer."""
    shelf = Shelf()
    shelf.add(home / "result")
    jobs = Jobs(home / "uploads", lambda folder: "x", do_nothing)
    yield TestClient(
        make_app(shelf, jobs, Access(PORT, TOKEN)), base_url=f"http://{HOST}", raise_server_exceptions=False
    )
    jobs.close()
    shelf.close()


def everything(folder):
    """What lies in a folder, by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        what = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = hashlib.sha256(str(what).encode()).hexdigest()
    return found


def nifti(shape=(4, 4, 4), pixdim=(1.0, 1.0, 1.0), code=1, content=b"", dims=3):
    """The bytes of a NIfTI file that claims what it likes."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, dims, *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<hh", head, 70, 4, 16)
    struct.pack_into("<8f", head, 76, 1.0, *pixdim, 0, 0, 0, 0)
    struct.pack_into("<f", head, 108, 352.0)
    struct.pack_into("<hh", head, 252, code, code)
    struct.pack_into("<12f", head, 280, *[pixdim[0], 0, 0, 0, 0, pixdim[1], 0, 0, 0, 0, pixdim[2], 0])
    head[344:348] = b"n+1\0"
    return bytes(head) + content


def zipped(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def bomb():
    """A zip of 1 MB that unpacks to 1 GiB."""
    stream = io.BytesIO()
    archive = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("slice.dcm", "w", force_zip64=True) as member:
        for _ in range(33):
            member.write(bytes(2**25))
    return stream.getvalue()


def send(content, name="ct.nii.gz", **more):
    return ("POST", "/api/cases", {"files": {"scan": (name, content)}, **more})


def edited(**body):
    return ("POST", "/api/cases/result/edits", {"json": {"revision": 0, "author": "me", **body}})


def raw(content, kind="application/json"):
    return ("POST", "/api/cases/result/edits", {"content": content, "headers": {"content-type": kind}})


RUNS = {"kind": "paint", "lesion": 1}
DELETE = {"kind": "delete", "lesion": 1}
OTHER = {"headers": {"origin": "http://evil.example"}}
ATTACKS = {
    # Paths that lead out.
    "traversal": ("GET", "/static/../../../secret.txt", {}),
    "traversal encoded": ("GET", "/static/%2e%2e%2f%2e%2e%2fsecret.txt", {}),
    "traversal encoded twice": ("GET", "/static/%252e%252e%252fsecret.txt", {}),
    "traversal with backslashes": ("GET", "/static/..%5c..%5csecret.txt", {}),
    "traversal in the case": ("GET", "/api/cases/..%2f..%2fsecret.txt/findings", {}),
    "traversal in the export": ("GET", "/api/cases/result/export/..%2f..%2f..%2fsecret.txt", {}),
    "absolute path": ("GET", "/static/%2fetc%2fpasswd", {}),
    "NUL in the case": ("GET", "/api/cases/result%00/findings", {}),
    "CRLF in the case": ("GET", "/api/cases/result%0d%0aSet-Cookie:%20a=b/findings", {}),
    "overlong UTF-8": ("GET", "/static/%c0%ae%c0%ae/secret.txt", {}),
    # Who asks.
    "foreign Host": ("GET", "/api/cases", {"headers": {"host": "evil.example"}}),
    "rebound Host": ("GET", "/api/cases", {"headers": {"host": f"evil.example:{PORT}"}}),
    "Host of another port": ("GET", "/api/cases", {"headers": {"host": "127.0.0.1:80"}}),
    "no token": ("GET", "/api/cases", {"headers": {"authorization": ""}}),
    "wrong token": ("GET", "/api/cases", {"headers": {"authorization": f"Bearer {TOKEN[:-1]}x"}}),
    "shorter token": ("GET", "/api/cases", {"headers": {"authorization": f"Bearer {TOKEN[:-1]}"}}),
    "longer token": ("GET", "/api/cases", {"headers": {"authorization": f"Bearer {TOKEN}{TOKEN}"}}),
    "token in the address of the API": ("GET", f"/api/cases?token={TOKEN}", {"headers": {"authorization": ""}}),
    "token in a foreign cookie": ("GET", "/api/cases", {"headers": {"authorization": "", "cookie": f"token={TOKEN}"}}),
    "right cookie, wrong token": ("GET", "/?token=x", {"headers": {"cookie": f"tumorspread_token_{PORT}={TOKEN}"}}),
    "foreign Origin": (*edited(**DELETE)[:2], {**edited(**DELETE)[2], **OTHER}),
    "null Origin": (*edited(**DELETE)[:2], {**edited(**DELETE)[2], "headers": {"origin": "null"}}),
    "Origin of another port": (
        *edited(**DELETE)[:2],
        {**edited(**DELETE)[2], "headers": {"origin": "http://127.0.0.1:1"}},
    ),
    "cross-site form": (*edited(**DELETE)[:2], {**edited(**DELETE)[2], "headers": {"sec-fetch-site": "cross-site"}}),
    "foreign Origin reads": ("GET", "/api/cases", OTHER),
    # Protocol.
    "TRACE": ("TRACE", "/api/cases", {}),
    "OPTIONS": ("OPTIONS", "/api/cases/result/edits", {}),
    "method override": ("POST", "/api/jobs/x", {"headers": {"x-http-method-override": "DELETE"}}),
    "websocket upgrade": ("GET", "/api/cases", {"headers": {"upgrade": "websocket", "connection": "Upgrade"}}),
    "form instead of JSON": raw(b"revision=0&author=me&kind=delete&lesion=1", "application/x-www-form-urlencoded"),
    "JSON as text": raw(json.dumps({"revision": 0, "author": "me", **DELETE}).encode(), "text/plain"),
    # Bodies.
    "deep JSON": raw(b"[" * 100_000 + b"]" * 100_000),
    "large JSON": raw(b'{"author":"' + b"a" * (9 * 2**20) + b'"}'),
    "NaN": raw(b'{"revision":NaN,"author":"me","kind":"delete","lesion":1}'),
    "number of 5,000 digits": raw(b'{"revision":' + b"9" * 5000 + b',"author":"me","kind":"delete","lesion":1}'),
    "lone surrogate": raw(b'{"revision":0,"author":"\\ud800","kind":"delete","lesion":1}'),
    "not UTF-8": raw(b'{"revision":0,"author":"\xff\xfe","kind":"delete","lesion":1}'),
    "wrong types": edited(kind="delete", lesion="1"),
    "a float for an id": edited(kind="delete", lesion=1.5),
    "true for an id": edited(kind="delete", lesion=True),
    "unknown kind": edited(kind="format", lesion=1),
    "unknown field": edited(**DELETE, path="/etc/passwd"),
    "mark-up in the author": (
        "POST",
        "/api/cases/result/edits",
        {"json": {"revision": 0, "author": "<img src=x>", **DELETE}},
    ),
    "CRLF in the author": (
        "POST",
        "/api/cases/result/edits",
        {"json": {"revision": 0, "author": "me\r\n{}", **DELETE}},
    ),
    "a run beyond the volume": edited(**RUNS, runs=[[10**9, 5]]),
    "a huge run": edited(**RUNS, runs=[[0, 2**40]]),
    "a run beyond all numbers": edited(**RUNS, runs=[[2**63, 2**63]]),
    "a negative run": edited(**RUNS, runs=[[-5, 3]]),
    "a run of negative length": edited(**RUNS, runs=[[5, -3]]),
    "too many runs": edited(**RUNS, runs=[[1, 1]] * 200_001),
    "a seed beyond the volume": edited(kind="grow", seed=[10**6, 0, 0]),
    "a lesion that is not there": edited(kind="delete", lesion=65_535),
    "a future revision": ("POST", "/api/cases/result/edits", {"json": {"revision": 7, "author": "me", **DELETE}}),
    # Files.
    "an unknown job": ("DELETE", "/api/jobs/..%2f..%2fresult", {}),
    "zip bomb": send(bomb, "ct.zip"),
    "zip that leads out": send(zipped(("../../evil.dcm", b"DICM")), "ct.zip"),
    "zip with an absolute name": send(zipped(("/etc/evil.dcm", b"DICM")), "ct.zip"),
    "zip of nothing": send(zipped(("a.txt", b"hello")), "ct.zip"),
    "NIfTI of 10^12 voxels": send(nifti((10_000, 10_000, 10_000)), "ct.nii"),
    "packed NIfTI of 10^12 voxels": send(gzip.compress(nifti((10_000, 10_000, 10_000)))),
    "packed NIfTI of more than it holds": send(gzip.compress(nifti((1000, 1000, 1000)))),
    "NIfTI of negative size": send(nifti((-4, 4, 4), content=bytes(128)), "ct.nii"),
    "NIfTI with NaN for a spacing": send(nifti(pixdim=(float("nan"), 1.0, 1.0), content=bytes(128)), "ct.nii"),
    "NIfTI without a place": send(nifti(code=0, content=bytes(128)), "ct.nii"),
    "a script": send(b"#!/bin/sh\nrm -rf /\n", "ct.nii.gz"),
    "nothing": send(b"", "ct.nii.gz"),
    "mark-up in the name": send(nifti(content=bytes(128)), "ct.nii", data={"name": "<script>alert(1)</script>"}),
    "a body without an end": (
        "POST",
        "/api/cases",
        {
            "content": b'--b\r\nContent-Disposition: form-data; name="scan"; filename="a"\r\n\r\nxx',
            "headers": {"content-type": "multipart/form-data; boundary=b"},
        },
    ),
    "multipart without a boundary": (
        "POST",
        "/api/cases",
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ),
    "a Content-Length of 10 GiB": (
        "POST",
        "/api/cases",
        {
            "content": b"x",
            "headers": {"content-type": "multipart/form-data; boundary=b", "content-length": str(10 * 2**30)},
        },
    ),
    "two scans": ("POST", "/api/cases", {"files": [("scan", ("a.nii", nifti())), ("scan", ("b.nii", nifti()))]}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_nothing_is_written(name, viewer, home):
    method, path, what = ATTACKS[name]
    if "files" in what and isinstance(what["files"], dict) and callable(what["files"]["scan"][1]):
        file, make = what["files"]["scan"]
        what = {**what, "files": {"scan": (file, make())}}
    before = everything(home)
    headers = {**AUTHORISED, **what.get("headers", {})}
    headers = {name: value for name, value in headers.items() if value}
    answer = viewer.request(method, path, **{**what, "headers": headers})
    assert 400 <= answer.status_code < 500, answer.text
    assert set(answer.json()) <= {"error", "revision"}
    assert answer.json()["error"]
    assert "secret" not in answer.text
    assert "set-cookie" not in answer.headers
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert everything(home) == before


def client_of(folder, uploads):
    shelf = Shelf()
    shelf.add(folder)
    jobs = Jobs(uploads, lambda folder: "x", do_nothing)
    return TestClient(make_app(shelf, jobs, Access(PORT, TOKEN)), base_url=f"http://{HOST}", headers=AUTHORISED)


def open_all(shelf, folder):
    shelf.add(folder)
    image_file(shelf, "result", "probability")


@pytest.mark.parametrize("name", ["lesions.nii.gz", "lungs.nii.gz", "scan.json", "probability.nii.gz"])
def test_a_link_in_the_folder_is_not_followed(name, result, tmp_path):
    (tmp_path / "elsewhere").write_text('{"secret": 1}')
    (result / name).unlink(missing_ok=True)
    (result / name).symlink_to(tmp_path / "elsewhere")
    with closing(Shelf()) as shelf, pytest.raises(ReadError, match="not followed"):
        open_all(shelf, result)


def test_edits_that_are_a_link_are_not_written_through(result, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (result / "edits").symlink_to(tmp_path / "elsewhere")
    client = client_of(result, tmp_path / "uploads")
    answer = client.post("/api/cases/result/edits", json={"revision": 0, "author": "me", **DELETE})
    assert answer.status_code == 409
    assert "not followed" in answer.json()["error"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["log.jsonl", ".lock", "0001.npz"])
def test_a_link_among_the_edits_is_not_written_through(name, result, tmp_path):
    (tmp_path / "elsewhere").write_text("kept")
    (result / "edits").mkdir()
    (result / "edits" / name).symlink_to(tmp_path / "elsewhere")
    client = client_of(result, tmp_path / "uploads")
    client.post("/api/cases/result/edits", json={"revision": 0, "author": "me", **DELETE})
    assert (tmp_path / "elsewhere").read_text() == "kept"


def test_linked_results_are_no_cases(result, tmp_path):
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "linked").symlink_to(result)
    assert find_results(tmp_path / "list") == []


def test_a_page_of_ours_may_do_what_it_does(viewer):
    cookie = {"host": HOST, "origin": f"http://{HOST}", "sec-fetch-site": "same-origin", "authorization": ""}
    with_cookie = {
        name: value for name, value in {**cookie, "cookie": f"tumorspread_token_{PORT}={TOKEN}"}.items() if value
    }
    assert viewer.get("/api/cases", headers=with_cookie).status_code == 200
    assert viewer.get("/api/cases", headers={**with_cookie, "host": f"localhost:{PORT}"}).status_code == 200
    answer = viewer.put("/api/cases/none/reviewed", headers=with_cookie, json={"reviewed": True, "author": "me"})
    assert answer.status_code == 404


def test_a_websocket_is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(None, Access(PORT, TOKEN))({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_the_first_page_sets_a_cookie_that_scripts_cannot_read(viewer, monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html>")
    monkeypatch.setattr("tumorspread.viewer.app.STATIC", tmp_path)
    viewer.cookies.clear()
    answer = viewer.get(f"/?token={TOKEN}")
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 200
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    viewer.cookies.clear()
