"""What 10,000 and 1,000,000 scans cost on 1, 10 and 100 workers, computed from the figures in scale_measured.toml.

Prints the tables of docs/scale.md. A worker is one core without a GPU, as it was measured. The rate is the least of
what the workers can compute, the file server can send and take, and client and scheduler can hand out.
Usage: python bench/scale.py [FIGURES]
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

SCANS, WORKERS = (10_000, 1_000_000), (1, 10, 100)
LINKS = {"1 GbE": 112.0, "10 GbE": 1120.0}


@dataclass(frozen=True)
class Figures:
    """Measured; see scale_measured.toml for the command that printed each.

    Attributes:
        case_seconds: of a chest on one core, file to result folder.
        cohort_efficiency: throughput on 2 workers against the cases' own times.
        order_cpu_ms: CPU time of client and scheduler a case.
        worker_gib: peak memory of a worker.
        scan_mib, result_mib: read and written a case.
        result_files: written a case.
        journal_bytes_per_case: in the client's journal.
        few_rows, few_rows_client_mib: peak memory of the client with so many rows.
        many_rows, many_rows_client_mib: likewise with many.
        restart_ms_per_case: to find out what is done already.
        summary_rows, summary_seconds, summary_peak_mib: tables and report of so many rows.
        discovery_ms_per_scan: to find a scan and look at its header.
    """

    case_seconds: float
    cohort_efficiency: float
    order_cpu_ms: float
    worker_gib: float
    scan_mib: float
    result_mib: float
    result_files: float
    journal_bytes_per_case: float
    few_rows: float
    few_rows_client_mib: float
    many_rows: float
    many_rows_client_mib: float
    restart_ms_per_case: float
    summary_rows: float
    summary_seconds: float
    summary_peak_mib: float
    discovery_ms_per_scan: float

    @classmethod
    def read(cls, path: Path) -> Figures:
        """From a TOML file with a table a figure."""
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(**{field.name: float(tables[field.name]["value"]) for field in fields(cls)})

    @property
    def mib(self) -> float:
        """Through the network a case."""
        return self.scan_mib + self.result_mib

    def rates(self, workers: int, link: str) -> dict[str, float]:
        """Cases a second that each part can do."""
        return {
            "workers": workers * self.cohort_efficiency / self.case_seconds,
            f"file server at {link}": LINKS[link] / self.mib,
            "client and scheduler": 1000 / self.order_cpu_ms,
        }

    def client_mib(self, rows: int) -> float:
        """Peak memory of the client, on the line through both measured points."""
        slope = (self.many_rows_client_mib - self.few_rows_client_mib) / (self.many_rows - self.few_rows)
        return self.few_rows_client_mib + max(0.0, slope) * (rows - self.few_rows)


def time_rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    """Hours, memory and network for each number of scans and workers."""
    yield (
        *("scans", "workers", "hours at 1 GbE", "hours at 10 GbE", "bound by (10 GbE)", "MiB/s", "workers' GiB"),
        "scheduler busy",
    )
    for scans in SCANS:
        for workers in WORKERS:
            slow, fast = (figures.rates(workers, link) for link in LINKS)
            rate, bound = min((value, name) for name, value in fast.items())
            yield (
                f"{scans:,}",
                str(workers),
                f"{scans / min(slow.values()) / 3600:,.1f}",
                f"{scans / rate / 3600:,.1f}",
                bound.removesuffix(" at 10 GbE"),
                f"{rate * figures.mib:,.0f}",
                f"{workers * figures.worker_gib:,.0f}",
                f"{100 * rate * figures.order_cpu_ms / 1000:.1f} %",
            )


def place_rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    """Disk, files, and what the client needs, whatever the number of workers."""
    yield (
        *("scans", "read, TiB", "results, GiB", "result files", "journal, GiB", "client, MiB"),
        *("to find DICOM series, min", "to read the journal again, min", "tables and report, min"),
    )
    for scans in SCANS:
        yield (
            f"{scans:,}",
            f"{scans * figures.scan_mib / 2**20:,.2f}",
            f"{scans * figures.result_mib / 2**10:,.1f}",
            f"{scans * figures.result_files:,.0f}",
            f"{scans * figures.journal_bytes_per_case / 2**30:.2f}",
            f"{figures.client_mib(scans):,.0f}",
            f"{scans * figures.discovery_ms_per_scan / 60_000:,.1f}",
            f"{scans * figures.restart_ms_per_case / 60_000:,.1f}",
            f"{scans * figures.summary_seconds / figures.summary_rows / 60:,.1f}",
        )


def limit_rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    """From how many workers on each part is what all wait for, the first to break first."""
    yield "part", "cases/s", "enough for workers"
    one = figures.rates(1, "1 GbE")["workers"]
    parts = {name: rate for link in LINKS for name, rate in figures.rates(1, link).items() if name != "workers"}
    for name, rate in sorted(parts.items(), key=lambda part: part[1]):
        yield name, f"{rate:,.1f}", f"{rate / one:,.0f}"


def markdown(rows: Iterator[tuple[str, ...]]) -> str:
    """A table, the first row its head."""
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables(figures: Figures) -> str:
    """All three."""
    return "\n\n".join(markdown(rows(figures)) for rows in (time_rows, place_rows, limit_rows))


if __name__ == "__main__":
    asked = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("scale_measured.toml")
    print(tables(Figures.read(asked)))
