"""The command itself, as a program of its own: killed during an analysis, started again, stopped by a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tumorspread.pacs.audit import read_rows
from tumorspread.pacs.record import read_record

PROGRAM = Path(__file__).parent / "listen_fake.py"


@pytest.fixture
def start(net, pacs, tmp_path):
    """Starts the command and waits until it listens."""
    port, errors, started = net.free_port(), tmp_path / "stderr", []

    def run(seconds):
        command = [
            sys.executable, str(PROGRAM), "listen", "--aet", "SPREAD", "--port", str(port),
            "--to", f"PACS@127.0.0.1:{pacs.port}", "--folder", str(tmp_path / "queue"),
            "--quiet-seconds", "0.2", "--retry-seconds", "0.2",
        ]  # fmt: skip
        settings = {**os.environ, "FAKE_LOG": str(tmp_path / "analyses"), "FAKE_SECONDS": str(seconds)}
        with errors.open("wb") as stream:
            started.append(subprocess.Popen(command, stderr=stream, env=settings))

        def listens():
            assert started[-1].poll() is None, errors.read_text()
            return "listening as SPREAD" in errors.read_text()

        net.wait_for(listens, seconds=120)
        return started[-1], port

    yield run
    for one in started:
        one.kill()
        one.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and SIGTERM are of POSIX")
def test_a_command_that_was_killed_goes_on_and_sends_seg_and_report_once(net, pacs, start, tmp_path):
    slices = net.make_series(20)
    series = slices[0].SeriesInstanceUID
    process, port = start(600)
    assert net.send(port, slices) == [0] * 20
    net.wait_for((tmp_path / "analyses").exists, seconds=120)
    process.kill()
    process.wait()
    process, port = start(0)
    state = tmp_path / "queue" / "series" / series / "state.json"
    net.wait_for(lambda: read_record(state).state == "done", seconds=120)
    assert sorted(one.Modality for one in pacs.got) == ["SEG", "SR"]
    assert {one.StudyInstanceUID for one in pacs.got} == {slices[0].StudyInstanceUID}
    events = [row["event"] for row in read_rows(tmp_path / "queue" / "audit.jsonl")]
    assert [event for event in events if event != "received"] == ["ready", "analysed", "sent", "done"]
    process.terminate()
    assert process.wait(60) == 0
    text = (tmp_path / "stderr").read_text()
    assert text.splitlines()[-1] == "stopped"
    assert not [secret for secret in net.SECRETS if secret in text]
