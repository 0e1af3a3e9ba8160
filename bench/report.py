"""The report of a scan of 512 x 512 x 275 voxels with 20 lesions: seconds, and megabytes.

The scan is a real one, of which 20 synthetic lesions of 6 to 36 mm are drawn into a mask. What is timed goes from the
measured findings to the text of `report.html`, best of three since the machine may be shared; beside it a thumbnail,
and the cohort report of 20,000 made-up cases in seconds of one core. Prints plain lines `name value`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tumorspread.measurement.lungs import segment_lungs
from tumorspread.pipeline import Analysis, measure
from tumorspread.report.cohort import CohortCase, cohort_page, thumbnail
from tumorspread.report.page import report_page
from tumorspread.scan.read import read
from tumorspread.scan.volume import Volume

LESIONS, SEED, CASES = 20, 5, 20_000


def main() -> None:
    """Print the figures for the scan that is named on the command line."""
    scan = read(Path(sys.argv[1]))
    analysis = measure(scan, draw_lesions(scan))
    assert len(analysis.findings.lesions) == LESIONS
    report_s, core_s, page = best_of(3, lambda: page_of(analysis))
    print(f"report_seconds {report_s:.2f}")
    print(f"report_cpu_seconds {core_s:.2f}")
    print(f"report_mib {len(page.encode()) / 2**20:.2f}")
    small_s, core_s, _ = best_of(3, lambda: thumbnail(analysis.scan, analysis.lesions, analysis.lungs))
    print(f"thumbnail_seconds {small_s:.2f}")
    print(f"thumbnail_cpu_seconds {core_s:.2f}")
    cases = make_cases(CASES)
    _, core_s, page = best_of(1, lambda: cohort_page(cases))
    print(f"cohort_cpu_seconds {core_s:.1f}")
    print(f"cohort_mib {len(page.encode()) / 2**20:.2f}")


def page_of(analysis: Analysis) -> str:
    """The page that `analyse` writes."""
    return report_page(analysis.findings, analysis.scan, analysis.lesions, analysis.lungs)


def draw_lesions(scan: Volume) -> Volume:
    """A mask of ellipsoids about voxels of the lungs that do not touch each other."""
    rng = np.random.default_rng(SEED)
    inside = np.argwhere(segment_lungs(scan).labels[::4, ::4, ::4] > 0) * 4
    mask = np.zeros(scan.shape, np.uint8)
    placed = 0
    while placed < LESIONS:
        centre, radii = inside[rng.integers(len(inside))], rng.uniform(3, 18, 3) / scan.spacing_mm
        low, high = np.floor(centre - radii).astype(int) - 3, np.ceil(centre + radii).astype(int) + 4
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        if (low < 0).any() or (high > scan.shape).any() or mask[box].any():
            continue
        places = np.stack(np.meshgrid(*(np.arange(b.start, b.stop) for b in box), indexing="ij"), -1)
        mask[box] = (((places - centre) / radii) ** 2).sum(-1) <= 1
        placed += 1
    return scan.with_voxels(mask)


def make_cases(count: int) -> list[CohortCase]:
    """Cases of a study with failures, warnings, several dates a patient and a reference for half of them."""
    rng = np.random.default_rng(SEED)
    cases = []
    for number in range(count):
        patient, day = f"P{number // 3:05d}", str(date(2020, 1, 1) + timedelta(int(rng.integers(0, 900))))
        if rng.random() < 0.02:
            cases.append(CohortCase(f"case_{number:05d}", "failed", patient, day, "a slice is missing at 120.0 mm"))
            continue
        lesions = int(rng.poisson(1.5))
        volume = float(rng.lognormal(1.5, 1.2)) if lesions else 0.0
        cases.append(
            CohortCase(
                f"case_{number:05d}", "ok", patient, day, None, lesions, volume, volume / 40, 12.4 * volume ** (1 / 3),
                ("The scan was compressed with loss.",) if rng.random() < 0.05 else (), float(rng.uniform(3, 9)),
                f"cases/{number}/report.html", f"cases/{number}/thumbnail.webp",
                volume * float(rng.lognormal(0, 0.2)) if number % 2 else None, 0.8 if number % 2 else None,
            )
        )  # fmt: skip
    return cases


def best_of(runs: int, work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds on the clock and of the processor in the fastest run, and what it gave."""
    found = []
    for _ in range(runs):
        clock, core = time.perf_counter(), time.process_time()
        result = work()
        found.append((time.perf_counter() - clock, time.process_time() - core))
    return min(wall for wall, _ in found), min(core for _, core in found), result


if __name__ == "__main__":
    main()
