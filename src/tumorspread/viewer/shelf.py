"""All cases that are served, and the few of them whose arrays are in memory."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tumorspread.errors import ReadError
from tumorspread.measurement.findings import Findings
from tumorspread.report import scan_note
from tumorspread.report.scan_note import ScanNote
from tumorspread.viewer.case import Case, read_findings
from tumorspread.viewer.journal import Journal
from tumorspread.viewer.safe_file import own_file

# Before and after, side by side. A chest of 512 x 512 x 280 takes 0.4 GB.
MOST_OPEN = 2


@dataclass(frozen=True)
class Known:
    """A case that can be opened.

    Attributes:
        id: as it stands in addresses.
        name: as people call it.
        folder: its result folder, absolute and without links.
        note: where its scan lies; None where that is not known.
    """

    id: str
    name: str
    folder: Path
    note: ScanNote | None


@dataclass(frozen=True)
class Summary:
    """A line of the reading list."""

    id: str
    name: str
    lesions: int
    volume_ml: float
    warnings: int
    reviewed: bool
    revision: int


class UnknownCaseError(ReadError):
    """There is no case of that id."""


class Shelf:
    """The cases of one viewer, in reading order."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._open: OrderedDict[str, Case] = OrderedDict()
        self._lock = threading.RLock()
        self._served = Path(tempfile.mkdtemp(prefix="tumorspread-view-"))

    def add(self, folder: Path, scan: Path | None = None) -> Known:
        """Put a result folder on the shelf.

        Args:
            folder: with findings.json and lesions.nii.gz.
            scan: where its scan lies now; None takes the note of the analysis.

        Raises:
            ReadError: no result folder.
        """
        folder = folder.resolve()
        findings = read_findings(folder)
        with self._lock:
            name = _free(_plain(folder.name), self._known)
            known = Known(name, findings.scan.source, folder, _note(folder, scan))
            self._known[name] = known
        return known

    def ids(self) -> tuple[str, ...]:
        """The ids, in reading order."""
        return tuple(self._known)

    def known(self, case: str) -> Known:
        """The case of that id.

        Raises:
            UnknownCaseError: there is none.
        """
        known = self._known.get(case)
        if known is None:
            raise UnknownCaseError("there is no case of that name")
        return known

    def open(self, case: str) -> Case:
        """The case with its arrays; the one not asked for longest is put away for it.

        Raises:
            UnknownCaseError: there is none of that id.
            ReadError, GeometryError, MaskError: see `Case`; or where the scan lies is not known.
        """
        known = self.known(case)
        with self._lock:
            if case not in self._open:
                if known.note is None:
                    raise ReadError(f"{known.id}: where its scan lies is not known; name it with --scan")
                while len(self._open) >= MOST_OPEN:
                    self._open.popitem(last=False)
                self._open[case] = Case(known.folder, known.note)
            self._open.move_to_end(case)
            return self._open[case]

    def summary(self, case: str) -> Summary:
        """Its line of the reading list, without opening it."""
        known = self.known(case)
        journal = Journal(known.folder)
        entries = journal.entries()
        revision = max((entry.revision for entry in entries), default=0)
        findings: Findings | None = journal.findings(revision) if revision else None
        findings = findings or read_findings(known.folder)
        reviews = [entry.edit.get("reviewed") for entry in entries if entry.kind == "reviewed"]
        return Summary(
            id=known.id,
            name=known.name,
            lesions=findings.burden.count,
            volume_ml=findings.burden.volume_ml,
            warnings=len(findings.warnings),
            reviewed=bool(reviews and reviews[-1]),
            revision=revision,
        )

    def served_folder(self, case: str) -> Path:
        """A folder of this session for files that are made to be sent."""
        folder = self._served / self.known(case).id
        folder.mkdir(exist_ok=True)
        return folder

    def close(self) -> None:
        """Put everything away."""
        with self._lock:
            self._open.clear()
        shutil.rmtree(self._served, ignore_errors=True)


def find_results(path: Path) -> list[Path]:
    """The result folders at a path: itself, or those in it by name; links are passed over."""
    if own_file(path, Findings.file) is not None:
        return [path]
    inside = sorted((p for p in path.iterdir() if p.is_dir() and not p.is_symlink()), key=lambda p: _natural(p.name))
    return [p for p in inside if not p.name.startswith(".") and own_file(p, Findings.file) is not None]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which case 9 comes before case 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name)]


def _note(folder: Path, scan: Path | None) -> ScanNote | None:
    path = own_file(folder, scan_note.FILE)
    note = None if path is None else scan_note.read_note(path)
    if scan is not None:
        return ScanNote(str(scan.resolve())) if note is None else replace(note, scan=str(scan.resolve()))
    # A scan that was uploaded lies in its folder.
    return None if note is None else replace(note, scan=str(folder / note.scan))


def _plain(name: str) -> str:
    """A name of letters, digits, dots, dashes and underlines, fit for an address."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "case"


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, or with a number behind it where it is taken."""
    known = set(taken)
    names = [name, *(f"{name}-{n}" for n in range(2, len(known) + 2))]
    return next(n for n in names if n not in known)
