"""Voxels in a file: the same values, out of memory when let go, and plain memory wherever a file would not do."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from tumorspread import Volume, read
from tumorspread.measurement.coarse import coarsen
from tumorspread.report.views import SAGITTAL
from tumorspread.scan import pages
from tumorspread.scan.checks import check_ct
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.pages import let_go, roomy_empty, walk
from tumorspread.scan.resampling import resample_planes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all arrays lie in memory")
SHAPE = (64, 512, 512)  # 32 MiB in int16


@pytest.fixture(autouse=True)
def large_from_a_mebibyte(monkeypatch):
    monkeypatch.setattr(pages, "LEAST_BYTES", 2**20)


def resident_mib() -> float:
    return psutil.Process().memory_info().rss / 2**20


@contextmanager
def watched(seen: list[float]) -> Iterator[None]:
    """What this process holds, every millisecond, in MiB."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.001):
            seen.append(resident_mib())

    watcher = threading.Thread(target=look)
    watcher.start()
    yield
    done.set()
    watcher.join()


def in_a_file(array: np.ndarray) -> bool:
    before = resident_mib()
    let_go(array)
    return before - resident_mib() > 0.7 * array.nbytes / 2**20


def test_what_is_let_go_leaves_the_memory_and_comes_back_as_it_was():
    array = roomy_empty(SHAPE, np.int16)
    array[:] = np.arange(SHAPE[0], dtype=np.int16)[:, None, None]
    assert in_a_file(array.transpose(2, 1, 0)[::2])
    assert (array == np.arange(SHAPE[0])[:, None, None]).all()


def test_no_file_is_left_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pages.tempfile, "tempdir", str(tmp_path))
    array = roomy_empty(SHAPE, np.int16)
    array[:] = 1
    assert os.listdir(tmp_path) == []
    links = [os.readlink(link) for link in Path("/proc/self/map_files").iterdir()] if os.geteuid() == 0 else []
    assert not links or any(str(tmp_path) in link for link in links)


def test_other_arrays_keep_their_values():
    for array in (np.ones(SHAPE, np.int16), np.frombuffer(b"\1" * 2**16, np.uint8)):
        let_go(array)
        assert (array == 1).all()


@pytest.mark.parametrize("fault", ["full", "larger than any scan", "small"])
def test_where_a_file_would_not_do_the_array_lies_in_memory(fault, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    if fault == "full":
        monkeypatch.setattr(pages.os, "posix_fallocate", refuse)
    elif fault == "small":
        monkeypatch.setattr(pages, "LEAST_BYTES", 2**40)
    else:
        monkeypatch.setattr(pages, "MOST_BYTES", 2**22)
    array = roomy_empty(SHAPE, np.int16)
    array[:] = 1
    assert not in_a_file(array)


def test_a_disk_with_little_room_is_left_alone(monkeypatch):
    monkeypatch.setattr(pages, "DISK_SHARE", 0.0)
    monkeypatch.setattr(pages.tempfile, "TemporaryFile", None)
    assert roomy_empty(SHAPE, np.int16).shape == SHAPE


def test_a_long_scan_reads_as_a_short_one_does_and_can_be_let_go(tmp_path):
    noise = np.random.default_rng(3).integers(-1000, 1000, SHAPE).astype(np.int16)
    write_nifti(Volume.upright(noise, (1.0, 1.0, 1.0)), tmp_path / "scan.nii.gz")
    scan = read(tmp_path / "scan.nii.gz")
    assert in_a_file(scan.voxels)
    np.testing.assert_array_equal(scan.voxels, noise)


def test_a_walk_gives_every_plane_and_keeps_little_behind_itself(monkeypatch):
    monkeypatch.setattr(pages, "STRETCH_BYTES", 2**21)
    array = roomy_empty(SHAPE, np.int16)
    array[:] = np.arange(SHAPE[0], dtype=np.int16)[:, None, None]
    let_go(array)
    before, most = resident_mib(), 0.0
    for number, plane in enumerate(walk(array)):
        assert (plane == number).all()
        most = max(most, resident_mib() - before)
    assert most < 8 < array.nbytes / 2**20


LOOKS = {
    "gate": check_ct,
    "lungs": coarsen,
    "network's grid": lambda scan: sum(plane.sum() for plane in resample_planes(scan.voxels, (96, 64, 64))),
    "picture": lambda scan: SAGITTAL.plane(scan.voxels, 100),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_what_reads_every_slice_keeps_a_part_of_the_scan(look, monkeypatch):
    """A chest of air in tissue, 96 MiB."""
    monkeypatch.setattr(pages, "STRETCH_BYTES", 2**23)
    voxels = roomy_empty((192, 512, 512), np.int16)
    voxels[:] = 40
    voxels[:, 100:400, 100:400] = -850
    scan = Volume.upright(voxels, (1.0, 0.7, 0.7))
    look(scan)  # what it imports and allots the first time is not the scan's
    let_go(voxels)
    before, seen = resident_mib(), [0.0]
    with watched(seen):
        look(scan)
    assert max(seen) - before < 0.5 * voxels.nbytes / 2**20
