"""Where results go and scans come from: folders, or any address that fsspec opens."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from uuid import uuid4

from tumorspread.cohort.rows import Row
from tumorspread.errors import DownloadError, OutputError, ReadError, TumorspreadError

# The mark of a whole result folder; at a far address it is the last file to come and the first to go.
ROW = "row.json"


@dataclass(frozen=True)
class Place:
    """A cohort's folder, as every worker sees it.

    Attributes:
        folder: the cohort's; on a file system that all workers and the client share.
        to: address for the result folders; None puts them into `folder`.
        kind: what the results are of, and so the folder that holds their folders.
    """

    folder: Path
    to: str | None = None
    kind: Literal["cases", "patients"] = "cases"

    @property
    def patients(self) -> Place:
        """Of the follow-up of the patients, with plan, claims and journal of its own."""
        return replace(self, kind="patients")

    @property
    def state(self) -> Path:
        """Folder of what a run must know."""
        return self.folder if self.kind == "cases" else self.folder / "followup"

    @property
    def claims(self) -> Path:
        """Folder of the claims."""
        return self.state / "claims"

    @property
    def journal(self) -> Path:
        """Folder of the journals."""
        return self.state / "journal"

    @property
    def unfinished(self) -> Path:
        """Folder of the result folders that grow."""
        return self.state / "unfinished"

    def prepare(self) -> None:
        """Make what every run needs.

        Raises:
            OutputError: the folder cannot be written to.
        """
        try:
            for path in (self.claims, self.journal, self.unfinished):
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from error

    @contextmanager
    def planning(self) -> Iterator[None]:
        """As `prepare`; an input that is refused leaves no empty folders behind."""
        was_there = self.folder.exists()
        self.prepare()
        try:
            yield
        except TumorspreadError:
            for path in (self.claims, self.journal, self.unfinished, *([] if was_there else [self.folder])):
                with suppress(OSError):
                    path.rmdir()
            raise

    def address(self, case: str) -> str:
        """Of a case's result folder."""
        return str(self.folder / self.kind / case) if self.to is None else f"{self.to.rstrip('/')}/{self.kind}/{case}"

    def row(self, case: str) -> Row | None:
        """The row in a case's result folder; None where there is none, or a torn one.

        Raises:
            OutputError: the address cannot be opened.
        """
        try:
            if self.to is None:
                return Row.from_json(Path(self.address(case), ROW).read_bytes())
            filesystem, path = open_address(self.address(case))
            return Row.from_json(filesystem.cat_file(f"{path}/{ROW}"))
        except (FileNotFoundError, NotADirectoryError, ReadError):
            return None
        except OSError as error:
            raise OutputError(f"{self.address(case)}: cannot be read ({error})") from error

    @contextmanager
    def growing(self, case: str) -> Iterator[Path]:
        """A folder of its own for one try; it vanishes at the end, where `keep` has not taken it.

        Raises:
            OutputError: it cannot be made.
        """
        path = self.unfinished / f"{case}.{uuid4().hex[:12]}"
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, grown: Path, case: str, row: Row) -> None:
        """Make a folder that has grown, with its row, the result folder of a case.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            (grown / ROW).write_text(row.to_json() + "\n", encoding="utf-8")
            if self.to is None:
                self._rename(grown, Path(self.address(case)))
            else:
                self._send(grown, self.address(case))
        except OSError as error:
            raise OutputError(f"cannot write {self.address(case)}: {error.strerror or error}") from error

    def _rename(self, grown: Path, out: Path) -> None:
        try:
            os.rename(grown, out)
        except FileNotFoundError:
            out.parent.mkdir(parents=True, exist_ok=True)
            os.rename(grown, out)
        except OSError:
            # Results of other settings are there. Between both renames the case counts as missing.
            old = grown.with_name(f"{grown.name}.old")
            os.rename(out, old)
            os.rename(grown, out)
            shutil.rmtree(old, ignore_errors=True)

    def _send(self, grown: Path, address: str) -> None:
        filesystem, path = open_address(address)
        if filesystem.exists(path):
            if filesystem.exists(f"{path}/{ROW}"):
                filesystem.rm_file(f"{path}/{ROW}")
            filesystem.rm(path, recursive=True)
        files = sorted((file for file in grown.rglob("*") if file.is_file()), key=lambda file: file.name == ROW)
        for file in files:
            target = f"{path}/{file.relative_to(grown).as_posix()}"
            filesystem.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            filesystem.put_file(str(file), target)


def is_far(address: str) -> bool:
    """Whether it is an address for fsspec rather than a path."""
    return "://" in address


def open_address(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        OutputError: no such protocol, or the library for it is missing.
    """
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise OutputError(f"{address}: cannot be opened ({first}); install what fsspec needs for it") from error
    return filesystem, str(path)


@contextmanager
def at_hand(address: str) -> Iterator[Path]:
    """A file or folder as a path: itself, or a copy that is there for the block.

    Raises:
        DownloadError: it cannot be fetched, but may another time.
        ReadError: there is nothing there.
    """
    if not is_far(address):
        yield Path(address)
        return
    with tempfile.TemporaryDirectory(prefix="tumorspread-") as folder:
        filesystem, path = open_address(address)
        target = Path(folder) / PurePosixPath(path.rstrip("/")).name
        try:
            filesystem.get(path, str(target), recursive=True)
        except FileNotFoundError as error:
            raise ReadError(f"{address}: no such file or folder") from error
        except OSError as error:
            raise DownloadError(f"{address}: cannot be fetched ({error})") from error
        yield target
