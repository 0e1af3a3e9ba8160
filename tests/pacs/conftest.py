"""Small CT series, a PACS and a modality made of pynetdicom, and the listener in this process."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt

from tumorspread.pacs.audit import read_rows
from tumorspread.pacs.listener import Seat, listen
from tumorspread.pacs.peer import Peer
from tumorspread.pacs.queue import Rules
from tumorspread.pacs.receiver import Access
from tumorspread.pacs.record import read_record
from tumorspread.pacs.worker import Waits

CT = "1.2.840.10008.5.1.4.1.1.2"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
SECRETS = ("Doe^Jane", "SECRET-4711", "19501224")


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
    """Nothing here cuts the power, and a busy disk takes longer to sync than all else in these tests."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def make_slice(number, series, study, frame, *, size=64) -> Dataset:
    """Slice `number` of a chest-like block: air in a wall of soft tissue, with a dense ball about slice 15."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number + 1}"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = *SECRETS, "F"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "20200102", "101112", "", "1"
    dataset.ReferringPhysicianName, dataset.PositionReferenceIndicator, dataset.Manufacturer = "", "", "none"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 3, number + 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.5 * number]
    dataset.PixelSpacing, dataset.SliceThickness = [1.5, 1.5], 2.5
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = size, size, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    y, x = np.mgrid[:size, :size]
    ball = (1.5 * (y - 30)) ** 2 + (1.5 * (x - 30)) ** 2 + (2.5 * (number - 15)) ** 2 < 15**2
    wall = np.maximum(abs(y - size / 2), abs(x - size / 2)) > size * 0.4
    dataset.PixelData = np.where(ball, 1400, np.where(wall, 1064, 24)).astype(np.uint16).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def make_series(count=30, *, study=None) -> list[Dataset]:
    series, study, frame = generate_uid(), study or generate_uid(), generate_uid()
    return [make_slice(number, series[:58], study, frame) for number in range(count)]


def make_report(like: Dataset) -> Dataset:
    """An object of the study that is no image, such as a dose report."""
    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = REPORT
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    report.StudyInstanceUID, report.SeriesInstanceUID, report.Modality = like.StudyInstanceUID, generate_uid(), "SR"
    return report


def echo_analysis(series: Path, out: Path) -> list[Path]:
    """A quick analysis: an object that names the slices it has seen."""
    from pydicom import dcmread

    from tumorspread.scan.read import read

    read(series)
    slices = [dcmread(path, stop_before_pixels=True) for path in sorted(series.iterdir())]
    result = make_report(slices[0])
    result.SeriesDescription = str(len(slices))
    result.SeriesInstanceUID = f"{slices[0].SeriesInstanceUID}.9"
    result.save_as(out / "sr.dcm", enforce_file_format=True)
    return [out / "sr.dcm"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what, *, seconds=20.0):
    """The first true value of `what`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@dataclass
class Pacs:
    """A PACS in this process, that keeps what it is sent, each time it is sent."""

    port: int = field(default_factory=free_port)
    got: list[Dataset] = field(default_factory=list)
    status: int = 0
    tls: object = None

    def __post_init__(self):
        self.ae = AE("PACS")
        self.ae.supported_contexts = AllStoragePresentationContexts

    def start(self, *more):
        handlers = [(evt.EVT_C_STORE, self._store), *more]
        self.ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=self.tls)
        return self

    def stop(self):
        self.ae.shutdown()

    def _store(self, event):
        if self.status == 0:
            self.got.append(event.dataset)
        return self.status

    def results(self):
        """Each object once, as a PACS keeps it."""
        return {dataset.SOPInstanceUID: dataset for dataset in self.got}


@pytest.fixture
def pacs():
    pacs = Pacs().start()
    yield pacs
    pacs.stop()


@contextmanager
def association(port, *, calling="PACS", called="SPREAD", syntax=None, tls=None, contexts=()):
    ae = AE(calling)
    ae.add_requested_context(CT, syntax or ExplicitVRLittleEndian)
    ae.add_requested_context(REPORT, ExplicitVRLittleEndian)
    for context in contexts:
        ae.add_requested_context(context)
    opened = ae.associate("127.0.0.1", port, ae_title=called, tls_args=tls)
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def send(port, datasets, **options) -> list[int]:
    """Status of each; an empty list where the association is refused."""
    with association(port, **options) as opened:
        if not opened.is_established:
            return []
        return [int(opened.send_c_store(dataset).Status) for dataset in datasets]


@dataclass
class Running:
    """A listener in a thread of this process."""

    seat: Seat
    stop: threading.Event
    thread: threading.Thread

    @property
    def port(self):
        return self.seat.access.port

    def rows(self):
        path = self.seat.folder / "audit.jsonl"
        return read_rows(path) if path.exists() else []

    def events(self, series=None):
        return [row["event"] for row in self.rows() if series is None or row["series"] == series]

    def state(self, series):
        return read_record(self.seat.folder / "series" / series / "state.json").state

    def wait_state(self, series, state):
        wait_for(lambda: self.state(series) == state)

    def end(self):
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def start_listener(tmp_path):
    """Starts a listener with quick answers; `changes` are fields of `Seat`."""
    running = []

    def start(port_of_pacs, analyse=echo_analysis, **changes):
        seat = Seat(
            access=Access("SPREAD", "127.0.0.1", free_port(), ("PACS",)),
            peer=Peer("PACS", "127.0.0.1", port_of_pacs),
            folder=tmp_path / "queue",
            rules=Rules(quiet_s=0.1, cut_off_s=1.0),
            waits=Waits(0.1, 0.4),
        )
        seat = replace(seat, **changes)
        stop, started = threading.Event(), threading.Event()
        thread = threading.Thread(target=listen, args=(seat, analyse, stop), kwargs={"started": started.set})
        thread.start()
        assert started.wait(10)
        running.append(Running(seat, stop, thread))
        return running[-1]

    yield start
    for one in running:
        one.end()


class Tools:
    """What the tests call; a fixture, since test modules cannot import one another."""

    make_series = staticmethod(make_series)
    make_report = staticmethod(make_report)
    echo_analysis = staticmethod(echo_analysis)
    free_port = staticmethod(free_port)
    wait_for = staticmethod(wait_for)
    association = staticmethod(association)
    send = staticmethod(send)
    Pacs = Pacs
    SECRETS = SECRETS
    CT = CT


@pytest.fixture(scope="session")
def net():
    return Tools
