"""The analysis that the listener runs: read a series, find its tumours, write SEG and SR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tumorspread.model.predict import Predictor


@dataclass(frozen=True)
class SeriesAnalysis:
    """A callable that goes to another process; the weights are loaded there, with its first series.

    Attributes:
        weights: a weights file, or the name of weights that come with the package.
        point: operating point, see `tumorspread.analyse`.
        engine, precision, threads, device, max_ram_gib: see `Predictor`.
        rtstruct: also the contours, as a structure set.
    """

    weights: str = "lung"
    point: Literal["sensitive", "balanced", "specific"] = "balanced"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    threads: int | None = None
    device: str | None = None
    max_ram_gib: float | None = None
    rtstruct: bool = False

    def __call__(self, series: Path, out: Path) -> Sequence[Path]:
        """Analyse the series in a folder and write the results into another.

        Returns:
            The files written.

        Raises:
            ReadError, GeometryError: the series is refused.
            OutputError: the results cannot be written.
        """
        from tumorspread.pipeline import analyse
        from tumorspread.report.dicom_results import write_dicom_results
        from tumorspread.scan.read import read

        analysis = analyse(read(series), self._predictor, source="series", point=self.point)
        return write_dicom_results(analysis, series, out, rtstruct=self.rtstruct)

    @cached_property
    def _predictor(self) -> Predictor:
        from tumorspread.model.predict import Predictor

        return Predictor(
            self.weights,
            device=self.device,
            engine=self.engine,
            precision=self.precision,
            threads=self.threads,
            max_ram_gib=self.max_ram_gib,
        )
