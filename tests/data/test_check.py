from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tumorspread.data.cases import DatasetInfo, find_cases, write_case, write_dataset_json
from tumorspread.data.check import check_dataset
from tumorspread.errors import DatasetError
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.volume import Volume

AFFINE = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]])


@pytest.fixture
def dataset(lung_folder, tmp_path):
    return shutil.copytree(lung_folder, tmp_path / "Task06_Lung")


def found(folder, level="fault"):
    return [(fault.case, fault.code) for fault in check_dataset(folder) if fault.level == level]


def rewrite(path, change):
    volume = read_nifti(path)
    write_nifti(Volume(change(volume.voxels), volume.affine), path)


def test_a_clean_data_set_has_no_fault_and_no_note(dataset):
    assert check_dataset(dataset) == ()


def test_every_kind_of_fault_is_listed_at_once(dataset):
    (dataset / "labelsTr" / "lung_001.nii.gz").unlink()
    (dataset / "imagesTr" / "lung_003.nii.gz").write_bytes(b"no image")
    rewrite(dataset / "imagesTr" / "lung_004.nii.gz", lambda v: v + np.int16(1024))
    rewrite(dataset / "labelsTr" / "lung_004.nii.gz", lambda v: v * 2)
    assert found(dataset) == [
        ("lung_001", "no_mask"), ("lung_003", "unreadable"), ("lung_004", "not_hu"), ("lung_004", "labels"),
    ]  # fmt: skip


def test_a_mask_without_an_image_is_a_fault(dataset):
    (dataset / "imagesTr" / "lung_001.nii.gz").unlink()
    assert found(dataset) == [("lung_001", "no_image")]


def test_a_truncated_file_is_unreadable(dataset):
    path = dataset / "labelsTr" / "lung_003.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    assert found(dataset) == [("lung_003", "unreadable")]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mask_moved_by_one_voxel_lies_on_another_grid(dataset, axis):
    path = dataset / "labelsTr" / "lung_003.nii.gz"
    mask = read_nifti(path)
    affine = mask.affine.copy()
    affine[:3, 3] += affine[:3, axis]
    write_nifti(Volume(mask.voxels, affine), path)
    assert found(dataset) == [("lung_003", "other_grid")]


def test_a_mask_of_another_shape_lies_on_another_grid(dataset):
    rewrite(dataset / "labelsTr" / "lung_003.nii.gz", lambda v: v[:-1])
    assert found(dataset) == [("lung_003", "other_grid")]


@pytest.mark.parametrize("value", [2, 255, -1, 0.5, np.nan])
def test_a_mask_holds_only_0_and_1(dataset, value):
    rewrite(dataset / "labelsTr" / "lung_003.nii.gz", lambda v: np.where(v == 1, np.float32(value), 0))
    assert found(dataset) == [("lung_003", "labels")]


def test_a_mask_without_tumour_is_a_note(dataset):
    rewrite(dataset / "labelsTr" / "lung_003.nii.gz", np.zeros_like)
    assert found(dataset) == []
    assert found(dataset, "note") == [("lung_003", "empty_mask")]


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.astype(np.int32) + 1024,
        lambda v: (v.astype(np.float32) + 1024) / 2048,
        lambda v: np.full_like(v, -1000),
        lambda v: np.zeros_like(v),
    ],
    ids=["offset of 1024", "0 to 1", "air alone", "one value"],
)
def test_an_image_that_is_not_in_hu_is_a_fault(dataset, change):
    rewrite(dataset / "imagesTr" / "lung_003.nii.gz", change)
    assert found(dataset) == [("lung_003", "not_hu")]


def test_padding_far_below_air_is_still_hu(dataset):
    rewrite(dataset / "imagesTr" / "lung_003.nii.gz", lambda v: np.where(v < -1000, -3024, v))
    assert found(dataset) == []


def test_an_image_with_voxels_that_are_no_number_is_a_fault(dataset):
    rewrite(dataset / "imagesTr" / "lung_003.nii.gz", lambda v: np.where(v > 1000, np.float32(np.nan), v))
    assert found(dataset) == [("lung_003", "not_finite")]


def test_test_scans_are_read_too(dataset):
    (dataset / "imagesTs" / "lung_002.nii.gz").write_bytes(b"")
    assert found(dataset) == [("lung_002", "unreadable")]


def test_the_list_is_held_against_the_folders(dataset):
    for part in ("imagesTr", "labelsTr"):
        (dataset / part / "lung_003.nii.gz").rename(dataset / part / "new.nii.gz")
    (dataset / "imagesTs" / "lung_002.nii.gz").unlink()
    assert found(dataset) == [("lung_003", "absent"), ("new", "unlisted"), ("lung_002", "absent")]


def test_a_wrong_count_and_a_double_entry_are_faults(dataset):
    content = json.loads((dataset / "dataset.json").read_text())
    content["training"].append(content["training"][0])
    (dataset / "dataset.json").write_text(json.dumps(content))
    assert found(dataset) == [("", "count"), ("lung_001", "listed_twice")]


def test_a_patient_of_an_unknown_case_is_a_fault(dataset):
    content = json.loads((dataset / "dataset.json").read_text()) | {"patients": {"nobody": "p"}}
    (dataset / "dataset.json").write_text(json.dumps(content))
    assert found(dataset) == [("nobody", "unknown_patient")]


def test_without_a_list_the_files_are_checked_all_the_same(dataset):
    (dataset / "dataset.json").unlink()
    (dataset / "labelsTr" / "lung_001.nii.gz").unlink()
    assert found(dataset) == [("", "dataset_json"), ("lung_001", "no_mask")]


def test_forks_and_other_files_are_counted_as_notes(dataset):
    for name in ("._lung_001.nii.gz", "._lung_003.nii.gz", ".DS_Store", "lung_001.nii", "readme.txt"):
        (dataset / "imagesTr" / name).write_bytes(b"x")
    texts = [fault.text for fault in check_dataset(dataset)]
    assert texts[0] == "imagesTr: 2 macOS resource forks ignored"
    assert texts[1].startswith("imagesTr: 3 other files ignored (.DS_Store, lung_001.nii, readme.txt)")
    assert found(dataset) == []


def test_a_folder_that_is_missing_is_a_fault(dataset):
    shutil.rmtree(dataset / "labelsTr")
    assert found(dataset)[0] == ("", "no_folder")
    with pytest.raises(DatasetError, match="no such folder"):
        check_dataset(dataset / "nowhere")


@pytest.mark.parametrize(("high", "codes"), [(1.0, []), (1.5, [("a", "not_gray")])])
def test_gray_images_lie_in_0_to_1(tmp_path, high, codes):
    image = Volume(np.linspace(0, high, 24, dtype=np.float32).reshape(2, 3, 4), AFFINE)
    info = DatasetInfo("x", intensity="gray", training=("a",))
    write_case(tmp_path, "a", image, image.with_voxels((image.voxels > 0.5).astype(np.uint8)), info)
    write_dataset_json(tmp_path, info)
    assert found(tmp_path) == codes


def test_a_single_slice_in_hu_needs_no_air(tmp_path):
    image = Volume(np.full((1, 3, 4), 40, np.int16), AFFINE)
    info = DatasetInfo("x", slices="independent", training=("a",))
    write_case(tmp_path, "a", image, image.with_voxels(np.ones((1, 3, 4), np.uint8)), info)
    write_dataset_json(tmp_path, info)
    assert found(tmp_path) == []


def test_progress_counts_the_cases(dataset):
    seen = []
    check_dataset(dataset, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.real
def test_a_real_scan_with_its_outline_is_clean(shared_data, tmp_path):
    info = DatasetInfo("real", training=("pat4",))
    for part, file in (("imagesTr", "RadPhantom-pat4"), ("labelsTr", "RadPhantom-pat4_gtv")):
        (tmp_path / part).mkdir()
        shutil.copy(shared_data / "scans" / f"{file}.nii.gz", tmp_path / part / "pat4.nii.gz")
    write_dataset_json(tmp_path, info)
    assert check_dataset(tmp_path) == ()


def ignore(dataset, name, change):
    mask = read_nifti(dataset / "labelsTr" / "lung_001.nii.gz")
    (dataset / "ignoreTr").mkdir(exist_ok=True)
    write_nifti(change(mask), dataset / "ignoreTr" / f"{name}.nii.gz")


def test_what_is_ignored_lies_on_the_grid_holds_0_and_1_and_leaves_the_tumour_alone(dataset):
    ignore(dataset, "lung_001", lambda mask: mask.with_voxels((mask.voxels == 0).astype(np.uint8)))
    assert check_dataset(dataset) == ()
    ignore(dataset, "lung_001", lambda mask: mask)
    assert found(dataset) == [("lung_001", "ignored_tumour")]
    ignore(dataset, "lung_001", lambda mask: mask.with_voxels(2 * (mask.voxels == 0).astype(np.uint8)))
    assert found(dataset) == [("lung_001", "labels")]
    ignore(dataset, "lung_001", lambda mask: Volume(mask.voxels[1:] * 0, mask.affine))
    assert found(dataset) == [("lung_001", "other_grid")]


def test_what_is_ignored_of_no_case_is_a_fault_and_stops_the_work(dataset):
    ignore(dataset, "lung_01", lambda mask: mask)
    assert found(dataset) == [("lung_01", "stray_ignored")]
    with pytest.raises(DatasetError, match="lung_01 belong to no case"):
        find_cases(dataset)
