from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorspread.data.cases import Case, DatasetInfo, write_dataset_json
from tumorspread.data.splits import (
    Split,
    read_split,
    read_splits,
    split_folds,
    split_holdout,
    write_splits,
)
from tumorspread.errors import DatasetError

# The 63 training cases of Task06_Lung, and the test sets of
# sklearn.model_selection.KFold(5, shuffle=True, random_state=12345) over them (scikit-learn 1.9.1).
MSD_NUMBERS = (
    1, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 20, 22, 23, 25, 26, 27, 28, 29, 31, 33, 34, 36, 37, 38, 41, 42,
    43, 44, 45, 46, 47, 48, 49, 51, 53, 54, 55, 57, 58, 59, 61, 62, 64, 65, 66, 69, 70, 71, 73, 74, 75, 78,
    79, 80, 81, 83, 84, 86, 92, 93, 95, 96,
)  # fmt: skip
SKLEARN_FOLDS = (
    (6, 10, 33, 34, 41, 42, 46, 48, 59, 65, 66, 70, 79),
    (4, 15, 22, 31, 36, 38, 53, 62, 64, 69, 71, 75, 81),
    (1, 5, 9, 26, 37, 44, 47, 49, 74, 78, 80, 83, 86),
    (14, 16, 18, 20, 23, 27, 28, 29, 43, 57, 58, 84),
    (3, 25, 45, 51, 54, 55, 61, 73, 92, 93, 95, 96),
)
# The same over range(7).
SKLEARN_FOLDS_OF_7 = ((3, 6), (0, 4), (1,), (5,), (2,))


def make_cases(patients):
    """A case for each patient named, c00, c01, ..."""
    return [Case(f"c{i:02d}", Path("i"), Path("m"), str(patient)) for i, patient in enumerate(patients)]


def named(numbers):
    return tuple(f"lung_{number:03d}" for number in numbers)


def test_the_folds_of_the_decathlon_are_those_of_nnunet():
    cases = [Case(name, Path("i"), Path("m"), name) for name in reversed(named(MSD_NUMBERS))]
    folds = split_folds(cases)
    assert [fold.val for fold in folds] == [named(part) for part in SKLEARN_FOLDS]
    for fold in folds:
        assert fold.train == tuple(sorted(set(named(MSD_NUMBERS)) - set(fold.val)))
        assert fold.test == ()


def test_the_folds_of_seven_are_those_of_sklearn():
    folds = split_folds(make_cases(f"c{i:02d}" for i in range(7)))
    assert [fold.val for fold in folds] == [tuple(f"c{i:02d}" for i in part) for part in SKLEARN_FOLDS_OF_7]


def test_folds_keep_the_cases_of_a_patient_together():
    cases = make_cases([0, 0, 1, 1, 2, 3, 4, 4, 4, 5])
    folds = split_folds(cases)
    assert sorted(chain(*(fold.val for fold in folds))) == [case.name for case in cases]
    assert_no_patient_twice(cases, folds)


def test_four_patients_make_no_five_folds():
    with pytest.raises(DatasetError, match="4 patients for 5 folds"):
        split_folds(make_cases([0, 1, 2, 3, 3, 3]))


def assert_no_patient_twice(cases, splits):
    patient = {case.name: case.patient for case in cases}
    for split in splits:
        parts = [{patient[name] for name in part} for part in (split.train, split.val, split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_draw_takes_every_case_once_and_no_patient_twice(patients, seed):
    cases = make_cases(patients)
    if len(set(patients)) < 3:
        with pytest.raises(DatasetError, match="patients for 3 parts"):
            split_holdout(cases, seed=seed)
        return
    (split,) = split_holdout(cases, seed=seed)
    assert sorted([*split.train, *split.val, *split.test]) == [case.name for case in cases]
    assert all((split.train, split.val, split.test))
    assert_no_patient_twice(cases, [split])


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [
        (100, (0.7, 0.15, 0.15), (70, 15, 15)),
        (63, (0.7, 0.15, 0.15), (44, 10, 9)),
        (3, (0.7, 0.15, 0.15), (1, 1, 1)),
        (4, (0.98, 0.01, 0.01), (2, 1, 1)),
        (10, (0.8, 0.2, 0.0), (8, 2, 0)),
        (5, (1.0, 0.0, 0.0), (5, 0, 0)),
    ],
)
def test_the_parts_have_the_sizes_asked_for(count, fractions, sizes):
    (split,) = split_holdout(make_cases(range(count)), fractions=fractions)
    assert (len(split.train), len(split.val), len(split.test)) == sizes


def test_the_seed_decides_and_the_order_of_the_cases_does_not():
    cases = make_cases(range(40))
    assert split_holdout(cases, seed=3) == split_holdout(cases[::-1], seed=3)
    assert split_holdout(cases, seed=3) != split_holdout(cases, seed=4)


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0.5, 0.2, 0.2), (float("nan"), 0.5, 0.5)])
def test_fractions_that_are_no_shares_are_refused(fractions):
    with pytest.raises(DatasetError, match="sum to 1"):
        split_holdout(make_cases(range(20)), fractions=fractions)


def test_a_name_in_two_parts_is_refused():
    with pytest.raises(DatasetError, match="b more than once"):
        Split(("a", "b"), ("b",))


def test_splits_come_back_as_they_were_written(tmp_path):
    splits = split_folds(make_cases(range(11)))
    write_splits(tmp_path / "splits.json", splits, kind="folds", seed=12345)
    assert read_splits(tmp_path / "splits.json") == splits
    content = json.loads((tmp_path / "splits.json").read_text())
    assert (content["kind"], content["seed"]) == ("folds", 12345)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"splits": 3}', '{"splits": []}', '{"splits": [{"train": ["a"]}]}',
        '{"splits": [{"train": "abc", "val": []}]}', '{"splits": [{"train": [1], "val": []}]}',
        '{"splits": [{"train": ["a"], "val": ["a"]}]}', '{"splits": ["a"]}',
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(DatasetError):
        read_splits(tmp_path / "splits.json")


@pytest.fixture
def dataset(tmp_path):
    names = ("a", "b", "c", "d")
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
        for name in names:
            (tmp_path / part / f"{name}.nii.gz").touch()
    write_dataset_json(tmp_path, DatasetInfo("four", training=names, patients={"a": "p", "b": "p"}))
    return tmp_path


def put(dataset, *splits):
    write_splits(dataset / "splits.json", splits, kind="holdout", seed=0)


def test_training_reads_the_fold_it_asks_for(dataset):
    folds = (Split(("a", "b"), ("c",), ("d",)), Split(("c", "d"), ("a", "b")))
    put(dataset, *folds)
    assert read_split(dataset) == folds[0]
    assert read_split(dataset, fold=1) == folds[1]


@pytest.mark.parametrize("fold", [-1, 1])
def test_a_fold_that_is_not_there_is_refused(dataset, fold):
    put(dataset, Split(("a", "b"), ("c",)))
    with pytest.raises(DatasetError, match=f"no fold {fold}; it holds 1"):
        read_split(dataset, fold)


def test_a_missing_file_says_how_to_make_it(dataset):
    with pytest.raises(DatasetError, match="tumorspread data split"):
        read_split(dataset)


def test_a_name_that_the_data_set_lacks_is_refused(dataset):
    put(dataset, Split(("a", "b", "ghost"), ("c",)))
    with pytest.raises(DatasetError, match="ghost not in the data set"):
        read_split(dataset)


def test_a_patient_in_two_parts_is_refused(dataset):
    put(dataset, Split(("a", "c"), ("b",)))
    with pytest.raises(DatasetError, match="patient p in two parts"):
        read_split(dataset)


def test_a_split_without_training_cases_is_refused(dataset):
    put(dataset, Split((), ("a", "b")))
    with pytest.raises(DatasetError, match="no training case"):
        read_split(dataset)
