"""A real PACS, an Orthanc of its own for each test, and the listener as a program of its own that can be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tumorspread.pacs.audit import read_rows
from tumorspread.pacs.record import read_record

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
# Sends every CT series on when nothing has come for `StableAge` seconds; what the listener makes is none.
FORWARD = """
function OnStableSeries(series, tags, metadata)
  if tags['Modality'] == 'CT' then
    RestApiPost('/modalities/spread/store', series)
  end
end
"""


def missing_tools() -> str:
    """What of it all is not installed here."""
    names = [name for name in ("Orthanc", "storescu") if find(name) is None]
    return ", ".join([*names, *([] if PLUGIN.exists() else [str(PLUGIN)])])


def find(name: str) -> str | None:
    """The program; Debian keeps servers where not everybody's PATH looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


class Orthanc:
    """An Orthanc at free ports that knows the listener as `spread`."""

    def __init__(self, folder: Path, free_port, wait_for, listener_port: int) -> None:
        self.dicom, self.http = free_port(), free_port()
        self.web = f"http://127.0.0.1:{self.http}/dicom-web"
        self._folder, self._wait_for = folder, wait_for
        folder.mkdir()
        (folder / "forward.lua").write_text(FORWARD)
        settings = {
            "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": "ORTHANC", "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "StableAge": 1,
            "DicomModalities": {"spread": ["SPREAD", "127.0.0.1", listener_port]},
            "Plugins": [str(PLUGIN)], "LuaScripts": [str(folder / "forward.lua")],
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [find("Orthanc"), str(self._folder / "orthanc.json")], stdout=log, stderr=log
            )
        self._wait_for(self._answers, seconds=60)

    def stop(self) -> None:
        """End it, and wait until its files are closed."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(60)

    def freeze(self) -> None:
        """A PACS that takes connections and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self.process.send_signal(signal.SIGCONT)

    def get(self, path: str):
        """An answer of its REST interface."""
        answer = requests.get(f"http://127.0.0.1:{self.http}{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body) -> requests.Response:
        """The same, with something to do."""
        return requests.post(f"http://127.0.0.1:{self.http}{path}", json=body, timeout=60)

    def instances(self, study: str, modality: str) -> list[str]:
        """SOPInstanceUIDs of what a study holds of a modality."""
        query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study, "Modality": modality}}
        return sorted(found["MainDicomTags"]["SOPInstanceUID"] for found in self.post("/tools/find", query).json())

    def send_on(self, series: str) -> bool:
        """Send a series to the listener once more, as a PACS does that had no answer; whether it worked."""
        (name,) = self._names(series)
        return self.post("/modalities/spread/store", name).ok

    def _names(self, series: str) -> list[str]:
        return self.post("/tools/find", {"Level": "Series", "Query": {"SeriesInstanceUID": series}}).json()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError((self._folder / "log").read_text()[-2000:])
        try:
            return bool(self.get("/system"))
        except requests.RequestException:
            return False


class Listener:
    """`tumorspread listen` in a process that can be killed and started again."""

    def __init__(self, folder: Path, port: int, pacs_port: int, wait_for) -> None:
        self.folder, self.port, self._pacs_port, self._wait_for = folder, port, pacs_port, wait_for
        self.log = folder.parent / "analyses"
        self.errors = folder.parent / "stderr"

    def start(self, *options: str, seconds: float = 0.0, program=None) -> None:
        """Start it, and wait until it says that it listens; an analysis takes that many seconds."""
        here = Path(__file__).resolve().parents[1]
        command = [
            sys.executable, *(program or [str(here / "listen_fake.py")]), "listen", "--aet", "SPREAD",
            "--port", str(self.port), "--to", f"ORTHANC@127.0.0.1:{self._pacs_port}", "--folder", str(self.folder),
            "--quiet-seconds", "0.5", "--cut-off-seconds", "4", "--retry-seconds", "0.5", *options,
        ]  # fmt: skip
        settings = {**os.environ, "FAKE_LOG": str(self.log), "FAKE_SECONDS": str(seconds)}
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stderr=errors, env=settings)
        self._wait_for(self._listens, seconds=120)

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.errors.read_text()
        return "listening as SPREAD" in self.errors.read_text()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        """What an administrator does."""
        self.process.terminate()
        return self.process.wait(30)

    def slices(self, series: str) -> int:
        """How many are in the queue."""
        return len(list((self.folder / "series" / series / "slices").glob("*.dcm")))

    def state(self, series: str) -> str:
        """Of a series; that of a new one where nothing has come."""
        return read_record(self.folder / "series" / series / "state.json").state

    def wait_state(self, series: str, state: str, *, seconds: float = 120.0) -> None:
        """Wait for it."""
        self._wait_for(lambda: self.state(series) == state, seconds=seconds)

    def events(self) -> list[str | None]:
        """Of the audit trail."""
        path = self.folder / "audit.jsonl"
        return [row["event"] for row in read_rows(path)] if path.exists() else []

    def analyses(self) -> int:
        """How many were begun."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def place(net, tmp_path):
    """An Orthanc and a listener that is not started yet."""
    missing = missing_tools()
    if missing:
        pytest.skip(f"needs {missing}: apt-get install orthanc orthanc-dicomweb dcmtk")
    port = net.free_port()
    orthanc = Orthanc(tmp_path / "orthanc", net.free_port, net.wait_for, port)
    listener = Listener(tmp_path / "queue", port, orthanc.dicom, net.wait_for)
    yield orthanc, listener
    if hasattr(listener, "process") and listener.process.poll() is None:
        listener.kill()
    orthanc.stop()
