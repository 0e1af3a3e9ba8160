from __future__ import annotations

import multiprocessing
import os
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tumorspread.data.cases import Case
from tumorspread.data.prepared import IGNORED, TUMOUR, open_case, prepare_cases
from tumorspread.errors import DatasetError
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Volume


@pytest.fixture
def case(tmp_path):
    voxels = np.zeros((6, 8, 10), np.int16)
    mask = np.zeros(voxels.shape, np.uint8)
    mask[1:3, 1:3, 1:3] = 1
    mask[5, 7, 9] = 1
    write_nifti(Volume(voxels, np.eye(4)[[2, 1, 0, 3]]), tmp_path / "i.nii.gz")
    write_nifti(Volume(mask, np.eye(4)[[2, 1, 0, 3]]), tmp_path / "m.nii.gz")
    return Case("a", tmp_path / "i.nii.gz", tmp_path / "m.nii.gz", "a")


class Counting:
    """Prepares nothing, and counts how often it was asked to."""

    def __init__(self):
        self.calls = 0

    def __call__(self, scan, mask, ignored):
        self.calls += 1
        labels = mask.voxels if ignored is None else np.where(mask.voxels > 0, TUMOUR, IGNORED * ignored.voxels)
        return scan.voxels.astype(np.float32) / 1000, labels


def test_a_case_is_prepared_once_a_setting_and_again_when_its_files_change(case, tmp_path):
    prepare = Counting()
    cache = tmp_path / "cache"
    first = prepare_cases([case], cache, prepare=prepare, settings="s=1")
    assert prepare_cases([case], cache, prepare=prepare, settings="s=1") == first
    assert prepare.calls == 1
    assert prepare_cases([case], cache, prepare=prepare, settings="s=2") != first
    assert prepare.calls == 2
    os.utime(case.image, ns=(1, 1))
    prepare_cases([case], cache, prepare=prepare, settings="s=1")
    assert prepare.calls == 3


def test_what_is_opened_is_mapped_and_knows_its_lesions(case, tmp_path):
    place = prepare_cases([case], tmp_path / "cache", prepare=Counting(), settings="")
    opened = open_case("a", place)
    assert isinstance(opened.image, np.memmap)
    assert opened.image.dtype == np.float16
    assert opened.mask.sum() == 9
    assert sorted(np.bincount(opened.centres[:, 0])[1:].tolist()) == [1, 8]
    assert all(opened.mask[tuple(voxel)] for voxel in opened.centres[:, 1:])


def test_a_case_without_tumour_has_no_centres(case, tmp_path):
    empty = Volume(np.zeros((6, 8, 10), np.uint8), np.eye(4)[[2, 1, 0, 3]])
    write_nifti(empty, case.mask)
    place = prepare_cases([case], tmp_path / "cache", prepare=Counting(), settings="")
    assert open_case("a", place).centres.shape == (0, 4)


def test_a_preparation_cut_off_half_way_is_done_again(case, tmp_path):
    prepare = Counting()
    place = prepare_cases([case], tmp_path / "cache", prepare=prepare, settings="")
    (place / "a" / "case.json").unlink()
    (place / "a" / "image.npy").write_bytes(b"half")
    prepare_cases([case], tmp_path / "cache", prepare=prepare, settings="")
    assert prepare.calls == 2
    assert open_case("a", place).image.shape == (6, 8, 10)


def test_a_damaged_cache_and_a_mask_on_another_grid_are_refused(case, tmp_path):
    place = prepare_cases([case], tmp_path / "cache", prepare=Counting(), settings="")
    (place / "a" / "mask.npy").write_bytes(b"half")
    with pytest.raises(DatasetError, match="damaged"):
        open_case("a", place)
    write_nifti(Volume(np.zeros((6, 8, 9), np.uint8), np.eye(4)[[2, 1, 0, 3]]), case.mask)
    with pytest.raises(DatasetError, match="different grids"):
        prepare_cases([case], tmp_path / "other", prepare=Counting(), settings="")


def test_what_a_case_ignores_is_prepared_with_it_and_looked_at_again_when_it_changes(case, tmp_path):
    unknown = np.zeros((6, 8, 10), np.uint8)
    unknown[2:4] = 1
    grid = Volume(unknown, np.eye(4)[[2, 1, 0, 3]])
    write_nifti(grid, tmp_path / "ignored.nii.gz")
    case = replace(case, ignored=tmp_path / "ignored.nii.gz")
    prepare = Counting()
    place = prepare_cases([case], tmp_path / "cache", prepare=prepare, settings="")
    mask = open_case("a", place).mask
    assert (mask == TUMOUR).sum() == 9
    assert np.array_equal(mask == IGNORED, (unknown > 0) & (mask != TUMOUR))
    places = open_case("a", place).places
    assert len(places) == (mask != IGNORED).sum()
    assert (mask[tuple(places.T)] != IGNORED).all()
    os.utime(case.ignored, ns=(1, 1))
    prepare_cases([case], tmp_path / "cache", prepare=prepare, settings="")
    assert prepare.calls == 2
    write_nifti(Volume(unknown[1:], grid.affine), tmp_path / "ignored.nii.gz")
    with pytest.raises(DatasetError, match="what is ignored of it"):
        prepare_cases([case], tmp_path / "cache", prepare=prepare, settings="")


def _prepare_together(start, cases, cache, _):
    start.wait()
    prepare_cases(cases, cache, prepare=Counting(), settings="")


def test_processes_that_prepare_the_same_cases_at_once_leave_whole_ones(case, tmp_path):
    """As the machines of a training do that share a cache; half of the cases are there already, out of date."""
    cases = [replace(case, name=f"c{i:02}") for i in range(30)]
    place = prepare_cases(cases[::2], tmp_path / "cache", prepare=Counting(), settings="")
    os.utime(case.image, ns=(1, 1))
    forked = multiprocessing.get_context("fork")
    work = partial(_prepare_together, forked.Barrier(4), cases, tmp_path / "cache")
    running = [forked.Process(target=work, args=(number,)) for number in range(4)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * 4
    assert sorted(path.name for path in place.iterdir()) == [one.name for one in cases]
    assert all(open_case(one.name, place).mask.sum() == 9 for one in cases)
    later = Counting()
    prepare_cases(cases, tmp_path / "cache", prepare=later, settings="")
    assert later.calls == 0


def test_an_old_case_that_another_machine_moves_away_just_then_is_no_fault(case, tmp_path, monkeypatch):
    prepare_cases([case], tmp_path / "cache", prepare=Counting(), settings="")
    os.utime(case.image, ns=(1, 1))
    rename, moved = os.rename, []

    def move_away_at_first(source, target):
        try:
            rename(source, target)
        except OSError:
            moved.append(shutil.rmtree(target))
            raise

    monkeypatch.setattr(os, "rename", move_away_at_first)
    place = prepare_cases([case], tmp_path / "cache", prepare=Counting(), settings="")
    assert len(moved) == 1
    assert open_case(case.name, place).mask.sum() == 9
