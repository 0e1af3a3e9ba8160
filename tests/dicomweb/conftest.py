"""A DICOMweb service in this process."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
    seen: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def add(self, datasets):
        for one in datasets:
            buffer = io.BytesIO()
            one.save_as(buffer, enforce_file_format=True)
            self.files[str(one.SOPInstanceUID)] = buffer.getvalue()

    def headers_of(self):
        return [dcmread(io.BytesIO(content), stop_before_pixels=True) for content in self.files.values()]

    def search(self, parts, query):
        found = [one for one in self.headers_of() if one.StudyInstanceUID == parts[1]]
        found = [one for one in found if len(parts) == 3 or one.SeriesInstanceUID == parts[3]]
        offset = int(dict(pair.split("=") for pair in query.split("&") if pair).get("offset", 0))
        rows = [{"0020000E": _uid(one.SeriesInstanceUID), "00080018": _uid(one.SOPInstanceUID)} for one in found]
        # Servers answer by pages, whatever is asked for.
        return "application/dicom+json", json.dumps(rows[offset : offset + 4]).encode()

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
            parts = path.strip("/").split("/")
            is_search = parts[-1] == "instances"
            self._answer(*(web.search(parts, query) if is_search else web.retrieve(parts[3])))

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(*web.take(self.headers["Content-Type"], body))

        def _answer(self, kind, body):
            web.seen.append(dict(self.headers))
            self.send_response(web.status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            body = b"x" * len(body) if web.junk else body
            self.wfile.write(body[: len(body) - web.cut] if self.command == "GET" else body)

        def log_message(self, *args):
            pass

    return Handler


@pytest.fixture
def web():
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(web))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield web
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def net():
    return Tools
