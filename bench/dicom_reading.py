"""280 DICOM slices of 512 x 512: seconds and memory of `tumorspread.read`, SimpleITK's series reader and pydicom alone.

Each reader runs in a process of its own, takes turns with the others, and has read once before it is timed, so that the
files are in the system's cache; memory is the most that was held above what the process held before it read first. The
voxels must be the same. SimpleITK gives them as a NumPy array twice: copied (as its users do), and as a view of its
image, its leanest way. Only `tumorspread` checks the geometry. Prints a table, then lines `name value`: how many
times faster, and which share of the memory.
Usage: python bench/dicom_reading.py [--slices 280] [--rounds 7] [FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

READERS = ("tumorspread", "SimpleITK", "SimpleITK view", "pydicom")
EDGE = 512


def main(slices: int, rounds: int, folder: Path | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as made:
        place = folder or write_series(Path(made), slices)
        children = {name: start(name, place) for name in READERS}
        first = {name: ask(child) for name, child in children.items()}
        if len({found["voxels"] for found in first.values()}) != 1:
            sys.exit("the readers differ in their voxels")
        seconds: dict[str, list[float]] = {name: [] for name in READERS}
        for _ in range(rounds):
            for name, child in children.items():
                seconds[name].append(ask(child)["seconds"])
        for child in children.values():
            child.communicate()
    print(f"{'reader':<16}{'median s':>10}{'least s':>10}{'MiB':>8}")
    for name in READERS:
        print(
            f"{name:<16}{statistics.median(seconds[name]):>10.3f}{min(seconds[name]):>10.3f}{first[name]['mib']:>8.0f}"
        )
    for name in READERS[1:]:
        key = name.replace(" ", "_").lower()
        speedup = statistics.median(seconds[name]) / statistics.median(seconds["tumorspread"])
        print(f"times_faster_than_{key} {speedup:.2f}")
        print(f"share_of_memory_of_{key} {first['tumorspread']['mib'] / first[name]['mib']:.2f}")


def write_series(folder: Path, slices: int) -> Path:
    """Uncompressed slices as a scanner writes them, 12 bits of noise each, with a header of usual length."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows = dataset.Columns = EDGE
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    dataset.SeriesInstanceUID = generate_uid()
    rng = np.random.default_rng(0)
    for number in range(slices):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber, dataset.ImagePositionPatient = number + 1, [-180, -180, number * 1.25]
        dataset.PixelData = rng.integers(0, 4096, (EDGE, EDGE)).astype(np.uint16).tobytes()
        dataset.save_as(folder / f"{number:04}.dcm")
    return folder


def start(name: str, folder: Path) -> subprocess.Popen[str]:
    """A process that reads with that reader whenever it is asked."""
    argv = [sys.executable, __file__, "--reader", name, str(folder)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(child: subprocess.Popen[str]) -> dict[str, float]:
    """One reading: seconds, MiB, digest of the voxels."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("read\n")
    child.stdin.flush()
    answer: dict[str, float] = json.loads(child.stdout.readline())
    return answer


def serve(name: str, folder: Path) -> None:
    """Answer each line on stdin with a reading."""
    read, digest = reader(name, folder), ""
    for _ in sys.stdin:
        before = memory_mib("VmRSS")
        # Linux then counts the peak from here on.
        Path("/proc/self/clear_refs").write_text("5")
        started = time.perf_counter()
        voxels = read()
        seconds, mib = time.perf_counter() - started, memory_mib("VmHWM") - before
        digest = digest or hashlib.sha256(np.ascontiguousarray(voxels)).hexdigest()
        del voxels
        print(json.dumps({"seconds": seconds, "mib": mib, "voxels": digest}), flush=True)


def reader(name: str, folder: Path) -> Callable[[], object]:
    """What reads the folder, its library imported."""
    if name == "tumorspread":
        from tumorspread.scan.read import read

        return lambda: read(folder).voxels
    if name == "pydicom":
        return pydicom_reader(folder)
    import SimpleITK

    def image() -> object:
        series = SimpleITK.ImageSeriesReader()
        series.SetFileNames(series.GetGDCMSeriesFileNames(str(folder)))
        return series.Execute()

    if name == "SimpleITK":
        return lambda: SimpleITK.GetArrayFromImage(image())

    kept: list[object] = []

    def view() -> object:
        # The view is of the image's own memory, so the image must stay, but not beside the next one.
        kept.clear()
        kept.append(image())
        return SimpleITK.GetArrayViewFromImage(kept[0])

    return view


def pydicom_reader(folder: Path) -> Callable[[], object]:
    """Whole datasets, sorted by z, in HU, as tutorials do it."""
    import pydicom

    def read() -> object:
        found = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda one: float(one.ImagePositionPatient[2]))
        hu = [one.pixel_array.astype(np.int16) * int(one.RescaleSlope) + int(one.RescaleIntercept) for one in found]
        return np.stack(hu)

    return read


def memory_mib(field: str) -> float:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--slices", type=int, default=280)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.reader:
        serve(asked.reader, asked.folder)
    else:
        main(asked.slices, asked.rounds, asked.folder)
