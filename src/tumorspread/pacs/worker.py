"""What is done with a complete series: analyse it, then send the results; again and again until it is done."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tumorspread.durable import move_folder
from tumorspread.errors import NetworkError, OutputError, TumorspreadError
from tumorspread.pacs.child import Analyse, CrashError, StoppedError
from tumorspread.pacs.queue import Queue
from tumorspread.pacs.series import Series
from tumorspread.scan.bundle import open_bundle
from tumorspread.scan.dicom_frames import read_header

logger = logging.getLogger(__name__)

Send = Callable[[Sequence[Path]], None]

# A series that takes the analysis down this often is not tried again by itself.
MAX_CRASHES = 3
# How often a thread with nothing to do looks again, seconds.
PAUSE_S = 0.1


@dataclass(frozen=True)
class Waits:
    """Seconds before a try that failed is repeated: doubled each time, up to a limit."""

    first_s: float = 5.0
    longest_s: float = 600.0

    def after(self, failures: int) -> float:
        """The wait after `failures` failed tries before this one."""
        # 2**30 seconds are 34 years: beyond, only the numbers would grow.
        return float(min(self.longest_s, self.first_s * 2.0 ** min(failures, 30)))


@dataclass(frozen=True)
class Worker:
    """Takes series out of the queue, one at a time for each of the two jobs.

    Attributes:
        queue: of series.
        analyse: from the folder of slices and an empty folder for the results to the files made there; raises
            `TumorspreadError` for a series that it refuses.
        send: brings files to the PACS; raises `NetworkError` unless it has taken all of them.
        waits: between tries.
    """

    queue: Queue
    analyse: Analyse
    send: Send
    waits: Waits = Waits()

    def run(self, work: Callable[[], bool], stop: threading.Event) -> None:
        """Do `analyse_next` or `send_next` until told to stop."""
        while not stop.is_set():
            try:
                if not work():
                    stop.wait(PAUSE_S)
            except OSError as error:
                # The disk that holds the queue: nothing can be put down until there is room again.
                logger.warning("cannot write %s: %s", self.queue.folder, error.strerror or error)
                stop.wait(self.waits.first_s)

    def analyse_next(self) -> bool:
        """Analyse the series that waits longest; False where none does."""
        series = self.queue.next("ready")
        if series is None:
            return False
        slices = series.record.slices
        if series.results(slices).is_dir():
            # The last run ended between naming the results and noting it; made again, they would be sent with new UIDs.
            self.queue.move(series, ("ready", slices), "analysed", state="analysed", attempts=0, reason=None)
        elif not _holds_ct(series):
            self.queue.move(series, ("ready", slices), "done", state="done", reason="no CT slices, not analysed")
        elif series.record.attempts >= MAX_CRASHES:
            reason = f"the analysis came to no end {MAX_CRASHES} times; last: {series.trouble or 'the listener ended'}"
            self.queue.move(series, ("ready", slices), "failed", state="failed", reason=reason)
        elif self.queue.move(series, ("ready", slices), attempts=series.record.attempts + 1):
            self._analyse(series, slices)
        return True

    def _analyse(self, series: Series, slices: str) -> None:
        out = self.queue.scratch()
        attempts = series.record.attempts
        try:
            made = self.analyse(series.slices, out)
            self._keep(series, slices, out, made)
        except StoppedError:
            self.queue.move(series, ("ready", slices), attempts=attempts - 1)
        except CrashError as error:
            self.queue.delay(series, "retry", str(error), self.waits.after(series.failures))
        except (OSError, OutputError) as error:
            self.queue.move(series, ("ready", slices), attempts=attempts - 1)
            self.queue.delay(series, "retry", _reason(error), self.waits.after(series.failures))
        except TumorspreadError as error:
            self.queue.move(series, ("ready", slices), "failed", state="failed", attempts=0, reason=str(error))
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def _keep(self, series: Series, slices: str, out: Path, made: Sequence[Path]) -> None:
        """Give the results their name: from here on they are sent, and never made again."""
        names = {path.name for path in made if path.parent == out and path.is_file()}
        if not names or len(names) != len(made):
            raise CrashError(f"{len(names)} of {len(made)} result files were found; expected all, and at least one")
        for path in out.iterdir():
            if path.name not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if series.digest == slices:
            move_folder(out, series.results(slices))
            series.failures, series.trouble, series.due_at = 0, "", 0.0
            self.queue.move(series, ("ready", slices), "analysed", state="analysed", attempts=0, reason=None)

    def send_next(self) -> bool:
        """Send the results that wait longest; False where none do."""
        series = self.queue.next("sent")
        if series is not None:
            return self.queue.move(series, ("sent", series.record.slices), "done", state="done", reason=None)
        series = self.queue.next("analysed")
        if series is None:
            return False
        slices = series.record.slices
        try:
            self.send(series.result_files(slices))
        except NetworkError as error:
            self.queue.delay(series, "retry", str(error), self.waits.after(series.failures))
        else:
            series.failures, series.trouble, series.due_at = 0, "", 0.0
            self.queue.move(series, ("analysed", slices), "sent", state="sent", sent=slices, reason=None)
        return True


def _holds_ct(series: Series) -> bool:
    """Whether any of it is a CT slice; a file that cannot be read may be one, and the reader says what is wrong."""
    with open_bundle(series.slices) as bundle:
        for file in bundle.files:
            try:
                header = read_header(bundle, file)
                if header is None or header.is_ct_slice:
                    return True
            except TumorspreadError:
                return True
    return False


def _reason(error: OSError | OutputError) -> str:
    return f"cannot write results: {error.strerror}" if isinstance(error, OSError) else str(error)
