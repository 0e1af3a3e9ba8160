"""A DICOMweb service in this process."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import pytest
from pydicom import dcmread
from tests.pacs.conftest import Tools

BOUNDARY = "somewhere"


@dataclass
class Web:
    """A DICOMweb service in this process; the fields may be changed while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    left_out: int = 0  # files that a series is short of
    cut: int = 0  # bytes that an answer is short of
    refuses: int = 0  # failure reason of what is stored
    junk: bool = False
    secret: str = ""  # what Authorization must say
    dies_after: int | None = None  # series that are given before it hangs up on everybody
    honours_offset: bool = True
    hides: tuple[str, ...] = ()  # tags that its lists leave out
    asked: list[str] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def add(self, datasets):
        for one in datasets:
            buffer = io.BytesIO()
            one.save_as(buffer, enforce_file_format=True)
            self.files[str(one.SOPInstanceUID)] = buffer.getvalue()

    def headers_of(self):
        contents = list(self.files.values())
        return [dcmread(io.BytesIO(content), stop_before_pixels=True) for content in contents]

    def search(self, parts, query):
        asked = dict(parse_qsl(query))
        found = [one for one in self.headers_of() if len(parts) < 3 or one.StudyInstanceUID == parts[1]]
        found = [one for one in found if len(parts) < 5 or one.SeriesInstanceUID == parts[3]]
        rows = {"studies": self.studies, "series": self.series, "instances": self.instances}[parts[-1]](found, asked)
        rows = [{tag: item for tag, item in row.items() if tag not in self.hides} for row in rows]
        offset = int(asked.get("offset", 0)) if self.honours_offset else 0
        # Servers answer by pages, whatever is asked for.
        page = rows[offset : offset + min(4, int(asked.get("limit", 4)))]
        return "application/dicom+json", json.dumps(page).encode() if page else b""

    def studies(self, found, asked):
        modalities = {}
        for one in found:
            modalities.setdefault(str(one.StudyInstanceUID), (one, set()))[1].add(one.Modality)
        return [
            {
                "0020000D": _uid(one.StudyInstanceUID),
                "00080061": {"vr": "CS", "Value": sorted(held)},
                "00100020": {"vr": "LO", "Value": [one.get("PatientID")]},
                "00080020": {"vr": "DA", "Value": [one.get("StudyDate")]},
            }
            for one, held in modalities.values()
            if asked.get("ModalitiesInStudy", "CT") in held or "ModalitiesInStudy" not in asked
            if asked.get("PatientID", one.get("PatientID")) == one.get("PatientID")
        ]

    def series(self, found, asked):
        counts = Counter((str(one.SeriesInstanceUID), one.Modality) for one in found)
        return [
            {
                "0020000E": _uid(uid),
                "00080060": {"vr": "CS", "Value": [modality]},
                "00201209": {"vr": "IS", "Value": [count]},
            }
            for (uid, modality), count in counts.items()
            if asked.get("Modality", modality) == modality
        ]

    def instances(self, found, asked):
        return [
            {
                "0020000E": _uid(one.SeriesInstanceUID),
                "00080018": _uid(one.SOPInstanceUID),
                "00080016": _uid(one.SOPClassUID),
            }
            for one in found
        ]

    def retrieve(self, series):
        names = [str(one.SOPInstanceUID) for one in self.headers_of() if one.SeriesInstanceUID == series]
        body = b""
        for name in names[self.left_out :]:
            body += f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + self.files[name] + b"\r\n"
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        return kind, body + f"--{BOUNDARY}--\r\n".encode()

    def take(self, kind, body):
        message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        answer = {}
        for part in message.get_payload():
            content = part.get_payload(decode=True)
            one = dcmread(io.BytesIO(content), stop_before_pixels=True)
            item = {"00081150": _uid(one.SOPClassUID), "00081155": _uid(one.SOPInstanceUID)}
            if self.refuses:
                item["00081197"] = {"vr": "US", "Value": [self.refuses]}
            else:
                self.files[str(one.SOPInstanceUID)] = content
            answer.setdefault("00081198" if self.refuses else "00081199", {"vr": "SQ", "Value": []})["Value"] += [item]
        return "application/dicom+json", json.dumps(answer).encode()


def _uid(text):
    return {"vr": "UI", "Value": [str(text)]}


def _handler(web):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            parts = path.strip("/").removeprefix("dicom-web/").split("/")
            is_search = len(parts) % 2 == 1
            if web.dies_after is not None:
                web.dies_after -= not is_search
                if web.dies_after < 0:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
            web.asked.append(self.path)
            self._answer(*(web.search(parts, query) if is_search else web.retrieve(parts[3])))

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(*web.take(self.headers["Content-Type"], body))

        def _answer(self, kind, body):
            web.seen.append(dict(self.headers))
            is_known = not web.secret or self.headers["Authorization"] == web.secret
            self.send_response(web.status if is_known else 401)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            body = b"x" * len(body) if web.junk or not is_known else body
            self.wfile.write(body[: len(body) - web.cut] if self.command == "GET" else body)

        def log_message(self, *args):
            pass

    return Handler


@contextmanager
def served():
    """A service at a port of its own for the block."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(web))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web():
    with served() as web:
        yield web


@pytest.fixture(scope="session")
def net():
    return Tools
