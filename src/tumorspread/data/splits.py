"""Which cases train, which choose the weights, which judge them: by patient, seeded, in a file.

`splits.json` lies beside dataset.json and holds one split ("holdout") or five ("folds"):

    {"kind": "holdout", "seed": 0, "splits": [{"train": ["lung_001"], "val": ["lung_003"], "test": []}]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tumorspread.data.cases import Case, find_cases, join_names, write_text
from tumorspread.errors import DatasetError

Kind = Literal["holdout", "folds"]

SPLITS_FILE = "splits.json"
# nnU-Net's cross-validation: scikit-learn's KFold over the sorted names (Isensee et al. 2021,
# doi:10.1038/s41592-020-01008-z; nnunetv2/utilities/crossval_split.py).
FOLD_COUNT = 5
FOLD_SEED = 12345

DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)


@dataclass(frozen=True)
class Split:
    """Names of the cases of each part.

    Raises:
        DatasetError: a name stands in two parts or twice in one.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [*self.train, *self.val, *self.test]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DatasetError(f"split: {join_names(twice)} more than once; a case belongs to one part")


def split_holdout(
    cases: Sequence[Case], *, fractions: tuple[float, float, float] = DEFAULT_FRACTIONS, seed: int = 0
) -> tuple[Split, ...]:
    """Draw train, validation and test cases by patient.

    Args:
        cases: to be split, in any order.
        fractions: shares of the patients for train, val and test; they sum to 1. A share above 0 gets at
            least one patient.
        seed: of the draw; the same patients and seed give the same split.

    Returns:
        One split, the names of each part sorted.

    Raises:
        DatasetError: fractions that are no shares, or fewer patients than parts.
    """
    parts = sum(share > 0 for share in fractions)
    if not all(0 <= share <= 1 for share in fractions) or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise DatasetError(f"fractions {fractions}; expected three shares of 0 to 1 that sum to 1")
    patients = sorted({case.patient for case in cases})
    if len(patients) < parts:
        raise DatasetError(f"{len(patients)} patients for {parts} parts; expected at least one for each part")
    order = np.random.default_rng(seed).permutation(len(patients))
    bounds = accumulate(_part_sizes(len(patients), fractions), initial=0)
    return (_split(cases, [{patients[i] for i in order[start:stop]} for start, stop in pairwise(bounds)]),)


def split_folds(cases: Sequence[Case]) -> tuple[Split, ...]:
    """The five folds of nnU-Net: each patient is in `val` of one of them; `test` is empty.

    The folds run over the sorted patients. Where every case is a patient of its own, as in the Decathlon,
    they are the very folds that nnU-Net makes of the same names.

    Raises:
        DatasetError: fewer than five patients.
    """
    patients = sorted({case.patient for case in cases})
    if len(patients) < FOLD_COUNT:
        raise DatasetError(f"{len(patients)} patients for {FOLD_COUNT} folds; expected at least {FOLD_COUNT}")
    order = np.arange(len(patients))
    np.random.RandomState(FOLD_SEED).shuffle(order)
    held_out = [{patients[i] for i in part} for part in np.array_split(order, FOLD_COUNT)]
    return tuple(_split(cases, [set(patients) - val, val, set()]) for val in held_out)


def write_splits(path: Path, splits: Sequence[Split], *, kind: Kind, seed: int) -> None:
    """Write splits so that `read_splits` gives them back; the file appears whole or not at all.

    Raises:
        OutputError: the folder cannot be written to.
    """
    content = {"kind": kind, "seed": seed, "splits": [asdict(split) for split in splits]}
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_splits(path: Path) -> tuple[Split, ...]:
    """Read what `write_splits` wrote.

    Raises:
        DatasetError: no such file, not JSON, another form, or a name twice in a split.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        splits = tuple(_parse_split(entry) for entry in content["splits"])
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file; make it with `tumorspread data split`") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path}: not a list of splits ({error!r}); make it anew") from error
    if not splits:
        raise DatasetError(f"{path}: holds no split; make it anew with `tumorspread data split`")
    return splits


def read_split(folder: Path, fold: int = 0) -> Split:
    """The split that training on this data set uses.

    Args:
        folder: the data set, with splits.json.
        fold: which of the splits in the file, from 0.

    Raises:
        DatasetError: no such fold, a name that the data set lacks, a patient in two parts, nothing to train
            on, or a data set or file that cannot be read.
    """
    path = folder / SPLITS_FILE
    splits = read_splits(path)
    if not 0 <= fold < len(splits):
        raise DatasetError(f"{path}: no fold {fold}; it holds {len(splits)}, counted from 0")
    split = splits[fold]
    patients = {case.name: case.patient for case in find_cases(folder)}
    if unknown := sorted({*split.train, *split.val, *split.test} - set(patients)):
        raise DatasetError(f"{path}: {join_names(unknown)} not in the data set; make the file anew")
    if not split.train:
        raise DatasetError(f"{path}: fold {fold} has no training case; make the file anew")
    parts = [{patients[name] for name in part} for part in (split.train, split.val, split.test)]
    everyone = list(chain(*parts))
    if shared := sorted({patient for patient in everyone if everyone.count(patient) > 1}):
        raise DatasetError(f"{path}: patient {join_names(shared)} in two parts; the result would be too good")
    return split


def _part_sizes(count: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers nearest to the shares that sum to `count`, at least 1 for a share above 0."""
    sizes = [max(int(share > 0), math.floor(share * count + 1e-9)) for share in fractions]
    while sum(sizes) < count:
        short = [share * count - size for share, size in zip(fractions, sizes, strict=True)]
        sizes[short.index(max(short))] += 1
    while sum(sizes) > count:
        sizes[sizes.index(max(sizes))] -= 1
    return sizes


def _split(cases: Sequence[Case], parts: Sequence[set[str]]) -> Split:
    train, val, test = (tuple(sorted(c.name for c in cases if c.patient in part)) for part in parts)
    return Split(train, val, test)


def _parse_split(entry: dict[str, Any]) -> Split:
    parts = [entry["train"], entry["val"], entry.get("test", [])]
    if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in parts):
        raise TypeError("train, val and test must be lists of names")
    return Split(*(tuple(part) for part in parts))
