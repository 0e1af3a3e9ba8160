"""What the process of a job does: from the file that was sent to a result folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Told:
    """A step of an analysis: so many of `total` of a stage are done; 0 of 0 while that is unknown."""

    stage: str
    done: int = 0
    total: int = 0


def analyse_upload(folder: Path, name: str, tell: Callable[[Told], None]) -> None:
    """Analyse a scan with the weights that come with the package; the results come to lie in `folder/result`.

    Args:
        folder: with the file that was sent in it, and nothing else.
        name: of the scan for the findings.
        tell: told of each step.

    Raises:
        TumorspreadError: as `analyse` and `write_analysis` raise them.
    """
    tell(Told("load"))
    from tumorspread.measurement.measured import MeasureOptions
    from tumorspread.measurement.pieces import DUST_MM3
    from tumorspread.pipeline import analyse
    from tumorspread.report.folder import write_analysis
    from tumorspread.report.scan_note import note_own_scan
    from tumorspread.scan.read import read

    tell(Told("read"))
    file = next(path.name for path in folder.iterdir())
    scan = read(folder / file)
    tell(Told("prepare"))
    analysis = analyse(
        scan,
        source=name,
        options=MeasureOptions(DUST_MM3, percent=True),
        progress=lambda done, total: tell(Told("network", done, total)),
    )
    tell(Told("write"))
    result = folder / "result"
    result.mkdir()
    write_analysis(analysis, result)
    # The scan goes with its results: what was sent lies nowhere else.
    (folder / file).rename(result / file)
    note_own_scan(result, file)
