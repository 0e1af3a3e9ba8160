"""A small analysis with real results: a SEG and a TID 1500 SR by highdicom, of all that is denser than soft tissue.

A module of its own, since the listener's child process imports it by its name.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from tumorspread.scan.read import read

DENSE_HU = 200


def analyse(series: Path, out: Path) -> list[Path]:
    """SEG and SR of a series; waits FAKE_SECONDS first, and notes in FAKE_LOG that it was called."""
    if "FAKE_LOG" in os.environ:
        with open(os.environ["FAKE_LOG"], "a") as log:
            log.write(f"{series.parent.name}\n")
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    scan = read(series)
    slices = sorted((dcmread(path) for path in series.iterdir()), key=lambda s: s.ImagePositionPatient[2])
    seg = _segmentation(slices, scan.voxels > DENSE_HU)
    seg.save_as(out / "seg.dcm")
    _report(slices, seg, float((scan.voxels > DENSE_HU).sum() * np.prod(scan.spacing_mm))).save_as(out / "sr.dcm")
    return [out / "seg.dcm", out / "sr.dcm"]


def analyse_with_fault(series: Path, out: Path) -> list[Path]:
    """A fault whose message holds the patient's name."""
    raise KeyError(str(dcmread(next(series.iterdir())).PatientName))


def analyse_and_die(series: Path, out: Path) -> list[Path]:
    """What a codec with a segmentation fault does."""
    os.kill(os.getpid(), 11)
    return []


def analyse_forever(series: Path, out: Path) -> list[Path]:
    """An analysis that hangs."""
    time.sleep(3600)
    return []


def _segmentation(slices, mask):
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="dense",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence("fake", codes.DCM.ArtificialIntelligence, "1"),
        tracking_uid=generate_uid(),
        tracking_id="dense",
    )
    return hd.seg.Segmentation(
        slices, mask.astype(np.uint8), hd.seg.SegmentationTypeValues.BINARY, [description], generate_uid(), 300,
        generate_uid(), 1, "tumorspread", "test", "1", "1",
    )  # fmt: skip


def _report(slices, seg, volume_mm3):
    reference = hd.sr.ReferencedSegment.from_segmentation(seg, segment_number=1)
    group = hd.sr.VolumetricMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=generate_uid(), identifier="dense"),
        referenced_segment=reference,
        measurements=[
            hd.sr.Measurement(
                name=CodedConcept("118565006", "SCT", "Volume"), value=volume_mm3, unit=codes.UCUM.CubicMillimeter
            )
        ],
    )
    observer = hd.sr.ObserverContext(
        codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(uid=generate_uid(), name="test")
    )
    content = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=observer),
        CodedConcept("241541005", "SCT", "CT of chest"),
        imaging_measurements=[group],
    )
    return hd.sr.Comprehensive3DSR(
        [*slices, seg], content, generate_uid(), 301, generate_uid(), 1, manufacturer="tumorspread",
        is_complete=False, is_verified=False,
    )  # fmt: skip
