"""A scan as people send it: one file, a folder or a zip of files, read without unpacking.

Nothing is ever written, so a member's name cannot lead outside; a zip is read member by member, within
limits, so it cannot fill the memory either. What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from tumorspread.errors import ReadError

Kind = Literal["nifti", "gzip", "zip", "dicom", "image", "other"]

# A year of one patient's scans stays below; a whole disk given by mistake does not.
MAX_FILES = 50_000
# An uncompressed enhanced CT of 4000 slices of 512x512 holds 2 GiB.
MAX_MEMBER_BYTES = 4 * 2**30
MAX_ZIP_BYTES = 16 * 2**30
# CT packs 2:1 to 4:1, empty slices up to 1000:1, so the ratio of the whole archive counts, above 1 GiB.
MAX_ZIP_RATIO = 200
HEAD_BYTES = 352

# What zipfile and its decompressors let out on damaged, encrypted and exotic archives.
ZIP_FAULTS = (
    zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, EOFError, OSError,
    ValueError,
)  # fmt: skip

_IMAGE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A dataset without the 128-byte preamble begins with an element of group 0002 or 0008, little endian.
_BARE_DICOM_STARTS = (
    b"\x02\0\0\0", b"\x02\0\x10\0", b"\x08\0\0\0", b"\x08\0\x01\0", b"\x08\0\x05\0",
    b"\x08\0\x08\0", b"\x08\0\x12\0", b"\x08\0\x16\0",
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """Files under one name.

    Attributes:
        name: name of the file, folder or zip, for messages.
        files: names inside it, sorted; resource forks of macOS (`._*`) are left out.
        open_file: opens one of them for reading.
    """

    name: str
    files: tuple[str, ...]
    open_file: Callable[[str], BinaryIO]

    def open(self, file: str) -> BinaryIO:
        """The file as a seekable binary stream.

        Raises:
            ReadError: it cannot be opened (permissions, a damaged or encrypted zip).
        """
        try:
            return self.open_file(file)
        except ZIP_FAULTS as error:
            raise ReadError(f"{plain(file)}: cannot be opened ({short(error)})") from error

    def kind(self, file: str) -> Kind:
        """What the file is by its first bytes.

        Raises:
            ReadError: it cannot be read.
        """
        with self.open(file) as stream:
            try:
                return kind_of(stream.read(HEAD_BYTES))
            except ZIP_FAULTS as error:
                raise ReadError(f"{plain(file)}: cannot be read ({short(error)})") from error


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """The files at `path`: those of a folder (with its folders), the members of a zip, or the file itself.

    Raises:
        ReadError: nothing there, an empty folder, more than 50 000 files, a damaged zip, or one that unpacks
            to more than the limits above.
    """
    if path.is_dir():
        root = path
        yield Bundle(plain(path.resolve().name), _folder_files(path), lambda file: (root / file).open("rb"))
    elif not path.is_file():
        raise ReadError(f"{path}: no such file or folder")
    elif file_kind(path) == "zip":
        with _open_zip(path) as archive:
            yield Bundle(plain(path.name), _zip_files(path, archive), lambda file: _open_member(archive, file))
    else:
        yield Bundle(plain(path.name), (path.name,), lambda _: path.open("rb"))


def file_kind(path: Path) -> Kind:
    """What the file at `path` is by its first bytes.

    Raises:
        ReadError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return kind_of(stream.read(HEAD_BYTES))
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({short(error)})") from error


def kind_of(head: bytes) -> Kind:
    """What a file is by its first 352 bytes."""
    if head[128:132] == b"DICM" or head[:4] in _BARE_DICOM_STARTS:
        return "dicom"
    if head.startswith(_IMAGE_STARTS):
        return "image"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "nifti"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zip" if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) else "other"


def plain(name: str) -> str:
    """A file's name fit for a one-line message: without control characters, the last 100 characters."""
    shown = "".join(c if c.isprintable() else "?" for c in name)
    return shown if len(shown) <= 100 else "..." + shown[-97:]


def plain_list(names: Iterable[str]) -> str:
    """Up to eight names, and the number of the others."""
    known = [plain(name) for name in names]
    rest = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return ", ".join(known[:8]) + rest


def short(error: BaseException) -> str:
    """The class and the first line of another library's error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {plain(lines[0][:80])}" if lines else type(error).__name__


def _folder_files(path: Path) -> tuple[str, ...]:
    files: list[str] = []
    for folder, _, names in os.walk(path):
        place = Path(folder).relative_to(path)
        files += [(place / name).as_posix() for name in names if _is_wanted(name)]
        if len(files) > MAX_FILES:
            raise ReadError(f"{path}: more than {MAX_FILES} files; give the folder of one scan")
    if not files:
        raise ReadError(f"{path}: the folder holds no files")
    return tuple(sorted(files))


def _is_wanted(name: str) -> bool:
    return not name.startswith("._") and name != ".DS_Store"


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_FAULTS as error:
        raise ReadError(f"{path.name}: a damaged zip ({short(error)})") from error
    with archive:
        yield archive


def _zip_files(path: Path, archive: zipfile.ZipFile) -> tuple[str, ...]:
    """The members' names. zipfile stops at the sizes they declare, so the declared sizes are the limit."""
    members = [m for m in archive.infolist() if not m.is_dir() and _is_wanted(PurePosixPath(m.filename).name)]
    if not members:
        raise ReadError(f"{path.name}: the zip holds no files")
    if len(members) > MAX_FILES:
        raise ReadError(f"{path.name}: {len(members)} files; expected the files of one scan, up to {MAX_FILES}")
    unpacked, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    too_dense = unpacked > 2**30 and unpacked > MAX_ZIP_RATIO * packed
    if too_dense or unpacked > MAX_ZIP_BYTES or max(m.file_size for m in members) > MAX_MEMBER_BYTES:
        raise ReadError(
            f"{path.name}: unpacks from {packed / 2**20:.1f} to {unpacked / 2**20:.0f} MiB, more than a scan "
            "does (a zip bomb?); unpack it yourself and give the folder"
        )
    return tuple(sorted(m.filename for m in members))


def _open_member(archive: zipfile.ZipFile, file: str) -> BinaryIO:
    return io.BufferedReader(archive.open(file), 2**16)  # type: ignore[type-var]
