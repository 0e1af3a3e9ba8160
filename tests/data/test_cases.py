from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tumorspread.data.cases import (
    DatasetInfo,
    case_names,
    find_cases,
    new_folder,
    read_dataset_info,
    write_case,
    write_dataset_json,
    write_text,
)
from tumorspread.errors import DatasetError, OutputError
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.volume import Volume


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


@pytest.fixture
def dataset(tmp_path):
    names = ("b", "a", "c")
    for name in names:
        touch(tmp_path, f"imagesTr/{name}.nii.gz", f"labelsTr/{name}.nii.gz")
    write_dataset_json(tmp_path, DatasetInfo("three", training=names, patients={"a": "p1", "b": "p1"}))
    return tmp_path


def test_cases_are_paired_and_sorted(dataset):
    cases = find_cases(dataset)
    assert [case.name for case in cases] == ["a", "b", "c"]
    assert cases[0].image == dataset / "imagesTr" / "a.nii.gz"
    assert cases[0].mask == dataset / "labelsTr" / "a.nii.gz"


def test_a_case_without_a_patient_is_its_own(dataset):
    assert [case.patient for case in find_cases(dataset)] == ["p1", "p1", "c"]


def test_resource_forks_and_hidden_files_are_no_cases(dataset):
    touch(dataset, "imagesTr/._a.nii.gz", "labelsTr/._z.nii.gz", "imagesTr/.a.nii.gz.part")
    assert len(find_cases(dataset)) == 3


def test_a_folder_that_is_missing_has_no_names(tmp_path):
    assert case_names(tmp_path / "imagesTr") == set()


def test_unpaired_cases_are_named(dataset):
    touch(dataset, "imagesTr/lonely.nii.gz", "labelsTr/orphan.nii.gz")
    with pytest.raises(DatasetError, match=r"2 cases lack .*lonely, orphan"):
        find_cases(dataset)


def test_a_long_list_of_names_is_cut(dataset):
    touch(dataset, *(f"imagesTr/x{i}.nii.gz" for i in range(8)))
    with pytest.raises(DatasetError, match="x0, x1, x2, x3, x4 and 3 more"):
        find_cases(dataset)


def test_no_folder_no_list_and_no_cases_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=re.escape("no dataset.json")):
        find_cases(tmp_path)
    write_dataset_json(tmp_path, DatasetInfo("empty"))
    with pytest.raises(DatasetError, match="no cases"):
        find_cases(tmp_path)


def test_the_list_comes_back_as_it_was_written(tmp_path):
    info = DatasetInfo(
        "x",
        "gray",
        "independent",
        ("air", "lung", "tumour"),
        ("a", "b"),
        ("t",),
        2,
        {"a": "p"},
        "d",
        "r",
        "l",
    )
    write_dataset_json(tmp_path, info)
    assert read_dataset_info(tmp_path) == info


def test_the_list_has_the_form_of_the_decathlon(tmp_path):
    write_dataset_json(tmp_path, DatasetInfo("x", training=("a",), test=("t",)))
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert content["training"] == [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    assert content["test"] == ["./imagesTs/t.nii.gz"]
    assert (content["numTraining"], content["numTest"]) == (1, 1)
    assert content["labels"] == {"0": "background", "1": "cancer"}


def test_a_list_of_the_decathlon_means_volumes_in_hu(lung_folder):
    info = read_dataset_info(lung_folder)
    assert (info.intensity, info.slices, info.patients) == ("hu", "volume", {})
    assert info.labels == ("background", "cancer")
    assert (info.training, info.test, info.count) == (("lung_001", "lung_003", "lung_004"), ("lung_002",), 3)


def test_a_partial_list_expects_the_fetched_cases_alone(lung_folder, tmp_path):
    content = json.loads((lung_folder / "dataset.json").read_text())
    content["partial"] = ["lung_003", "lung_002"]
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    info = read_dataset_info(tmp_path)
    assert (info.training, info.test, info.count) == (("lung_003",), ("lung_002",), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"intensity": "HU"},
        {"slices": 3},
        {"labels": {"0": "background", "2": "cancer"}},
        {"labels": ["background"]},
        {"training": "all"},
        {"training": [{"label": "a"}]},
        {"numTraining": None},
        {"partial": "lung_001"},
        {"patients": ["a"]},
    ],
)
def test_a_list_of_another_form_is_refused(lung_folder, tmp_path, change):
    content = json.loads((lung_folder / "dataset.json").read_text()) | change
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"not a dataset\.json") as caught:
        read_dataset_info(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "\xff"])
def test_a_list_that_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "dataset.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"not a dataset\.json"):
        read_dataset_info(tmp_path)


def test_a_case_is_written_where_it_is_found(tmp_path):
    rng = np.random.default_rng(0)
    image = Volume(rng.normal(size=(2, 3, 4)).astype(np.float32), np.diag([3.0, 2.0, 1.0, 1.0])[[2, 1, 0, 3]])
    mask = image.with_voxels(np.eye(3, 4, dtype=np.uint8)[np.newaxis].repeat(2, 0))
    info = DatasetInfo("x", training=("a",))
    write_case(tmp_path, "a", image, mask, info)
    write_dataset_json(tmp_path, info)
    (case,) = find_cases(tmp_path)
    np.testing.assert_array_equal(read_nifti(case.image).voxels, image.voxels)
    np.testing.assert_array_equal(read_nifti(case.mask).voxels, mask.voxels)


def test_a_new_folder_appears_when_all_is_in_it(tmp_path):
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "x").touch()
        assert not (tmp_path / "deep" / "out").exists()
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["out", "x"]


def test_a_new_folder_may_replace_an_empty_one(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "x").touch()
    assert (tmp_path / "out" / "x").exists()


def test_a_new_folder_vanishes_after_a_fault(tmp_path):
    def fail_half_way():
        with new_folder(tmp_path / "out") as folder:
            (folder / "x").touch()
            raise DatasetError("half way")

    with pytest.raises(DatasetError, match="half way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: (p.mkdir(), (p / "x").touch())])
def test_what_is_there_is_never_replaced(tmp_path, make):
    make(tmp_path / "out")
    with pytest.raises(DatasetError, match="not empty"), new_folder(tmp_path / "out"):
        pass


def test_a_text_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "x", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
