"""What is done with a case: the pipeline on its scan, with weights that each process loads once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tumorspread.cohort.cases import Case
from tumorspread.cohort.columns import lesion_cells
from tumorspread.cohort.place import at_hand
from tumorspread.cohort.rows import Measures
from tumorspread.cohort.settings import Machine, Settings
from tumorspread.dicomweb.server import Credentials
from tumorspread.errors import WeightsError

if TYPE_CHECKING:
    from tumorspread.measurement.findings import Findings
    from tumorspread.model.predict import Predictor
    from tumorspread.pipeline import Analysis
    from tumorspread.scan.volume import Volume


@dataclass(frozen=True)
class CaseAnalysis:
    """A callable that goes to the workers.

    Attributes:
        settings: what the numbers depend on.
        machine: how the worker does it.
        credentials: for a DICOMweb server: each worker looks for itself what stands there, so that no secret travels.
    """

    settings: Settings
    machine: Machine = field(default_factory=Machine)
    credentials: Credentials = field(default_factory=Credentials)

    @property
    def digest(self) -> str:
        """Of the settings."""
        return self.settings.digest

    @property
    def weights_sha256(self) -> str:
        """Of the weights."""
        return self.settings.weights_sha256

    def __call__(self, case: Case, folder: Path) -> Measures:
        """Analyse a case and write its result folder, as `tumorspread analyse` does.

        Raises:
            ReadError, GeometryError, MaskError: the scan or mask is refused.
            DownloadError, NetworkError: they cannot be fetched.
            WeightsError: the weights on this worker are others than the run's.
        """
        from tumorspread.measurement.measured import MeasureOptions
        from tumorspread.pipeline import analyse
        from tumorspread.report.cohort import thumbnail
        from tumorspread.report.folder import write_analysis
        from tumorspread.scan.read import read

        predictor = load_predictor(self.settings, self.machine)
        with fetched(case, self.credentials, folder) as scan:
            volume = read(scan, series=case.series, tilt=self.settings.tilt)
            analysis = analyse(
                volume,
                predictor,
                source=scan.name,
                threshold=self.settings.threshold,
                point=self.settings.point,
                options=MeasureOptions(dust_mm3=self.settings.dust_mm3, split=self.settings.split),
            )
            against = _compare(case, volume, analysis)
        write_analysis(analysis, folder)
        (folder / "thumbnail.webp").write_bytes(thumbnail(volume, analysis.lesions, analysis.lungs))
        return _measures(analysis.findings, *against)


@contextmanager
def fetched(case: Case, credentials: Credentials, folder: Path) -> Iterator[Path]:
    """The scan of a case as a path, there for the block.

    Args:
        case: the case.
        credentials: for a DICOMweb server.
        folder: of whoever works on it; what comes from a server lies there.

    Raises:
        DownloadError, NetworkError: it cannot be fetched.
        ReadError: there is nothing there.
    """
    if case.study is None:
        with at_hand(case.scan) as scan:
            yield scan
        return
    from tumorspread.dicomweb.transfer import fetch

    # Not where temporary files are: the next run clears this folder after a kill -9.
    come = folder / f"scan_{case.id}"
    try:
        fetch(credentials.server(case.scan), case.study, come, series=case.series)
        yield come / str(case.series)
    finally:
        if come.exists():
            shutil.rmtree(come)


@cache
def load_predictor(settings: Settings, machine: Machine) -> Predictor:
    """The weights, ready; loaded by the first case of a process.

    Raises:
        WeightsError: they cannot be used, or are not those that the run began with.
    """
    from tumorspread.model.predict import Predictor

    predictor = Predictor(
        settings.weights,
        device=machine.device,
        engine=settings.engine,
        precision=settings.precision,
        threads=machine.threads,
        max_ram_gib=machine.max_ram_gib,
    )
    if settings.weights_sha256 and predictor.info.sha256 != settings.weights_sha256:
        raise WeightsError(f"{settings.weights}: the weights on this worker are not those that the run began with")
    return predictor


def _compare(case: Case, volume: Volume, analysis: Analysis) -> tuple[float | None, float | None]:
    """Volume of the mask that was brought along, mL, and the Dice with ours."""
    if case.mask is None:
        return None, None
    from tumorspread.measurement.metrics import compare_masks
    from tumorspread.scan.read import read_mask

    with at_hand(case.mask) as path:
        drawn = read_mask(path, volume)
    metrics = compare_masks(analysis.mask, volume.with_voxels(drawn.voxels))
    return metrics.reference_volume_ml, metrics.dice


def _measures(findings: Findings, mask_volume_ml: float | None, mask_dice: float | None) -> Measures:
    largest = findings.lesions[0] if findings.lesions else None
    stage = findings.stage
    m: Literal["M1a"] | None = None if stage is None else stage.m
    return Measures(
        lesion_count=findings.burden.count,
        volume_ml=findings.burden.volume_ml,
        lung_ml=findings.lungs.total_ml,
        lung_fraction_percent=findings.burden.lung_fraction_percent,
        sum_of_target_axes_mm=findings.burden.sum_of_target_axes_mm,
        largest_ml=None if largest is None else largest.volume_ml,
        long_axis_mm=max((lesion.long_axis_mm for lesion in findings.lesions), default=None),
        sides_involved=findings.spread.sides_involved,
        t=None if stage is None else stage.t,
        m=m,
        spacing_z_mm=findings.scan.spacing_mm[0],
        mask_volume_ml=mask_volume_ml,
        mask_dice=mask_dice,
        threshold=findings.origin.threshold,
        engine=findings.origin.engine,
        warnings=tuple(remark.code for remark in findings.warnings),
        warning_texts=tuple(remark.text for remark in findings.warnings),
        lesions=tuple(lesion_cells(lesion) for lesion in findings.lesions),
    )
