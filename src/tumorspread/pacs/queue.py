"""The queue on disk: a folder a series, one small file for its state, every step one atomic rename.

Folders and not a database, because the slices and results are files anyway: a database beside them would be a second
truth, and a kill -9 between the two would have to be repaired. Here what is there is the truth: a slice is received
when its file has its name, a series is analysed when its results have theirs. At the start nothing is repaired, only
unfinished files are removed.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tumorspread.durable import make_folder, write_file
from tumorspread.errors import OutputError
from tumorspread.pacs.audit import Audit
from tumorspread.pacs.record import State
from tumorspread.pacs.series import Series, load_series

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """When a series is complete, and how much is taken.

    Attributes:
        quiet_s: seconds without a new slice after the association has ended.
        cut_off_s: the same after an association that broke, or a listener that did: time to send again.
        max_images: most instances of a series.
        max_bytes: most bytes of all slices in the queue.
    """

    quiet_s: float = 10.0
    cut_off_s: float = 300.0
    max_images: int = 10_000
    max_bytes: int = 100 * 2**30


class Queue:
    """All series of a folder; safe to be used by several threads, held by one process.

    Args:
        folder: made where it is not there.
        rules: see `Rules`.

    Raises:
        OutputError: another listener holds the folder, or it cannot be written to.
        ReadError: the record of a series is damaged.
    """

    def __init__(self, folder: Path, rules: Rules = Rules()) -> None:
        self.rules = rules
        self._unfinished = folder / "unfinished"
        self._lock = threading.RLock()
        self._held = FileLock(folder / "lock")
        try:
            make_folder(folder)
            self._held.acquire(timeout=0)
            shutil.rmtree(self._unfinished, ignore_errors=True)
            make_folder(self._unfinished)
            make_folder(folder / "series")
            found = [load_series(path, self._unfinished) for path in sorted((folder / "series").iterdir())]
        except Timeout as error:
            raise OutputError(f"{folder}: another listener works in it; stop it or name another folder") from error
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
        self.folder = folder
        self.audit = Audit(folder / "audit.jsonl")
        self._series = {series.uid: series for series in found}
        self._bytes = sum(sum(series.sizes.values()) for series in found)

    def close(self) -> None:
        """Let another listener have the folder."""
        self._held.release()

    def store(self, content: bytes, *, series: str, instance: str, caller: str, association: int) -> bool:
        """Keep an instance for good.

        Args:
            content: the DICOM file.
            series: SeriesInstanceUID.
            instance: SOPInstanceUID; one that is here already is not stored again.
            caller: AET.
            association: number of the association that brings it; see `end`.

        Returns:
            Whether it is new.

        Raises:
            OutputError: a limit is reached.
            OSError: it cannot be written; nothing of it is left.
        """
        with self._lock:
            one = self._series.get(series) or Series(self.folder / "series" / series, self._unfinished)
            self._check_limits(one, instance, len(content))
            is_new = instance not in one.sizes
            if is_new:
                # First the state: a crash between the two then leaves a series that waits for more.
                one.keep(replace(one.record, state="received", whole=False, caller=caller, reason=None))
            self._series[series] = one
            one.open_by.add(association)
            one.is_touched, one.changed_at = True, time.monotonic()
        if is_new:
            write_file(one.slices / f"{instance}.dcm", content, self._unfinished)
            with self._lock:
                self._bytes += len(content) if instance not in one.sizes else 0
                one.sizes[instance] = len(content)
                one.changed_at = time.monotonic()
        return is_new

    def _check_limits(self, one: Series, instance: str, size: int) -> None:
        if instance in one.sizes:
            return
        if len(one.sizes) >= self.rules.max_images:
            raise OutputError(f"a series of more than {self.rules.max_images} images; see --max-images")
        if self._bytes + size > self.rules.max_bytes:
            raise OutputError(f"the queue would grow beyond {self.rules.max_bytes / 2**30:g} GiB; see --max-gib")

    def end(self, association: int, *, whole: bool) -> None:
        """An association has ended.

        Args:
            association: its number, as given to `store`.
            whole: released, not cut off.

        Raises:
            OSError: this cannot be put down; to be called again.
        """
        with self._lock:
            for series in [one for one in self._series.values() if association in one.open_by]:
                if series.record.state == "received":
                    text = None if whole else "cut off: the association broke before it was released"
                    self._write(series, "received", f"{len(series.sizes)} images" if whole else text)
                    series.keep(replace(series.record, whole=whole))
                series.open_by.discard(association)
                series.changed_at = time.monotonic()

    def settle(self) -> None:
        """Judge every series on which something came and then nothing for long enough.

        Raises:
            OSError: a new state cannot be put down; to be called again.
        """
        with self._lock:
            for series in self._series.values():
                is_open = series.is_touched or series.record.state == "received"
                is_whole = series.record.whole or series.record.state != "received"
                wait_s = self.rules.quiet_s if is_whole else self.rules.cut_off_s
                quiet = time.monotonic() - series.changed_at >= wait_s
                if is_open and quiet and series.sizes and not series.open_by:
                    self._judge(series)
                    series.is_touched = False

    def _judge(self, series: Series) -> None:
        """What a series at rest becomes."""
        record, slices = series.record, series.digest
        if record.state not in ("received", "failed"):
            self._write(series, "duplicate", f"all {len(series.sizes)} images are known; it is {record.state}")
        elif slices == record.sent:
            self._write(series, "duplicate", "the results for these images were sent before")
            series.keep(replace(record, state="done", slices=slices, reason=None))
        elif series.results(slices).is_dir():
            series.keep(replace(record, state="analysed", slices=slices, reason=None))
        else:
            broken = None if record.whole else "after an association that broke; nothing more came"
            self._write(series, "ready", broken)
            series.keep(replace(record, state="ready", slices=slices, attempts=0, reason=None))
            series.due_at, series.failures, series.trouble = 0.0, 0, ""

    def retry_failed(self) -> None:
        """Make every failed series ready again."""
        with self._lock:
            for series in self._series.values():
                if series.record.state == "failed" and series.sizes:
                    self._judge(series)

    def next(self, state: State) -> Series | None:
        """The series in that state that waits longest and may be tried now; None where there is none."""
        with self._lock:
            due = [
                series
                for series in self._series.values()
                if series.record.state == state and series.due_at <= time.monotonic() and not series.open_by
            ]
            return min(due, key=lambda series: (series.due_at, series.changed_at), default=None)

    def move(self, series: Series, before: tuple[State, str], event: str | None = None, **changes: Any) -> bool:
        """Change the record of a series, unless new slices have changed it meanwhile.

        Args:
            series: of this queue.
            before: the state and the digest that it must have.
            event: for the audit trail; None leaves no row.
            changes: fields of the record.

        Returns:
            Whether it was as expected and is changed now.

        Raises:
            OSError: this cannot be put down.
        """
        with self._lock:
            if (series.record.state, series.record.slices) != before:
                return False
            if event is not None:
                self._write(series, event, changes.get("reason"))
            series.keep(replace(series.record, **changes))
            return True

    def delay(self, series: Series, event: str, reason: str, wait_s: float) -> None:
        """Have a series tried again later; a row only when the reason is a new one.

        Raises:
            OSError: the row cannot be put down; the delay holds.
        """
        with self._lock:
            is_news, series.trouble = series.trouble != reason, reason
            series.due_at = time.monotonic() + wait_s
            series.failures += 1
            if is_news:
                self._write(series, event, reason)

    def holds(self, instance: str) -> bool:
        """Whether an instance is here, for good."""
        with self._lock:
            return any(instance in series.sizes for series in self._series.values())

    def scratch(self) -> Path:
        """A new folder for results while they are made."""
        folder = self._unfinished / f"results.{time.monotonic_ns()}"
        make_folder(folder)
        return folder

    def clean(self, keep_s: float) -> None:
        """Remove the slices of series that were closed longer ago.

        Raises:
            OSError: they cannot be removed.
        """
        with self._lock:
            for series in self._series.values():
                if series.record.state != "done" or not series.sizes or series.is_touched:
                    continue
                if time.time() - (series.folder / "state.json").stat().st_mtime > keep_s:
                    self._write(series, "cleaned")
                    self._bytes -= sum(series.sizes.values())
                    series.drop_slices()

    def _write(self, series: Series, event: str, reason: str | None = None) -> None:
        self.audit.write(event, series=series.uid, caller=series.record.caller, reason=reason)
        logger.info("series %s: %s%s", series.uid, event, f" ({reason})" if reason else "")
