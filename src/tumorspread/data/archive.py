"""The files in a data set's archive, wherever it is: a tar on a server, a tar, or a folder.

A tar on a server is walked by ranges: a few kB a file, and then the bytes of the files wanted.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from tumorspread.data.cases import SUFFIX, Progress
from tumorspread.data.remote_tar import RangeReader, download, file_md5
from tumorspread.data.server import Patience, RemoteFile, look_up
from tumorspread.errors import DownloadError

TASK = "Task06_Lung"
DATASET_JSON = "dataset.json"

COPY_BYTES = 1 << 20
# One request shows the headers of a case's resource fork (4 kB) and of the file after it.
WALK_BYTES = 1 << 14


@dataclass(frozen=True)
class Member:
    """A file of the archive.

    Attributes:
        path: below Task06_Lung, "imagesTr/lung_001.nii.gz".
        size: in bytes.
        save: writes it under the path given, whole or not at all, and reports its bytes.
    """

    path: str
    size: int
    save: Callable[[Path, Progress], None]


@dataclass(frozen=True)
class Archive:
    """Where the archive is.

    Attributes:
        source: address or path of the tar, or path of a folder.
        md5: that the whole tar must have; None for one that is not known.
        patience: with the server.
    """

    source: str
    md5: str | None
    patience: Patience


@contextmanager
def open_members(archive: Archive, out: Path, *, in_part: bool, report: Progress) -> Iterator[Iterator[Member]]:
    """The files of the archive, without resource forks; they can be saved while the context is open.

    Args:
        archive: to be opened.
        out: folder for the tar where all of one on a server is fetched.
        in_part: read a tar on a server by ranges, for a few of its files.
        report: called with (bytes there, bytes in all) while a whole tar is fetched.

    Raises:
        DownloadError: the source is not there, has another md5, breaks off, or the disk is too full.
        tarfile.TarError: no tar, or one with a path that leaves its folder; here or while walking.
        OSError: a file cannot be read or written; here or while walking.
    """
    if "://" in archive.source:
        if in_part:
            remote = look_up(archive.source, archive.patience)
            reader = io.BufferedReader(RangeReader(remote, archive.patience), WALK_BYTES)
            with reader, tarfile.open(fileobj=reader, mode="r:") as tar:
                yield _tar_members(tar, partial(_fetch_member, remote, archive.patience))
            return
        path = _fetch_whole(archive, out / f"{TASK}.tar", report)
    else:
        path = _find_local(Path(archive.source))
        if archive.md5 is not None and path.is_file():
            _check_md5(path, archive.md5)
    if path.is_dir():
        yield _folder_members(path)
        return
    with tarfile.open(path, mode="r:") as tar:
        yield _tar_members(tar, partial(_unpack_member, tar))


def _fetch_whole(archive: Archive, path: Path, report: Progress) -> Path:
    if path.is_file():
        if archive.md5 is not None:
            _check_md5(path, archive.md5)
        return path
    remote = look_up(archive.source, archive.patience)
    part = path.with_name(path.name + ".part")
    held = part.stat().st_size if part.is_file() else 0
    # Twice: the unpacked files take as much as the tar.
    check_room(path.parent, 2 * (remote.size or 0) - held)
    download(remote, path, md5=archive.md5, patience=archive.patience, progress=report)
    return path


def _check_md5(path: Path, md5: str) -> None:
    if (found := file_md5(path)) != md5.lower():
        raise DownloadError(f"{path}: md5 {found}, expected {md5}; delete it and run the command again")


def check_room(folder: Path, needed: int) -> None:
    """Refuse, before the first byte, what the disk cannot hold.

    Raises:
        DownloadError: fewer than `needed` bytes are free where `folder` is.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} needed; make room or choose another disk"
        )


def _find_local(source: Path) -> Path:
    """The tar, or the folder with dataset.json."""
    if source.is_file():
        return source
    for folder in (source, source / TASK):
        if (folder / DATASET_JSON).is_file():
            return folder
    if (source / f"{TASK}.tar").is_file():
        return source / f"{TASK}.tar"
    raise DownloadError(f"{source}: no tar and no folder with {TASK} or {TASK}.tar; check --from")


def _folder_members(folder: Path) -> Iterator[Member]:
    paths = [folder / DATASET_JSON]
    for part in ("imagesTr", "labelsTr", "ignoreTr", "imagesTs"):
        paths += sorted((folder / part).glob(f"[!.]*{SUFFIX}"))
    for path in paths:
        yield Member(path.relative_to(folder).as_posix(), path.stat().st_size, partial(_copy_file, path))


def _tar_members(tar: tarfile.TarFile, save: Callable[[tarfile.TarInfo, Path, Progress], None]) -> Iterator[Member]:
    for info in tar:
        path = PurePosixPath(info.name)
        if info.isdir() or path.name.startswith("._"):
            continue
        tarfile.data_filter(info, ".")  # raises for links and paths that lead out of the folder
        if not info.isreg() or info.issparse() or ".." in path.parts:
            raise DownloadError(f"{info.name!r} in the tar is no plain file; expected scans and masks alone")
        if path.parts[0] == TASK:
            yield Member(path.relative_to(TASK).as_posix(), info.size, partial(save, info))


def _fetch_member(
    remote: RemoteFile, patience: Patience, info: tarfile.TarInfo, target: Path, report: Progress
) -> None:
    # A part of the archive has no md5 of its own, but every scan and mask carries the checksum of gzip.
    staged = target.with_name(f".{target.name}")
    stop = info.offset_data + info.size
    download(remote, staged, start=info.offset_data, stop=stop, patience=patience, progress=report)
    if target.name.endswith(".gz") and not _is_sound_gzip(staged):
        staged.unlink()
        raise DownloadError(f"{info.name} came damaged from {remote.url}; removed, run the command again")
    os.replace(staged, target)


def _is_sound_gzip(path: Path) -> bool:
    try:
        with gzip.open(path) as file:
            while file.read(COPY_BYTES):
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False
    return True


def _unpack_member(tar: tarfile.TarFile, info: tarfile.TarInfo, target: Path, report: Progress) -> None:
    source = tar.extractfile(info)
    if source is None:
        raise DownloadError(f"{info.name} in the tar is no plain file; expected scans and masks alone")
    with source:
        _copy(source, target, report)


def _copy_file(path: Path, target: Path, report: Progress) -> None:
    with path.open("rb") as source:
        _copy(source, target, report)


def _copy(source: IO[bytes], target: Path, report: Progress) -> None:
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    done = 0
    try:
        with unfinished.open("wb") as file:
            while chunk := source.read(COPY_BYTES):
                done += file.write(chunk)
                report(done, None)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
