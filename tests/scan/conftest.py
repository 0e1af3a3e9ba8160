"""Builds DICOM CT series and structure sets as others would write them, for the tests to break."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

Change = Callable[[list[Dataset]], Any]

ROWS, COLUMNS = 36, 34
ROW_MM, COLUMN_MM, STEP_MM = 0.8, 0.7, 2.5
INTERCEPT = -1024
# Far above what any file of the tests takes, also on a machine with other users.
HANG_SECONDS = 60
OBLIQUE = ((0.8, 0.6, 0.0), (-0.6 * 0.6, 0.6 * 0.8, 0.8))


def stored_values(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 4096, (count, ROWS, COLUMNS)).astype(np.uint16)


def new_object(sop_class: str, syntax=ExplicitVRLittleEndian) -> Dataset:
    """A DICOM object of a class, with nothing in it yet."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def make_slices(count: int = 6, *, orientation=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))) -> list[Dataset]:
    """Slices from low to high along their normal, the first pixel of the first at (-30, -40, -50) mm."""
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    normal = np.cross(*orientation)
    slices = []
    for number, pixels in enumerate(stored_values(count)):
        dataset = new_object("1.2.840.10008.5.1.4.1.1.2", ExplicitVRLittleEndian)
        dataset.PatientName, dataset.PatientID = "Doe^Jane", "SECRET-4711"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (
            study,
            series,
            frame,
        )
        dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 3, number + 1
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImageOrientationPatient = [float(f"{c:.8f}") for axis in orientation for c in axis]
        place = np.array([-30.0, -40.0, -50.0]) + number * STEP_MM * normal
        dataset.ImagePositionPatient = [float(f"{c:.6f}") for c in place]
        dataset.PixelSpacing, dataset.SliceThickness = [ROW_MM, COLUMN_MM], STEP_MM
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
            16,
            12,
            11,
            0,
        )
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, INTERCEPT
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        slices.append(dataset)
    return slices


def make_enhanced(slices: list[Dataset]) -> Dataset:
    """One enhanced multi-frame CT of the slices' pixels and places (PS3.3 C.7.6.16)."""
    first = slices[0]
    dataset = Dataset()
    dataset.update({e.tag: e for e in first if e.keyword not in _PER_FRAME})
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.NumberOfFrames = len(slices)
    shared, dataset.PerFrameFunctionalGroupsSequence = Dataset(), Sequence()
    shared.PixelMeasuresSequence = _group(first, "PixelSpacing", "SliceThickness")
    shared.PlaneOrientationSequence = _group(first, "ImageOrientationPatient")
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    for one in slices:
        frame = Dataset()
        frame.PlanePositionSequence = _group(one, "ImagePositionPatient")
        frame.PixelValueTransformationSequence = _group(one, "RescaleSlope", "RescaleIntercept")
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    dataset.PixelData = b"".join(one.PixelData for one in slices)
    return dataset


_PER_FRAME = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
    "RescaleIntercept", "PixelData", "InstanceNumber",
)  # fmt: skip


def _group(source: Dataset, *keywords: str) -> Sequence:
    item = Dataset()
    for keyword in keywords:
        setattr(item, keyword, source[keyword].value)
    return Sequence([item])


def save_slices(slices: list[Dataset], folder: Path) -> Path:
    """The slices as slice_00.dcm, slice_01.dcm, ..., in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(slices):
        dataset.save_as(folder / f"slice_{number:02}.dcm", enforce_file_format=True)
    return folder


def make_structure_set(rois, *, kind="CLOSED_PLANAR", syntax=ExplicitVRLittleEndian) -> Dataset:
    """An RTSTRUCT of `rois`, pairs of a name and contours of (n, 3) points."""
    dataset = new_object("1.2.840.10008.5.1.4.1.1.481.3", syntax)
    dataset.Modality, dataset.PatientName = "RTSTRUCT", "Doe^Jane"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois, 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, [_contour(points, kind) for points in contours]
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    return dataset


def _contour(points, kind) -> Dataset:
    item = Dataset()
    item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
    item.ContourData = [f"{number:.10g}"[:16] for number in np.ravel(points)]
    return item


def repack_as_jpeg(file: Path) -> None:
    """The pixels of a file in JPEG lossless, as GDCM writes it."""
    dataset = pydicom.dcmread(file)
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.Execute(SimpleITK.GetImageFromArray(dataset.pixel_array[None]), str(file), True, -1)
    written = pydicom.dcmread(file)
    dataset.PixelData, dataset.BitsStored, dataset.HighBit = written.PixelData, written.BitsStored, written.HighBit
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(file)


@pytest.fixture(scope="session", name="repack_as_jpeg")
def _repack_as_jpeg() -> Callable[[Path], None]:
    return repack_as_jpeg


@pytest.fixture(scope="session", name="make_slices")
def _make_slices() -> Callable[..., list[Dataset]]:
    return make_slices


@pytest.fixture(scope="session", name="make_enhanced")
def _make_enhanced() -> Callable[..., Dataset]:
    return make_enhanced


@pytest.fixture(scope="session", name="save_slices")
def _save_slices() -> Callable[..., Path]:
    return save_slices


@pytest.fixture
def series(tmp_path: Path) -> Callable[..., Path]:
    """A folder with a CT series, changed by `change` before it is saved."""

    def build(change: Change | None = None, *, name: str = "series", **options: Any) -> Path:
        slices = make_slices(**options)
        if change is not None:
            slices = change(slices) or slices
        return save_slices(slices, tmp_path / name)

    return build


@pytest.fixture(name="new_object")
def _new_object() -> Callable[..., Dataset]:
    return new_object


@pytest.fixture
def truth_hu() -> Callable[[int], np.ndarray]:
    """HU of the slices of `make_slices`, in their order."""
    return lambda count: stored_values(count).astype(np.int16) + np.int16(INTERCEPT)


@pytest.fixture
def save_contours(tmp_path):
    """Save contours, or `rois`, as a file, changed by `change` before."""

    def build(contours=(), *, rois=None, change=None, **options):
        dataset = make_structure_set([("GTV-1", contours)] if rois is None else rois, **options)
        if change is not None:
            change(dataset)
        dataset.save_as(tmp_path / "rs.dcm", enforce_file_format=True)
        return tmp_path / "rs.dcm"

    return build


class ReadingChild:
    """Reads paths in another process, restarted after a crash or a hang."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def read(self, path: Path, **options: Any) -> dict[str, Any]:
        """The answer of `reading_child.py`; a crash and a hang are errors named so, not ours."""
        if self.process is None:
            program = [sys.executable, str(Path(__file__).with_name("reading_child.py"))]
            # The package under test, wherever this process has it from.
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self.process = subprocess.Popen(
                program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"path": str(path), **options}) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], HANG_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        ended = self.close()
        what = f"ended with {ended}" if ready else f"no answer in {HANG_SECONDS} s"
        return {"error": "crash" if ready else "hang", "message": what, "is_ours": False, "seconds": 0, "mib": 0}

    def close(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            time.sleep(0.2)
            self.process.kill()
        code, self.process = self.process.wait(), None
        return code


@pytest.fixture(scope="session")
def reading_child():
    child = ReadingChild()
    yield child
    if child.process is not None:
        child.close()
