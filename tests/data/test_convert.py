from __future__ import annotations

import re

import cv2
import h5py
import numpy as np
import pytest

from tumorspread.data.cases import find_cases, read_dataset_info
from tumorspread.data.check import check_dataset
from tumorspread.data.convert import convert, convert_patches
from tumorspread.data.splits import read_split
from tumorspread.errors import DatasetError
from tumorspread.scan.nifti import read_nifti


def write_patches(path, patients, *, seed=0, images="images", size=(12, 16)):
    """A file of ten random patches a patient; returns (images, labels), each (n, 1, y, x)."""
    rng = np.random.default_rng(seed)
    shape = (10 * patients, 1, *size)
    pictures, labels = rng.random(shape, np.float32), (rng.random(shape) > 0.7).astype(np.float64)
    with h5py.File(path, "w") as file:
        file[images], file["labels"] = pictures, labels
    return pictures, labels


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def test_ten_patches_in_a_row_become_one_case(source, tmp_path):
    pictures, labels = write_patches(source / "val_patches.h5", 5)
    out = convert_patches(source, tmp_path / "out")
    cases = find_cases(out)
    assert [case.name for case in cases] == [f"msd_val_{i:02d}" for i in range(1, 6)]
    for number, case in enumerate(cases):
        image, mask = read_nifti(case.image), read_nifti(case.mask)
        np.testing.assert_array_equal(image.voxels, pictures[10 * number : 10 * number + 10, 0])
        np.testing.assert_array_equal(mask.voxels, labels[10 * number : 10 * number + 10, 0])
        assert image.spacing_mm == (2.0, 2.0, 2.0)
        np.testing.assert_array_equal(image.directions, np.eye(3)[::-1])


def test_the_data_set_says_that_it_is_gray_and_that_slices_have_no_neighbours(source, tmp_path):
    write_patches(source / "val_patches.h5", 5)
    out = convert(source, tmp_path / "out")
    info = read_dataset_info(out)
    assert (info.intensity, info.slices, len(info.training)) == ("gray", "independent", 5)
    assert check_dataset(out) == ()


def names(part, *numbers):
    return tuple(f"msd_{part}_{number:02d}" for number in numbers)


def test_without_a_file_to_train_on_the_last_three_of_val_choose_the_weights(source, tmp_path):
    write_patches(source / "val_patches.h5", 5)
    write_patches(source / "test_patches.h5", 2)
    split = read_split(convert_patches(source, tmp_path / "out"))
    assert split.train == names("val", 1, 2)
    assert split.val == names("val", 3, 4, 5)
    assert split.test == names("test", 1, 2)


def test_the_published_division_is_kept_where_all_is_there(source, tmp_path):
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        write_patches(source / f"{part}_patches.h5", count)
    split = read_split(convert_patches(source, tmp_path / "out"))
    assert split.train == names("train", 1, 2, 3)
    assert split.val == names("val", 1, 2)
    assert split.test == names("test", 1)


def test_a_seed_draws_the_three_that_choose_the_weights(source, tmp_path):
    write_patches(source / "val_patches.h5", 12)
    drawn = [read_split(convert_patches(source, tmp_path / f"o{i}", seed=i)).val for i in range(4)]
    again = read_split(convert_patches(source, tmp_path / "again", seed=2)).val
    assert drawn[2] == again
    assert len(set(drawn)) > 1
    assert all(len(val) == 3 for val in drawn)


def test_a_second_run_gives_the_same_files(source, tmp_path):
    write_patches(source / "val_patches.h5", 4)
    first, second = convert(source, tmp_path / "a"), convert(source, tmp_path / "b")
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 2 * 4 + 2
    for path in files:
        assert (first / path).read_bytes() == (second / path).read_bytes()


def spoil(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace(file, name, data):
    del file[name]
    file[name] = data


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f.__delitem__("labels"), "images and labels"),
        (lambda f: replace(f, "labels", np.zeros((40, 1, 12, 15))), "expected both"),
        (lambda f: replace(f, "images", np.zeros((40, 12, 16), np.float32)), "expected both"),
        (lambda f: f["images"].__setitem__((0, 0, 0, 0), 1.5), "expected 0 to 1"),
        (lambda f: f["images"].__setitem__((0, 0, 0, 0), np.nan), "expected 0 to 1"),
        (lambda f: f["labels"].__setitem__((0, 0, 0, 0), 2), "other than 0 and 1"),
    ],
)
def test_patches_of_another_form_are_refused(source, tmp_path, change, text):
    write_patches(source / "val_patches.h5", 4)
    spoil(source / "val_patches.h5", change)
    with pytest.raises(DatasetError, match=text):
        convert_patches(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_patches_that_are_not_ten_a_patient_are_refused(source, tmp_path):
    with h5py.File(source / "val_patches.h5", "w") as file:
        file["images"] = file["labels"] = np.zeros((45, 1, 4, 4), np.float32)
    with pytest.raises(DatasetError, match="45 patches; expected 10 of each patient"):
        convert_patches(source, tmp_path / "out")


def test_a_file_that_is_no_hdf5_is_refused(source, tmp_path):
    (source / "val_patches.h5").write_bytes(b"nothing of the kind")
    with pytest.raises(DatasetError, match="no HDF5 file") as caught:
        convert_patches(source, tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("part", "count"), [("val", 3), ("test", 9)])
def test_too_few_patients_to_train_on_are_refused(source, tmp_path, part, count):
    write_patches(source / f"{part}_patches.h5", count)
    with pytest.raises(DatasetError, match="patients to train on"):
        convert_patches(source, tmp_path / "out")


def test_a_folder_that_is_not_empty_is_left_alone(source, tmp_path):
    write_patches(source / "val_patches.h5", 4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(DatasetError, match="not empty"):
        convert(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def add_pair(source):
    cv2.imwrite(str(source / "a.png"), np.full((4, 5), 100, np.uint8))
    cv2.imwrite(str(source / "a_mask.png"), np.full((4, 5), 255, np.uint8))


def test_what_the_folder_holds_decides_how_it_is_converted(source, tmp_path):
    add_pair(source)
    out = convert(source, tmp_path / "pairs", spacing_mm=(1, 0.7, 0.8), window_hu=(-1000, 400))
    (case,) = find_cases(out)
    assert read_nifti(case.image).spacing_mm == pytest.approx((1, 0.7, 0.8), rel=1e-6)
    assert read_dataset_info(out).intensity == "hu"
    assert not (out / "splits.json").exists()


def test_a_folder_of_neither_or_both_kinds_is_refused(source, tmp_path):
    with pytest.raises(DatasetError, match=re.escape("neither PNG pairs nor *_patches.h5")):
        convert(source, tmp_path / "out")
    add_pair(source)
    write_patches(source / "val_patches.h5", 4)
    with pytest.raises(DatasetError, match=re.escape("PNG files and *_patches.h5")):
        convert(source, tmp_path / "out")
    with pytest.raises(DatasetError, match="no such folder"):
        convert(source / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("option", [{"spacing_mm": (1, 1, 1)}, {"window_hu": (-1000, 400)}])
def test_an_option_that_patches_lack_is_refused(source, tmp_path, option):
    write_patches(source / "val_patches.h5", 4)
    with pytest.raises(DatasetError, match="leave these options out"):
        convert(source, tmp_path / "out", **option)


def test_a_seed_for_pairs_is_refused(source, tmp_path):
    add_pair(source)
    with pytest.raises(DatasetError, match="data split"):
        convert(source, tmp_path / "out", seed=1)


@pytest.mark.real
def test_the_published_patches_become_26_patients(shared_data, tmp_path):
    seen = []
    out = convert(shared_data / "msd_patches", tmp_path / "out", progress=lambda *step: seen.append(step))
    assert seen[-1] == (26, 26)
    split = read_split(out)
    assert (len(split.train), len(split.val), len(split.test)) == (10, 3, 13)
    faults = check_dataset(out)
    assert [fault for fault in faults if fault.level == "fault"] == []
    masks = [read_nifti(case.mask).voxels for case in find_cases(out)]
    assert {mask.shape for mask in masks} == {(10, 48, 48)}
    assert sum(int(mask.any(axis=(1, 2)).sum()) for mask in masks) == 228  # stated beside the data
