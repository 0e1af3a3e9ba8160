"""A data set in the layout of the Medical Segmentation Decathlon.

    DIR/dataset.json              name, labels, the list of training cases
    DIR/imagesTr/NAME.nii.gz      the scan of a case
    DIR/labelsTr/NAME.nii.gz      its mask
    DIR/imagesTs/NAME.nii.gz      scans without a mask, optional
    DIR/ignoreTr/NAME.nii.gz      1 where a case says nothing on tumour and must not be learned from, optional

dataset.json is the Decathlon's (Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9) with four optional
keys of our own: "intensity" ("hu" or "gray"), "slices" ("volume" or "independent"), "patients" (case:
patient) and "partial" (the cases that were fetched, where not all were).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from tumorspread.errors import DatasetError, OutputError
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Volume

Progress = Callable[[int, int | None], None]
Intensity = Literal["hu", "gray"]
Slices = Literal["volume", "independent"]

SUFFIX = ".nii.gz"


@dataclass(frozen=True)
class Case:
    """A scan with its mask. Cases of one `patient` belong into one part of a split.

    `ignored` is the file of the part that is neither tumour nor known to be free of it; None where all is known.
    """

    name: str
    image: Path
    mask: Path
    patient: str
    ignored: Path | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What dataset.json says.

    Attributes:
        name: of the data set.
        intensity: "hu" for CT numbers, "gray" for 0..1 without a known scale.
        slices: "volume" where neighbouring slices touch, "independent" where each is a picture of its own.
        labels: meaning of the mask's values 0, 1, ...
        training: names of the listed training cases that should be here.
        test: names of the listed test scans that should be here.
        count: number of training cases it claims ("numTraining"); None to claim as many as are listed.
        patients: patient of each case; a case that is not named is its own patient.
        description: one line for people.
        reference: where the data come from.
        licence: of the data.
    """

    name: str
    intensity: Intensity = "hu"
    slices: Slices = "volume"
    labels: tuple[str, ...] = ("background", "cancer")
    training: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    count: int | None = None
    patients: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    reference: str = ""
    licence: str = ""


def find_cases(folder: Path) -> tuple[Case, ...]:
    """The cases of a data set, sorted by name. Files are paired, not opened.

    Raises:
        DatasetError: no such folder, no or a broken dataset.json, no cases, or a scan without its mask or the
            other way round, or a file in ignoreTr of no case.
    """
    info = read_dataset_info(folder)
    images, masks = case_names(folder / "imagesTr"), case_names(folder / "labelsTr")
    if unpaired := sorted(images ^ masks):
        raise DatasetError(
            f"{folder}: {len(unpaired)} cases lack their image or their mask ({join_names(unpaired)}); "
            "fetch or remove them; `tumorspread data check` lists every fault"
        )
    if stray := sorted(case_names(folder / "ignoreTr") - images):
        raise DatasetError(f"{folder}/ignoreTr: {join_names(stray)} belong to no case; rename or remove them")
    if not images:
        raise DatasetError(f"{folder}: no cases; expected imagesTr/NAME{SUFFIX} and labelsTr/NAME{SUFFIX}")
    return tuple(place_case(folder, name, info) for name in sorted(images))


def read_dataset_info(folder: Path) -> DatasetInfo:
    """What the folder's dataset.json says; keys of our own that are absent mean HU volumes.

    Raises:
        DatasetError: no such folder, no dataset.json, or one that is not JSON or has a key of the wrong form.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected a data set with dataset.json and imagesTr/")
    path = folder / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _parse_info(content)
    except FileNotFoundError as error:
        raise DatasetError(f"{folder}: no dataset.json; is this the folder that holds imagesTr?") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path}: not a dataset.json of the Decathlon's form ({error!r})") from error


def write_dataset_json(folder: Path, info: DatasetInfo) -> None:
    """Write dataset.json so that `read_dataset_info` gives `info` back. Whole or not at all.

    Raises:
        OutputError: the folder cannot be written to.
    """
    content = {
        "name": info.name, "description": info.description,
        "reference": info.reference, "licence": info.licence,
        "tensorImageSize": "3D", "modality": {"0": "CT"},
        "labels": {str(value): label for value, label in enumerate(info.labels)},
        "numTraining": len(info.training) if info.count is None else info.count,
        "numTest": len(info.test),
        "intensity": info.intensity, "slices": info.slices, "patients": dict(info.patients),
        "training": [
            {"image": f"./imagesTr/{name}{SUFFIX}", "label": f"./labelsTr/{name}{SUFFIX}"}
            for name in info.training
        ],
        "test": [f"./imagesTs/{name}{SUFFIX}" for name in info.test],
    }  # fmt: skip
    write_text(folder / "dataset.json", json.dumps(content, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        OutputError: the folder cannot be written to.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the context ends well; otherwise it vanishes.

    Raises:
        DatasetError: `out` exists and is not empty.
        OutputError: the folder cannot be written to.
    """
    out = out.resolve()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DatasetError(f"{out}: is there and not empty; choose another folder or remove it")
    staging = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        staging.mkdir(parents=True)
        yield staging
        if out.is_dir():
            out.rmdir()
        os.replace(staging, out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_case(
    folder: Path, name: str, image: Volume, mask: Volume, info: DatasetInfo, *, ignored: Volume | None = None
) -> None:
    """Write the two files of a case, and a third where a part of it is `ignored`.

    Raises:
        OutputError: the folder cannot be written to.
    """
    case = place_case(folder, name, info)
    write_nifti(image, case.image)
    write_nifti(mask, case.mask)
    if ignored is not None:
        write_nifti(ignored, _ignored_file(folder, name))


def case_names(folder: Path) -> set[str]:
    """Names of the images in a folder such as imagesTr, none for a missing one. Hidden files do not count."""
    files = folder.glob(f"*{SUFFIX}")
    return {path.name.removesuffix(SUFFIX) for path in files if not path.name.startswith(".")}


def place_case(folder: Path, name: str, info: DatasetInfo) -> Case:
    """The case of that name, whether or not its files are there."""
    image, mask = folder / "imagesTr" / f"{name}{SUFFIX}", folder / "labelsTr" / f"{name}{SUFFIX}"
    ignored = _ignored_file(folder, name)
    return Case(name, image, mask, info.patients.get(name, name), ignored if ignored.is_file() else None)


def _ignored_file(folder: Path, name: str) -> Path:
    return folder / "ignoreTr" / f"{name}{SUFFIX}"


def join_names(names: Sequence[str]) -> str:
    """The first five names in a sentence, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _parse_info(content: dict[str, Any]) -> DatasetInfo:
    labels = {int(value): str(label) for value, label in content["labels"].items()}
    intensity, slices = content.get("intensity", "hu"), content.get("slices", "volume")
    if intensity not in get_args(Intensity) or slices not in get_args(Slices):
        raise ValueError(f"intensity {intensity!r}, slices {slices!r}")
    if sorted(labels) != list(range(len(labels))):
        raise ValueError(f"labels {sorted(labels)}; expected 0, 1, ...")
    listed = [_entry_name(entry["image"]) for entry in content["training"]]
    training = _kept(listed, content)
    return DatasetInfo(
        name=str(content["name"]),
        intensity=cast(Intensity, intensity),
        slices=cast(Slices, slices),
        labels=tuple(labels[value] for value in sorted(labels)),
        training=training,
        test=_kept([_entry_name(entry) for entry in content.get("test", [])], content),
        count=int(content["numTraining"]) - len(listed) + len(training),
        patients={str(case): str(patient) for case, patient in content.get("patients", {}).items()},
        description=str(content.get("description", "")),
        reference=str(content.get("reference", "")),
        licence=str(content.get("licence", "")),
    )


def _entry_name(entry: str) -> str:
    """Name of the case at "./imagesTr/NAME.nii.gz"."""
    return entry.rsplit("/", 1)[-1].removesuffix(SUFFIX)


def _kept(names: Sequence[str], content: dict[str, Any]) -> tuple[str, ...]:
    """Those of the names that should be here: all, or the fetched ones of a partial data set."""
    partial = content.get("partial", names)
    if not isinstance(partial, list):
        raise TypeError(f"partial {partial!r}; expected a list of cases")
    return tuple(name for name in names if name in partial)
