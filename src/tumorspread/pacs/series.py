"""One series of the queue: where its files lie, and what only this run of the listener knows of it."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from tumorspread.durable import make_folder, sync_folder, write_file
from tumorspread.pacs.record import Record, digest, read_record


@dataclass(eq=False)
class Series:
    """A series: `state.json`, `slices/SOPInstanceUID.dcm`, `results/DIGEST/*.dcm` in its folder.

    Attributes:
        folder: named by the SeriesInstanceUID.
        unfinished: folder for files while they grow.
        record: as it stands in `state.json`.
        sizes: bytes of each slice, by SOPInstanceUID.
        open_by: associations that bring slices now.
        is_touched: whether something came since the last judgement.
        changed_at: when something came last, by the monotonic clock.
        due_at: not to be tried before, by the monotonic clock.
        failures: tries in a row that did not work.
        trouble: why the last one did not.
    """

    folder: Path
    unfinished: Path
    record: Record = field(default_factory=Record)
    sizes: dict[str, int] = field(default_factory=dict)
    open_by: set[int] = field(default_factory=set)
    is_touched: bool = False
    changed_at: float = field(default_factory=time.monotonic)
    due_at: float = 0.0
    failures: int = 0
    trouble: str = ""

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.folder.name

    @property
    def slices(self) -> Path:
        """Folder of the slices."""
        return self.folder / "slices"

    @property
    def digest(self) -> str:
        """Of the slices that are here."""
        return digest(self.sizes)

    def results(self, slices: str) -> Path:
        """Folder of the results for the slices of that digest."""
        return self.folder / "results" / slices

    def result_files(self, slices: str) -> list[Path]:
        """The results for the slices of that digest, in a fixed order."""
        return sorted(self.results(slices).iterdir())

    def keep(self, record: Record) -> None:
        """Put down a new record.

        Raises:
            OSError: it cannot be written; the old one stands.
        """
        if record != self.record:
            make_folder(self.slices)
            write_file(self.folder / "state.json", record.to_bytes(), self.unfinished)
            self.record = record

    def drop_slices(self) -> None:
        """Take the slices away; record and results stay.

        Raises:
            OSError: they cannot be removed.
        """
        going = self.unfinished / f"{self.uid}.gone"
        self.slices.rename(going)
        sync_folder(self.folder)
        shutil.rmtree(going)
        make_folder(self.slices)
        self.sizes.clear()


def load_series(folder: Path, unfinished: Path) -> Series:
    """A series as the last run left it.

    Slices that the record does not know came in its last moment; whether more were to come, nobody knows.

    Raises:
        ReadError: its record is damaged.
        OSError: it cannot be read.
    """
    series = Series(folder, unfinished, read_record(folder / "state.json"))
    make_folder(series.slices)
    series.sizes = {path.stem: path.stat().st_size for path in series.slices.glob("*.dcm")}
    if series.sizes and series.digest != series.record.slices and series.record.state != "received":
        series.keep(Record(caller=series.record.caller, sent=series.record.sent))
    return series
