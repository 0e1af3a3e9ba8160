"""A case on the desk: a result folder with its scan, its map as edited, and what can be undone."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError, ReadError, TumorspreadError
from tumorspread.measurement.coarse import body_midline_mm
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.lobes import read_lobe_map
from tumorspread.report.scan_note import ScanNote
from tumorspread.scan.read import read, read_labels
from tumorspread.viewer.changes import make_delta
from tumorspread.viewer.delta import Delta
from tumorspread.viewer.edits import Accept, Change, EditError, Redo, Step, Undo, shown
from tumorspread.viewer.journal import Entry, Journal, now
from tumorspread.viewer.lesion_map import LesionMap
from tumorspread.viewer.remeasure import Ground, Measures, remeasure, take_in
from tumorspread.viewer.safe_file import own_file


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
        self._ground = self._read_ground()
        self._measures = Measures(self.first)
        self.history = History()
        self._catch_up()

    @property
    def findings(self) -> Findings:
        """Of the current revision."""
        return self._measures.findings

    @property
    def sides(self) -> NDArray[np.uint8] | None:
        """1 in the left lung, 2 in the right; None where no lungs were found."""
        return self._ground.sides

    def _labels(self, name: str, dtype: type[np.generic]) -> NDArray[Any] | None:
        path = own_file(self.folder, name)
        if path is None:
            return None
        try:
            return np.ascontiguousarray(read_labels(path, self.scan).voxels.astype(dtype, copy=False))
        except MaskError as error:
            raise MaskError(f"{error}: is this the scan of {self.folder.name}? name it with --scan") from error

    def _read_ground(self) -> Ground:
        """The lungs as the first result has them, so that no version of ours finds others."""
        sides = self._labels("lungs.nii.gz", np.uint8)
        lungs = self.first.lungs
        if sides is None and lungs.total_ml is not None:
            raise ReadError(f"{self.folder.name}: lungs.nii.gz is missing; analyse the scan again")
        radiomics = any(lesion.radiomics for lesion in self.first.lesions)
        return Ground(self.scan, sides, self._read_lobes(), lungs, radiomics)

    def _read_lobes(self) -> NDArray[np.uint8] | None:
        """The lobes that were brought along, as the first result has them."""
        if self.note.lobes is None:
            return None
        lobes = read_labels(self.note.lobes, self.scan)
        return read_lobe_map(lobes, midline_mm=body_midline_mm(self.scan), lesions=self.lesions.labels).lobes

    def _catch_up(self) -> None:
        """Take in what the journal has and this does not, from this process or another."""
        for entry in self._journal.entries():
            if entry.kind == "reviewed":
                self.history.reviewed = bool(entry.edit.get("reviewed"))
            elif entry.revision > self.history.revision:
                self._take_in(entry)

    def _take_in(self, entry: Entry) -> None:
        delta = self._journal.delta(entry)
        self.lesions.apply(delta)
        self.history.add(entry)
        findings = self._journal.findings(entry.revision)
        if findings is None:
            self._measures = remeasure(self._ground, self.lesions, self._measures, delta, entry.at, everything=True)
        else:
            self._measures = Measures(findings)

    def edit(self, change: Change) -> Made:
        """Make an edit of the current revision and keep it.

        Raises:
            StaleError: it was made of another revision.
            EditError: it cannot be made.
            OutputError: it cannot be kept; nothing is changed then.
        """
        with self.lock:
            self._check(change)
            delta = make_delta(change, self.lesions, self.scan, self.sides)
            changed = {change.lesion} if isinstance(change, Accept) else delta.ids
            return self._keep(change, delta, frozenset(changed))

    def step_back(self, step: Undo | Redo) -> Made:
        """Undo or redo one edit; errors as for `edit`."""
        with self.lock:
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
        old, moment = self._measures, now()
        if old.around is None:
            old = take_in(self._ground, self.lesions, old.findings)
        # What is refused must write nothing, so the folder is held only now; another viewer may have been faster.
        with self._journal.lock():
            self._check(step)
            return self._write(step, old, delta, moment, changed, of)

    def _write(
        self,
        step: Change | Undo | Redo,
        old: Measures,
        delta: Delta,
        moment: str,
        changed: frozenset[int],
        of: int | None,
    ) -> Made:
        with ExitStack() as undone:
            self.lesions.apply(delta)
            undone.callback(self.lesions.apply, delta.inverse)
            new = self._measured(step, old, delta, moment, of)
            entry = Entry(
                revision=self.history.revision + 1,
                at=moment,
                author=step.author,
                kind=step.kind,
                edit=shown(step),
                changed=tuple(sorted(changed)),
                volume_ml_before=old.findings.burden.volume_ml,
                volume_ml_after=new.findings.burden.volume_ml,
                of=of,
            )
            entry = self._journal.append(entry, delta, new.findings)
            undone.pop_all()
        self.history.add(entry)
        self._measures = new
        return Made(self.history.revision, entry.changed, new.findings)

    def _measured(
        self, step: Change | Undo | Redo, old: Measures, delta: Delta, moment: str, of: int | None
    ) -> Measures:
        """The measures after a step; undo and redo lead to a map that was measured already."""
        if not len(delta.places):
            return old
        if of is None:
            return remeasure(self._ground, self.lesions, old, delta, moment)
        earlier = of - 1 if isinstance(step, Undo) else of
        findings = self._journal.findings(earlier) if earlier else self.first
        if findings is None:
            return remeasure(self._ground, self.lesions, old, delta, moment, everything=True)
        return Measures(findings)


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
