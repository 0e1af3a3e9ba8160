"""A case on the desk: a result folder with its scan, its map as edited, and what can be undone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError, ReadError, TumorspreadError
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.lungs import LungMask, segment_lungs
from tumorspread.report.scan_note import ScanNote
from tumorspread.scan.read import read, read_labels
from tumorspread.scan.volume import Volume
from tumorspread.viewer.changes import make_delta
from tumorspread.viewer.delta import Delta
from tumorspread.viewer.edits import Accept, Change, EditError, Redo, Step, Undo, shown
from tumorspread.viewer.journal import Entry, Journal, now
from tumorspread.viewer.lesion_map import LesionMap
from tumorspread.viewer.remeasure import remeasure
from tumorspread.viewer.safe_file import own_file

# Of the warnings those that `segment_lungs` gives.
LUNG_CODES = (
    "lungs_not_found", "one_lung_found", "lungs_not_separated", "lungs_touch", "lungs_cut_by_scan",
    "lung_volume_implausible",
)  # fmt: skip


class StaleError(TumorspreadError):
    """The edit was made of another revision than the current one."""

    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"this edit was made of revision {revision}, the case is at {current}: load it and edit again")
        self.current = current


@dataclass(frozen=True)
class Made:
    """What an edit came to."""

    revision: int
    changed: tuple[int, ...]
    findings: Findings


@dataclass(eq=False)
class History:
    """Which revisions can be undone and redone, the last one last; and which lesions are accepted."""

    undoable: list[Entry] = field(default_factory=list)
    redoable: list[Entry] = field(default_factory=list)
    accepted: set[int] = field(default_factory=set)
    revision: int = 0
    reviewed: bool = False

    def add(self, entry: Entry) -> None:
        """Take an entry into account."""
        if entry.kind == "reviewed":
            self.reviewed = bool(entry.edit.get("reviewed"))
            return
        self.revision = entry.revision
        if entry.kind == "undo":
            self.redoable.append(self.undoable.pop())
            self._accept(self.redoable[-1], back=True)
        elif entry.kind == "redo":
            self.undoable.append(self.redoable.pop())
            self._accept(self.undoable[-1], back=False)
        else:
            self.undoable.append(entry)
            self.redoable.clear()
            self._accept(entry, back=False)

    def _accept(self, entry: Entry, *, back: bool) -> None:
        if entry.kind == "accept":
            change = self.accepted.add if bool(entry.edit["accepted"]) != back else self.accepted.discard
            change(int(entry.edit["lesion"]))


class Case:
    """A case with its arrays in memory; its methods hold its lock.

    Args:
        folder: the result folder, an absolute path without links.
        note: where its scan lies.

    Raises:
        ReadError, GeometryError: a file is missing or damaged.
        MaskError: the scan is not that of the results.
    """

    def __init__(self, folder: Path, note: ScanNote) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.first = read_findings(folder)
        self.note = note
        self.scan = read(note.scan, series=note.series, tilt=note.tilt)
        self._journal = Journal(folder)
        labels = self._labels("lesions.nii.gz", np.uint16)
        if labels is None:
            raise ReadError(f"{folder.name}: lesions.nii.gz is missing; analyse the scan again")
        self.lesions = LesionMap.of(labels, self.scan.spacing_mm)
        sides = self._labels("lungs.nii.gz", np.uint8)
        self.lungs = self._lungs(sides)
        self.sides = sides
        self.findings = self.first
        self.history = History()
        self._catch_up()

    def _labels(self, name: str, dtype: type[np.generic]) -> NDArray[np.generic] | None:
        path = own_file(self.folder, name)
        if path is None:
            return None
        try:
            return np.ascontiguousarray(read_labels(path, self.scan).voxels.astype(dtype, copy=False))
        except MaskError as error:
            raise MaskError(f"{error}: is this the scan of {self.folder.name}? name it with --scan") from error

    def _lungs(self, sides: NDArray[np.uint8] | None) -> LungMask:
        """The lungs as the first result has them."""
        if sides is None:
            return segment_lungs(self.scan)
        remarks = tuple(remark for remark in self.first.warnings if remark.code in LUNG_CODES)
        return LungMask(sides, replace(self.first.lungs, parts=()), remarks)

    def _catch_up(self) -> None:
        """Take in what the journal has and this does not, from this process or another."""
        entries = self._journal.entries()
        for entry in entries:
            if entry.kind == "reviewed":
                self.history.reviewed = bool(entry.edit.get("reviewed"))
            elif entry.revision > self.history.revision:
                self.lesions.apply(self._journal.delta(entry))
                self.history.add(entry)
                self.findings = self._journal.findings(entry.revision) or self._measured(frozenset(entry.changed))

    def _measured(self, changed: frozenset[int]) -> Findings:
        return remeasure(self.scan, self.lesions, self.lungs, self.findings, changed)

    def edit(self, change: Change) -> Made:
        """Make an edit of the current revision and keep it.

        Raises:
            StaleError: it was made of another revision.
            EditError: it cannot be made.
            OutputError: it cannot be kept; nothing is changed then.
        """
        with self.lock, self._journal.lock():
            self._check(change)
            delta = make_delta(change, self.lesions, self.scan, self.sides)
            changed = {change.lesion} if isinstance(change, Accept) else delta.ids
            return self._keep(change, delta, frozenset(changed))

    def step_back(self, step: Undo | Redo) -> Made:
        """Undo or redo one edit; errors as for `edit`."""
        with self.lock, self._journal.lock():
            self._check(step)
            stack = self.history.undoable if isinstance(step, Undo) else self.history.redoable
            if not stack:
                raise EditError(f"there is nothing to {step.kind}")
            entry = stack[-1]
            delta = self._journal.delta(entry)
            delta = delta.inverse if isinstance(step, Undo) else delta
            return self._keep(step, delta, frozenset(entry.changed), of=entry.revision)

    def review(self, reviewed: bool, author: str) -> None:
        """Mark the case as read, or take that back."""
        with self.lock, self._journal.lock():
            self._catch_up()
            entry = Entry(self.history.revision, now(), author, "reviewed", {"reviewed": reviewed})
            self._journal.append(entry)
            self.history.add(entry)

    def log(self) -> tuple[Entry, ...]:
        """What was done, oldest first."""
        with self.lock:
            return self._journal.entries()

    def _check(self, step: Step) -> None:
        self._catch_up()
        if step.revision != self.history.revision:
            raise StaleError(step.revision, self.history.revision)

    def _keep(self, step: Change | Undo | Redo, delta: Delta, changed: frozenset[int], of: int | None = None) -> Made:
        before = self.findings
        self.lesions.apply(delta)
        try:
            findings = self._measured(changed)
            entry = self._journal.append(
                Entry(
                    revision=self.history.revision + 1,
                    at=now(),
                    author=step.author,
                    kind=step.kind,
                    edit=shown(step),
                    changed=tuple(sorted(changed)),
                    volume_ml_before=before.burden.volume_ml,
                    volume_ml_after=findings.burden.volume_ml,
                    of=of,
                ),
                delta,
                findings,
            )
        except BaseException:
            self.lesions.apply(delta.inverse)
            raise
        self.history.add(entry)
        self.findings = findings
        return Made(self.history.revision, entry.changed, findings)


def read_findings(folder: Path) -> Findings:
    """The first result of a folder.

    Raises:
        ReadError: missing, damaged, or of another version.
    """
    path = own_file(folder, Findings.file)
    if path is None:
        raise ReadError(f"{folder.name}: no {Findings.file} in it; expected a result folder of analyse or measure")
    try:
        return Findings.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{folder.name}/{Findings.file} cannot be read ({type(error).__name__})") from error
