"""What a cohort costs beside its cases: efficiency, the scheduler's time a case, the client's memory, the summary.

`cohort_efficiency`: the sum of the cases' own times, against the time that N scans take 2 workers, whose weights are
loaded. `efficiency_vs_loops`: the same with the times that the cases take in 2 plain loops side by side, without a
cohort; loops, cohort and loops follow one another, and on a machine with other users it means little.
`scheduler_overhead_ms_per_case`: wall time a case of a run whose cases do nothing, with claim, folder, row and journal.
`client_peak_mib`: of the process that holds client and scheduler and has tables and report written, by a process of its
own whose peak is `outcome_peak_mib`. `summary_seconds`: tables and report of the folder
that the empty cases left. Prints lines `name value`.
Usage: python bench/cohort.py [--scan FILE] [--scans N] [--cases N] [--rows N [--known N]] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from tumorspread.cohort import stream
from tumorspread.cohort.analysis import CaseAnalysis, load_predictor
from tumorspread.cohort.cases import Case
from tumorspread.cohort.discovery import find_cases
from tumorspread.cohort.engine import Engine, open_client
from tumorspread.cohort.outcome import write_outcome, write_outcome_here
from tumorspread.cohort.place import Place
from tumorspread.cohort.plan import make_plan
from tumorspread.cohort.rows import Journal, Measures, Row
from tumorspread.cohort.run import collect, run_cases
from tumorspread.cohort.settings import Machine, Settings, weights_digest
from tumorspread.model.memory import peak_gib

WORKERS = 2
STUDIES, SLICES = 6, 275
LESIONS = 3


@dataclass(frozen=True)
class Nothing:
    """A case that does nothing and has the results of a chest with three lesions."""

    digest: str = "0" * 16
    weights_sha256: str = "0" * 64

    def __call__(self, case: Case, folder: Path) -> Measures:
        """Plausible numbers, drawn by the name of the case."""
        random = np.random.default_rng(int(case.id[1:]))
        sizes = np.sort(random.lognormal(0, 1.5, LESIONS))[::-1].round(3).tolist()
        return Measures(LESIONS, sum(sizes), lung_ml=4000.0, largest_ml=sizes[0], long_axis_mm=20.0, sides_involved=1)


def main(asked: argparse.Namespace) -> dict[str, float]:
    """All figures."""
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        figures = alone(measure_efficiency, asked.scan, asked.scans, folder / "real") if asked.scans else {}
        figures |= alone(measure_overhead, asked.cases, folder / "empty")
        figures |= alone(measure_summary, folder / "empty")
        figures |= alone(measure_orders, asked.orders, folder / "orders")
        figures |= alone(measure_discovery, folder / "dicom")
        if asked.rows:
            figures |= alone(measure_client, asked.rows, asked.known, folder / "many")
            figures |= alone(measure_outcome, folder / "many")
            figures |= alone(measure_restart, asked.rows, folder / "many")
    return figures


def alone(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """The answer of a function in a process of its own, whose memory is nobody else's."""
    fresh = multiprocessing.get_context("spawn")
    answers = fresh.Queue()
    process = fresh.Process(target=_answer, args=(answers, function, *arguments))
    process.start()
    figures: dict[str, float] = answers.get()
    process.join()
    for figure, value in figures.items():
        print(f"{figure} {value:.4g}", flush=True)
    return figures


def _answer(answers: Any, function: Callable[..., dict[str, float]], *arguments: Any) -> None:
    answers.put(function(*arguments))


def empty_cases(count: int) -> Iterator[Case]:
    """Three scans a patient."""
    return (Case(f"c{i:06}", f"/scans/{i:06}.nii.gz", patient=f"p{i // 3:06}") for i in range(count))


@dataclass(frozen=True)
class EmptyRun:
    """What a run of cases that do nothing took: wall time, and of client and scheduler CPU time and memory."""

    seconds: float
    cpu_s: float
    peak_mib: float


def write_known(count: int, known: int, folder: Path) -> None:
    """Rows of the first cases, as an earlier run would have left them in the journal."""
    place, work = Place(folder), Nothing()
    place.prepare()
    journal = Journal(place.journal, "20200101T000000.000000-00000000")
    for case in islice(empty_cases(count), known):
        row = Row(case.id, "done", scan=case.scan, patient=case.patient, settings=work.digest, seconds=1.0)
        journal.append(replace(row, weights_sha256=work.weights_sha256, measures=work(case, folder)))
    journal.close()


def run_empty(count: int, folder: Path, known: int = 0) -> EmptyRun:
    """Cases that do nothing, on two workers; those that are known are not done again."""
    place, work = Place(folder), Nothing()
    place.prepare()
    make_plan(empty_cases(count), place, work.digest)
    with open_client(Engine(workers=WORKERS, max_ram_gib=8)) as client:
        client.wait_for_workers(WORKERS)
        cpu = time.process_time()
        ended = run_cases(client, work, place, count - known)
        cpu = time.process_time() - cpu
    if ended.rows != count - known or ended.failed:
        raise SystemExit(f"{ended.rows} rows, {ended.failed} failed, of {count}")
    return EmptyRun(ended.seconds, cpu, 1024 * (peak_gib() or 0))


def measure_overhead(count: int, folder: Path) -> dict[str, float]:
    """Wall time a case that does nothing."""
    run = run_empty(count, folder)
    each = 1000 * run.seconds / count
    return {"overhead_cases": count, "scheduler_overhead_ms_per_case": each, "overhead_peak_mib": run.peak_mib}


def measure_orders(count: int, folder: Path) -> dict[str, float]:
    """CPU time of client and scheduler for a case that goes alone, as a case of more than half a second does."""
    stream.MOST_IN_ORDER = 1
    return {"order_cpu_ms": 1000 * run_empty(count, folder).cpu_s / count}


def measure_client(count: int, known: int, folder: Path) -> dict[str, float]:
    """Peak memory of client and scheduler over as many rows, some of them there before; tables included."""
    write_known(count, known, folder)
    run = run_empty(count, folder, known)
    write_outcome(Place(folder))
    peak = 1024 * (peak_gib() or 0)
    size = sum(path.stat().st_size for path in (folder / "journal").iterdir()) / count
    each = 1000 * run.seconds / (count - known)
    return {"client_rows": count, "client_peak_mib": peak, "client_run_peak_mib": run.peak_mib,
            "client_ms_per_case": each, "journal_bytes_per_case": size}  # fmt: skip


def measure_outcome(folder: Path) -> dict[str, float]:
    """Peak memory of the process that a client has tables and report written by."""
    write_outcome_here(Place(folder))
    return {"outcome_peak_mib": 1024 * (peak_gib() or 0)}


def measure_restart(count: int, folder: Path) -> dict[str, float]:
    """The start of a run on a folder where all is done: time a case, beside that of finding the scans."""
    start = time.perf_counter()
    plan = make_plan(empty_cases(count), Place(folder), Nothing().digest)
    if plan.to_do:
        raise SystemExit(f"{plan.to_do} cases would be done again")
    return {"restart_ms_per_case": 1000 * (time.perf_counter() - start) / count}


def measure_discovery(folder: Path) -> dict[str, float]:
    """Time to find a DICOM series: what lies in its headers decides."""
    for study in range(STUDIES):
        write_series(folder / f"study{study}")
    start = time.perf_counter()
    found = sum(isinstance(one, Case) for one in find_cases(str(folder)))
    if found != STUDIES:
        raise SystemExit(f"{found} series found of {STUDIES}")
    return {"discovery_ms_per_scan": 1000 * (time.perf_counter() - start) / STUDIES}


def write_series(folder: Path) -> None:
    """A CT of `SLICES` slices of few pixels."""
    folder.mkdir(parents=True)
    study, series, frame = (pydicom.uid.generate_uid() for _ in range(3))
    for number in range(SLICES):
        made = pydicom.Dataset()
        made.file_meta = pydicom.dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        made.SOPClassUID, made.SOPInstanceUID = pydicom.uid.CTImageStorage, pydicom.uid.generate_uid()
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = study, series, frame
        made.Modality, made.PatientID, made.StudyDate, made.InstanceNumber = "CT", folder.name, "20200101", number + 1
        made.ImageType, made.PatientName = ["ORIGINAL", "PRIMARY", "AXIAL"], "none"
        made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, float(number)], [1, 0, 0, 0, 1, 0]
        made.PixelSpacing, made.SliceThickness, made.Rows, made.Columns = [5, 5], 1, 64, 64
        made.RescaleSlope, made.RescaleIntercept, made.PhotometricInterpretation = 1, -1024, "MONOCHROME2"
        made.SamplesPerPixel, made.BitsAllocated, made.BitsStored, made.HighBit = 1, 16, 16, 15
        made.PixelRepresentation, made.PixelData = 1, bytes(2 * 64 * 64)
        made.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


def measure_summary(folder: Path) -> dict[str, float]:
    """Tables and report of a folder that is there."""
    start = time.perf_counter()
    rows = write_outcome_here(Place(folder))
    seconds = time.perf_counter() - start
    return {"summary_rows": rows, "summary_seconds": seconds, "summary_peak_mib": 1024 * (peak_gib() or 0)}


def measure_efficiency(scan: Path | None, count: int, folder: Path) -> dict[str, float]:
    """Scans on two workers against two plain loops."""
    place = Place(folder)
    place.prepare()
    source = scan or make_chest(folder / "chest")
    ending = "".join(source.suffixes[-2:])
    cases = [Case(f"c{i:03}", str(folder / "scans" / f"{i:03}{ending}")) for i in range(count)]
    (folder / "scans").mkdir()
    for case in cases:
        Path(case.scan).hardlink_to(source) if scan is None else shutil.copyfile(source, case.scan)
    work = CaseAnalysis(Settings("lung", weights_digest("lung")), Machine(threads=1, device="cpu"))
    own = [run_loops(work, cases, folder / "before")]
    make_plan(cases, place, work.digest)
    with open_client(Engine(workers=WORKERS)) as client:
        client.wait_for_workers(WORKERS)
        client.run(load_predictor, work.settings, work.machine)
        ended = run_cases(client, work, place, count)
    own.append(run_loops(work, cases, folder / "after"))
    rows = [row.seconds for _, row in collect(place) if row is not None]
    results = next((folder / "cases").iterdir())
    mean = sum(seconds for times in own for seconds, _ in times) / len(own)
    return {
        "efficiency_cases": count,
        "case_seconds": mean / count,
        "cohort_seconds": ended.seconds,
        "cohort_efficiency": sum(rows) / (WORKERS * ended.seconds),
        "efficiency_vs_loops": mean / (WORKERS * ended.seconds),
        "worker_gib": max(peak for times in own for _, peak in times),
        "result_files": sum(1 for path in results.rglob("*") if path.is_file()),
        "result_mib": sum(path.stat().st_size for path in results.rglob("*")) / 2**20,
        "scan_mib": source.stat().st_size / 2**20,
    }


def run_loops(work: CaseAnalysis, cases: list[Case], folder: Path) -> list[tuple[float, float]]:
    """The cases' own seconds in two plain loops side by side, and the peak of their process in GiB."""
    fresh = multiprocessing.get_context("spawn")
    with fresh.Pool(WORKERS, initializer=load_predictor, initargs=(work.settings, work.machine)) as pool:
        # As in the cohort, whoever is free takes the next.
        return pool.map(partial(run_one, work, folder), cases, chunksize=1)


def run_one(work: CaseAnalysis, folder: Path, case: Case) -> tuple[float, float]:
    """Analyse one case without a cohort: seconds, and the peak of this process in GiB."""
    start = time.perf_counter()
    (folder / case.id).mkdir(parents=True)
    work(case, folder / case.id)
    return time.perf_counter() - start, peak_gib() or 0.0


def make_chest(folder: Path) -> Path:
    """A phantom of a whole chest."""
    from tumorspread.data.phantom import PhantomConfig
    from tumorspread.data.phantom_set import write_phantoms

    return next((write_phantoms(folder, 1, config=PhantomConfig(spacing_mm=(2.0, 1.5, 1.5))) / "imagesTr").iterdir())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path, help="a scan to copy; without it a phantom")
    parser.add_argument("--scans", type=int, default=24, help="how many copies; 0 leaves that part out")
    parser.add_argument("--cases", type=int, default=20_000, help="that do nothing")
    parser.add_argument("--orders", type=int, default=2_000, help="of one empty case each")
    parser.add_argument("--rows", type=int, default=100_000, help="for the client's memory; 0 leaves that part out")
    parser.add_argument("--known", type=int, default=0, help="of those rows, how many are there before: saves time")
    parser.add_argument("--folder", type=Path, help="for what is made on the way")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    found = main(options)
    if options.json:
        options.json.write_text(json.dumps({name: round(value, 4) for name, value in found.items()}, indent=1) + "\n")
