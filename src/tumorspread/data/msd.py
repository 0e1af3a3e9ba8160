"""Task06_Lung of the Medical Segmentation Decathlon: fetched whole, or case by case.

63 chest CTs with outlined tumours and 32 without (Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9),
CC-BY-SA 4.0, in one uncompressed tar of 8 GB. Single cases are picked out of the tar where it lies.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from tumorspread.data.archive import DATASET_JSON, TASK, Archive, Member, check_room, open_members
from tumorspread.data.cases import SUFFIX, Progress, join_names, read_dataset_info, write_text
from tumorspread.data.server import Patience
from tumorspread.errors import DatasetError, DownloadError

# Address and md5 as in MONAI's monai/apps/datasets.py, DecathlonDataset.
MSD_LUNG_URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task06_Lung.tar"
MSD_LUNG_MD5 = "8afd997733c7fc0432f71255ba4e52dc"


def fetch_msd_lung(
    out: Path,
    *,
    cases: Sequence[str] = (),
    source: str | None = None,
    md5: str | None = None,
    patience: Patience = Patience(),
    progress: Progress | None = None,
) -> Path:
    """Fetch the data set, or some cases of it, and unpack it. A second call goes on where the first stopped.

    The whole archive stays as `out`/Task06_Lung.tar beside the unpacked folder. Some cases come by ranges of
    the archive, without it; dataset.json then says under "partial" which are there.

    Args:
        out: folder that will hold Task06_Lung.
        cases: names such as lung_001; none for all.
        source: address of the tar, path of the tar, or folder that holds Task06_Lung or the tar; None for the
            Decathlon's mirror.
        md5: of the whole tar. The default address has its published one; other sources are compared only
            where one is given here.
        patience: with the server.
        progress: called with (bytes done, bytes in all), for a download of the whole, then for the files.

    Returns:
        `out`/Task06_Lung.

    Raises:
        DownloadError: the source is not there, breaks off, is damaged, lacks a case, or the disk is too full.
    """
    folder = out / TASK
    if not cases and _is_complete(folder):
        return folder
    report = progress or _report_nothing
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        archive = Archive(source or MSD_LUNG_URL, md5 or (None if source else MSD_LUNG_MD5), patience)
        with open_members(archive, out, in_part=bool(cases), report=report) as members:
            _save_members(_choose(members, cases, archive.source), cases, folder, report)
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{archive.source}: not a readable tar archive ({error}); fetch it again") from error
    except OSError as error:
        raise DownloadError(f"cannot fill {folder}: {error.strerror or error}") from error
    finally:
        if is_new:
            # Only an empty folder goes; what was fetched stays for the next call.
            with suppress(OSError):
                out.rmdir()
    return folder


def _report_nothing(done: int, total: int | None) -> None:
    pass


def _is_complete(folder: Path) -> bool:
    """Whether all is unpacked: dataset.json is written last, and says which files there are."""
    if not (folder / DATASET_JSON).is_file():
        return False
    try:
        if "partial" in json.loads((folder / DATASET_JSON).read_text(encoding="utf-8")):
            return False
        return all((folder / path).is_file() for path in _listed_paths(folder))
    except (DatasetError, ValueError):
        return False


def _listed_paths(folder: Path) -> list[str]:
    """The files that the folder's dataset.json promises."""
    info = read_dataset_info(folder)
    trained = [f"{part}/{name}{SUFFIX}" for part in ("imagesTr", "labelsTr") for name in info.training]
    return trained + [f"imagesTs/{name}{SUFFIX}" for name in info.test]


def _choose(members: Iterable[Member], cases: Sequence[str], source: str) -> dict[str, Member]:
    """The members wanted, by path; stops reading the archive when all cases asked for are found."""
    chosen: dict[str, Member] = {}
    known: set[str] = set()
    for member in members:
        name = PurePosixPath(member.path).name.removesuffix(SUFFIX)
        if member.path.endswith(SUFFIX):
            known.add(name)
        if not cases or name in cases or member.path == DATASET_JSON:
            chosen[member.path] = member
        if cases and DATASET_JSON in chosen and all(_has_case(chosen, case) for case in cases):
            break
    if DATASET_JSON not in chosen:
        raise DownloadError(f"{source}: no {TASK}/{DATASET_JSON} in it; expected the Decathlon's lung archive")
    if lacking := [case for case in cases if not _has_case(chosen, case)]:
        raise DownloadError(f"{source}: no case {join_names(lacking)}; it holds {', '.join(sorted(known))}")
    return chosen


def _has_case(chosen: dict[str, Member], case: str) -> bool:
    trained = f"imagesTr/{case}{SUFFIX}" in chosen and f"labelsTr/{case}{SUFFIX}" in chosen
    return trained or f"imagesTs/{case}{SUFFIX}" in chosen


def _save_members(chosen: dict[str, Member], cases: Sequence[str], folder: Path, report: Progress) -> None:
    """Write what is not there yet, dataset.json last."""
    staging = folder / ".fetch"
    staging.mkdir(parents=True, exist_ok=True)
    try:
        chosen[DATASET_JSON].save(staging / DATASET_JSON, _report_nothing)
        listed = set(_listed_paths(staging))
        # A tar that is cut off between two files reads as a shorter tar.
        if not cases and (lost := sorted(listed - set(chosen))):
            raise DownloadError(f"the archive lacks {join_names(lost)}; it is cut off or damaged, fetch it again")
        _save_files([m for m in chosen.values() if m.path != DATASET_JSON], folder, report)
        _write_dataset_json(staging / DATASET_JSON, folder / DATASET_JSON, cases)
    finally:
        shutil.rmtree(staging)


def _save_files(members: Sequence[Member], folder: Path, report: Progress) -> None:
    missing = [member for member in members if not _is_saved(folder / member.path, member.size)]
    total = sum(member.size for member in members)
    done = total - sum(member.size for member in missing)
    check_room(folder, total - done)
    for member in missing:
        target = folder / member.path
        target.parent.mkdir(parents=True, exist_ok=True)
        member.save(target, partial(_report_sum, report, done, total))
        done += member.size
        report(done, total)


def _is_saved(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _report_sum(report: Progress, before: int, total: int, done: int, _: int | None) -> None:
    report(before + done, total)


def _write_dataset_json(fetched: Path, target: Path, cases: Sequence[str]) -> None:
    """The archive's own file for the whole; for some cases with the list of those that are there now."""
    text = fetched.read_text(encoding="utf-8")
    if cases:
        content = json.loads(text)
        held = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {"partial": []}
        if "partial" not in held:
            return
        content["partial"] = sorted({*held["partial"], *cases})
        text = json.dumps(content, indent=1) + "\n"
    write_text(target, text)
