"""The whole story on one page: a scan, its tumours, their measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tumorspread._version import __version__
from tumorspread.clock import Clock
from tumorspread.errors import MaskError, ReadError
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.lungs import LungMask, segment_lungs
from tumorspread.measurement.measured import MeasureOptions, measure_mask
from tumorspread.measurement.parts import Origin, ScanInfo
from tumorspread.measurement.pieces import DUST_MM3, lesion_boxes
from tumorspread.scan.pages import let_go
from tumorspread.scan.read import read, read_mask
from tumorspread.scan.volume import Remark, Volume, sparse_zeros

if TYPE_CHECKING:
    from tumorspread.model.candidates import Point
    from tumorspread.model.predict import Predictor

SOFTWARE = f"tumorspread {__version__}"


@dataclass(frozen=True, eq=False)
class Analysis:
    """A measured scan.

    Attributes:
        scan: as read.
        lesions: label map on the scan's grid: 0 outside, n in lesion n of the findings.
        lungs: label map on the scan's grid: 1 left, 2 right; None where no lungs were found.
        findings: the measures.
        percent: probability of tumour on the scan's grid, uint8, whole percent; None where it was not asked for.
    """

    scan: Volume
    lesions: Volume
    lungs: Volume | None
    findings: Findings
    percent: Volume | None = None

    @property
    def mask(self) -> Volume:
        """The tumour mask, uint8 in {0, 1}, on the scan's grid."""
        mask = sparse_zeros(self.lesions.shape, np.uint8)
        for box in lesion_boxes(self.lesions.voxels):
            mask[box] |= self.lesions.voxels[box] > 0
        return self.lesions.with_voxels(mask)

    def timed(self, clock: Clock) -> Analysis:
        """With the seconds of those stages in `findings.origin`, added to what stands there."""
        origin = self.findings.origin
        origin = replace(origin, stage_s=clock.added_to(origin.stage_s))
        return replace(self, findings=replace(self.findings, origin=origin))

    def undated(self) -> Analysis:
        """Without the moment it was made: a patient is known by the day of the scan, which is often the same."""
        return replace(self, findings=replace(self.findings, origin=replace(self.findings.origin, made_at=None)))


def analyse(
    scan: Volume | str | Path,
    weights: str | Path | Predictor = "lung",
    *,
    source: str | None = None,
    threshold: float | None = None,
    point: Point = "balanced",
    device: str | None = None,
    options: MeasureOptions = MeasureOptions(dust_mm3=DUST_MM3),
    progress: Callable[[int, int], None] | None = None,
) -> Analysis:
    """Find and measure the tumours of a chest CT.

    Args:
        scan: a volume in HU, or a path that `tumorspread.read` takes.
        weights: a weights file, the name of weights that come with the package, or a `Predictor` (for many scans).
        source: name of the scan for the findings; by default the path's.
        threshold: probabilities above it are tumour; None takes that of the weights.
        point: operating point, `sensitive`, `balanced` or `specific`; plays no part with weights that were not
            calibrated.
        device: `cpu`, `cuda`, ...; None takes CUDA where there is one. Plays no part with a `Predictor`.
        options: what to measure; by default pieces of the mask below a ball of 3 mm are left out as dust.
        progress: called with (tiles done, tiles in all).

    Raises:
        ReadError, GeometryError: the scan cannot be read right, or is not a chest CT in HU.
        WeightsError: the weights cannot be used.
        RecipeError: a threshold that is not between 0 and 1, or an unknown device.
    """
    from tumorspread.model.predict import Predictor  # here, since torch takes a second to import

    clock = Clock()
    with clock.stage("read"):
        volume, name = _open(scan, source)
    predictor = weights if isinstance(weights, Predictor) else Predictor(weights, device=device)
    info = predictor.info
    if info.preprocess.intensity != "hu":
        raise ReadError(f"{info.name} was trained on grey images, not on CT in HU; use `predict` with it")
    # Side by side: neither takes all cores, and neither needs the other.
    with ThreadPoolExecutor(1) as pool:
        lungs_found = pool.submit(segment_lungs, volume)
        prepared = predictor.prepare(volume, clock=clock)
        with clock.stage("lungs"):
            lungs = lungs_found.result()
    sides = lungs.labels if lungs.volumes.total_ml is not None else None
    found = predictor.detect(
        prepared, sides, point=point, threshold=threshold, percent=options.percent, progress=progress, clock=clock
    )
    origin = Origin(
        software=SOFTWARE,
        mask_source="model",
        weights=info.name,
        weights_sha256=info.sha256,
        threshold=info.threshold if threshold is None else threshold,
        made_at=_now(),
        operating_point=None if info.detection is None else point,
        engine=f"{predictor.engine.name} {predictor.engine.precision}",
    )
    with clock.stage("measure"):
        analysis = _analysis(volume, found.mask, name, origin, found.remarks, options, lungs)
        analysis = replace(analysis, percent=found.percent)
        likely = found.probabilities(analysis.lesions)
        let_go(volume.voxels)
    return _with_probabilities(analysis, likely, "the weights were not calibrated").timed(clock)


def measure(
    scan: Volume | str | Path,
    mask: Volume | str | Path,
    *,
    source: str | None = None,
    mask_source: str | None = None,
    label: int | None = None,
    roi: str | None = None,
    options: MeasureOptions = MeasureOptions(),
) -> Analysis:
    """Measure a mask that somebody or something else has drawn.

    Args:
        scan: a volume, or a path that `tumorspread.read` takes.
        mask: a volume of 0 and 1 on the scan's grid, or a path that `read_mask` takes.
        source: name of the scan for the findings; by default the path's.
        mask_source: name of the mask for the findings; by default the path's.
        label: which label of a NIfTI mask with several is tumour, or which segment of a SEG by its number.
        roi: which ROI of an RTSTRUCT, or segment of a SEG, with several is tumour, by its name.
        options: what to measure; by default no piece is too small, since what was drawn was meant.

    Raises:
        ReadError, GeometryError: scan or mask cannot be read right.
        MaskError: the mask is not on the scan's grid, or holds more than one label or ROI.
    """
    volume, name = _open(scan, source)
    if isinstance(mask, Volume):
        drawn, mask_name = mask, "array"
    else:
        drawn, mask_name = read_mask(mask, volume, label=label, roi=roi), Path(mask).name
    if not volume.same_grid(drawn):
        raise MaskError(f"the mask's grid {drawn.shape} is not the scan's {volume.shape}, or lies elsewhere")
    origin = Origin(SOFTWARE, mask_source or mask_name, made_at=_now())
    # On one grid to within a twentieth of a voxel; the answer is on the scan's.
    remarks = tuple(remark for remark in drawn.remarks if remark not in volume.remarks)
    analysis = _analysis(volume, volume.with_voxels(drawn.voxels), name, origin, remarks, options)
    return _with_probabilities(analysis, None, "the mask was brought along")


def _open(scan: Volume | str | Path, source: str | None) -> tuple[Volume, str]:
    if isinstance(scan, Volume):
        return scan, source or "array"
    return read(scan), source or Path(scan).name


def _analysis(
    volume: Volume,
    mask: Volume,
    name: str,
    origin: Origin,
    remarks: tuple[Remark, ...],
    options: MeasureOptions,
    lungs: LungMask | None = None,
) -> Analysis:
    measured = measure_mask(volume, mask, options, lungs=lungs)
    findings = Findings(
        scan=ScanInfo(name, volume.shape, volume.spacing_mm),
        origin=origin,
        lungs=measured.lungs,
        lesions=measured.lesions,
        burden=measured.burden,
        spread=measured.spread,
        warnings=(*volume.remarks, *remarks, *measured.remarks),
        stage=measured.stage,
    )
    return Analysis(volume, measured.labels, measured.sides, findings)


def _with_probabilities(analysis: Analysis, probabilities: Sequence[float] | None, why: str) -> Analysis:
    """The probability of each lesion, by id; or why there is none."""
    lesions = tuple(
        replace(lesion, reasons={**lesion.reasons, "probability": why})
        if probabilities is None
        else replace(lesion, probability=probabilities[lesion.id - 1])
        for lesion in analysis.findings.lesions
    )
    return replace(analysis, findings=replace(analysis.findings, lesions=lesions))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
