"""A web server that fails on demand, and a small Decathlon archive with the oddities of the real one."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Volume

TRAINING = ("lung_001", "lung_003", "lung_004")
TEST = ("lung_002",)


@dataclass
class WebServer:
    """Serves one folder on 127.0.0.1; its fields may be changed while it runs."""

    folder: Path
    has_ranges: bool = True
    etag: str | None = '"v1"'
    says_length: bool = True
    break_after: int = 0  # bytes of a body that are sent before a break-off
    breaks: int = 0  # break-offs still to come
    refusals: list[int] = field(default_factory=list)  # statuses of the next answers
    ranges: list[str | None] = field(default_factory=list)  # the Range of each request so far
    sent: int = 0  # bytes of bodies so far
    address: str = ""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        path = self.folder / handler.path.lstrip("/")
        if self.refusals or not path.is_file():
            handler.send_error(self.refusals.pop(0) if self.refusals else 404)
            return
        body = path.read_bytes()
        guard = handler.headers.get("If-Range")
        first, last, size = 0, len(body) - 1, len(body)
        in_part = self.has_ranges and asked is not None and guard in (None, self.etag)
        if in_part:
            start, _, stop = str(asked).removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(stop) if stop else last, last)
        self._send_head(handler, in_part, first, last, size)
        self._send_body(handler, body[first : last + 1])

    def _send_head(self, handler: BaseHTTPRequestHandler, in_part: bool, first: int, last: int, size: int) -> None:
        handler.send_response(206 if in_part else 200)
        if in_part:
            handler.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        if self.says_length:
            handler.send_header("Content-Length", str(last - first + 1))
        else:
            handler.close_connection = True
        if self.etag is not None:
            handler.send_header("ETag", self.etag)
        handler.end_headers()

    def _send_body(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        broken = self.breaks > 0 and len(body) > self.break_after
        if broken:
            self.breaks -= 1
            body = body[: self.break_after]
        self.sent += len(body)  # before they leave: who has them all may look at once
        with contextlib.suppress(ConnectionError):
            handler.wfile.write(body)
            handler.wfile.flush()
            if broken:
                handler.close_connection = True
                handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[Callable[..., WebServer]]:
    """Start servers: `web_server(folder, has_ranges=False, ...)`."""
    running: list[ThreadingHTTPServer] = []

    def start(folder: Path, **options: object) -> WebServer:
        server = WebServer(folder, **options)  # type: ignore[arg-type]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listener.daemon_threads = True
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        running.append(listener)
        server.address = f"http://127.0.0.1:{listener.server_address[1]}"
        return server

    yield start
    for listener in running:
        listener.shutdown()
        listener.server_close()


@pytest.fixture(scope="session")
def lung_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Task06_Lung folder: three training cases, one test scan, noise that gzip cannot shrink."""
    folder = tmp_path_factory.mktemp("published") / "Task06_Lung"
    rng = np.random.default_rng(6)
    affine = np.array([[0, 0, 0.8, -100], [0, 0.8, 0, -90], [1.25, 0, 0, -200], [0, 0, 0, 1]])
    for name in (*TRAINING, *TEST):
        voxels = rng.integers(-1024, 1024, (30, 96, 96)).astype(np.int16)
        part = "imagesTs" if name in TEST else "imagesTr"
        write_nifti(Volume(voxels, affine), folder / part / f"{name}.nii.gz")
        if name in TRAINING:
            mask = np.zeros(voxels.shape, np.uint8)
            mask[8:12, 20:30, 20:30] = 1
            write_nifti(Volume(mask, affine), folder / "labelsTr" / f"{name}.nii.gz")
    content = {
        "name": "Lung", "description": "Lung and cancer", "reference": "MSD", "licence": "CC-BY-SA 4.0",
        "tensorImageSize": "3D", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "cancer"},
        "numTraining": len(TRAINING), "numTest": len(TEST),
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in TRAINING
        ],
        "test": [f"./imagesTs/{n}.nii.gz" for n in TEST],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session", params=[tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def lung_tar(request: pytest.FixtureRequest, lung_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That folder as a tar made on a Mac: a fork before each file, a long name, a time in fractions."""
    path = tmp_path_factory.mktemp("archive") / "Task06_Lung.tar"
    with tarfile.open(path, "w", format=request.param) as tar:
        for file in sorted(lung_folder.rglob("*")):
            name = file.relative_to(lung_folder.parent).as_posix()
            fork = tarfile.TarInfo(str(Path(name).with_name(f"._{file.name}")))
            fork.size = 220
            fork.mtime = 1525000000.25 if request.param == tarfile.PAX_FORMAT else 1525000000
            tar.addfile(fork, io.BytesIO(b"\x00\x05\x16\x07" * 55))
            tar.add(file, name, recursive=False)
        note = tarfile.TarInfo("Task06_Lung/" + "a_long_name_" * 12 + ".txt")
        note.size = 5
        tar.addfile(note, io.BytesIO(b"notes"))
    return path
