"""A quick analysis with the real results: SEG and SR of all that is denser than soft tissue.

A module of its own, since the listener's child process imports it by its name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

DENSE_HU = 200


def analyse(series: Path, out: Path) -> Sequence[Path]:
    """SEG and SR of a series; waits FAKE_SECONDS first, and notes in FAKE_LOG that it was called."""
    if "FAKE_LOG" in os.environ:
        with open(os.environ["FAKE_LOG"], "a") as log:
            log.write(f"{series.parent.name}\n")
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    from tumorspread.pipeline import measure
    from tumorspread.report.dicom_results import write_dicom_results
    from tumorspread.scan.read import read

    scan = read(series)
    mask = scan.with_voxels(scan.voxels > DENSE_HU)
    return write_dicom_results(measure(scan, mask, source="series", mask_source="dense"), series, out)


def analyse_with_fault(series: Path, out: Path) -> list[Path]:
    """A fault whose message holds the patient's name."""
    from pydicom import dcmread

    raise KeyError(str(dcmread(next(series.iterdir())).PatientName))


def analyse_and_die(series: Path, out: Path) -> list[Path]:
    """What a codec with a segmentation fault does."""
    os.kill(os.getpid(), 11)
    return []


def analyse_forever(series: Path, out: Path) -> list[Path]:
    """An analysis that hangs."""
    time.sleep(3600)
    return []
