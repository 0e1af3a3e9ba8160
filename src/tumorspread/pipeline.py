"""The whole story on one page: a scan, its tumours, their measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tumorspread._version import __version__
from tumorspread.errors import MaskError, ReadError
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.lesions import measure_lesions
from tumorspread.measurement.lobes import read_lobe_map
from tumorspread.measurement.lungs import LungMask, segment_lungs
from tumorspread.measurement.parts import LungPart, Origin, ScanInfo
from tumorspread.measurement.pieces import DUST_MM3, dust_remark, label_lesions
from tumorspread.measurement.place import locate_lesions
from tumorspread.measurement.radiomics import add_features
from tumorspread.measurement.spread import measure_spread, sum_burden
from tumorspread.measurement.staging import propose_stage
from tumorspread.measurement.zones import lung_parts
from tumorspread.scan.read import read, read_labels, read_mask
from tumorspread.scan.volume import Remark, Reorientation, Volume

if TYPE_CHECKING:
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
    """

    scan: Volume
    lesions: Volume
    lungs: Volume | None
    findings: Findings

    @property
    def mask(self) -> Volume:
        """The tumour mask, uint8 in {0, 1}, on the scan's grid."""
        return self.lesions.with_voxels((self.lesions.voxels > 0).astype(np.uint8))


@dataclass(frozen=True)
class Wanted:
    """What to measure, and of what: see `analyse`."""

    dust_mm3: float = 0.0
    split: bool = False
    radiomics: bool = False
    lobes: Volume | None = None


def analyse(
    scan: Volume | str | Path,
    weights: str | Path | Predictor,
    *,
    source: str | None = None,
    threshold: float | None = None,
    device: str | None = None,
    dust_mm3: float = DUST_MM3,
    split: bool = False,
    radiomics: bool = False,
    lobes: Volume | str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Analysis:
    """Find and measure the tumours of a chest CT.

    Args:
        scan: a volume in HU, or a path that `tumorspread.read` takes.
        weights: a weights file, or a `Predictor` that holds one (for many scans).
        source: name of the scan for the findings; by default the path's.
        threshold: probabilities above it are tumour; None takes that of the weights.
        device: `cpu`, `cuda`, ...; None takes CUDA where there is one. Plays no part with a `Predictor`.
        dust_mm3: pieces of the mask of less volume are left out; by default those below a ball of 3 mm.
        split: divide touching lesions at their necks.
        radiomics: add IBSI first-order and shape features to every lesion.
        lobes: label map of lobes or lungs on the scan's grid (TotalSegmentator's or lungmask's labels), or a path;
            it stands for the lungs that would else be segmented.
        progress: called with (tiles done, tiles in all).

    Raises:
        ReadError, GeometryError: the scan cannot be read right, or is not a chest CT in HU.
        WeightsError: the weights cannot be used.
        RecipeError: a threshold that is not between 0 and 1, or an unknown device.
    """
    from tumorspread.model.predict import Predictor  # here, since torch takes a second to import

    volume, name = _open(scan, source)
    predictor = weights if isinstance(weights, Predictor) else Predictor(Path(weights), device=device)
    info = predictor.info
    if info.preprocess.intensity != "hu":
        raise ReadError(f"{info.name} was trained on grey images, not on CT in HU; use `predict` with it")
    mask, remarks = predictor.mask(volume, threshold=threshold, progress=progress)
    origin = Origin(
        software=SOFTWARE,
        mask_source="model",
        weights=info.name,
        weights_sha256=info.sha256,
        threshold=info.threshold if threshold is None else threshold,
        made_at=_now(),
    )
    wanted = Wanted(dust_mm3, split, radiomics, _open_labels(lobes, volume))
    return _measure(volume, mask, name, origin, remarks, wanted)


def measure(
    scan: Volume | str | Path,
    mask: Volume | str | Path,
    *,
    source: str | None = None,
    mask_source: str | None = None,
    label: int | None = None,
    dust_mm3: float = 0.0,
    split: bool = False,
    radiomics: bool = False,
    lobes: Volume | str | Path | None = None,
) -> Analysis:
    """Measure a mask that somebody or something else has drawn.

    Args:
        scan: a volume, or a path that `tumorspread.read` takes.
        mask: a volume of 0 and 1 on the scan's grid, or a path that `read_mask` takes.
        source: name of the scan for the findings; by default the path's.
        mask_source: name of the mask for the findings; by default the path's.
        label: which label of a mask file with several is tumour.
        dust_mm3: pieces of the mask of less volume are left out; by default none, since what was drawn was meant.
        split: divide touching lesions at their necks.
        radiomics: add IBSI first-order and shape features to every lesion.
        lobes: label map of lobes or lungs on the scan's grid (TotalSegmentator's or lungmask's labels), or a path;
            it stands for the lungs that would else be segmented.

    Raises:
        ReadError, GeometryError: scan or mask cannot be read right.
        MaskError: the mask is not on the scan's grid or holds more than one label.
    """
    volume, name = _open(scan, source)
    if isinstance(mask, Volume):
        drawn, mask_name = mask, "array"
    else:
        drawn, mask_name = read_mask(mask, volume, label=label), Path(mask).name
    if not volume.same_grid(drawn):
        raise MaskError(f"the mask's grid {drawn.shape} is not the scan's {volume.shape}, or lies elsewhere")
    origin = Origin(SOFTWARE, mask_source or mask_name, made_at=_now())
    # On one grid to within a twentieth of a voxel; the answer is on the scan's.
    wanted = Wanted(dust_mm3, split, radiomics, _open_labels(lobes, volume))
    return _measure(volume, volume.with_voxels(drawn.voxels), name, origin, (), wanted)


def _open(scan: Volume | str | Path, source: str | None) -> tuple[Volume, str]:
    if isinstance(scan, Volume):
        return scan, source or "array"
    return read(scan), source or Path(scan).name


def _open_labels(labels: Volume | str | Path | None, scan: Volume) -> Volume | None:
    return read_labels(labels, scan) if isinstance(labels, str | Path) else labels


def _measure(
    volume: Volume, mask: Volume, name: str, origin: Origin, remarks: tuple[Remark, ...], wanted: Wanted
) -> Analysis:
    lungs, lobes = _lungs(volume, wanted.lobes)
    found = lungs.volumes.total_ml is not None
    lesions = label_lesions(mask, dust_mm3=wanted.dust_mm3, split=wanted.split)
    if wanted.dust_mm3:
        remarks = (*remarks, *dust_remark(mask, lesions, wanted.dust_mm3))
    sides = lungs.labels if found else None
    volumes = replace(lungs.volumes, parts=_parts(volume, sides, lobes))
    measured = measure_lesions(volume, lesions, sides, volumes)
    measured = locate_lesions(measured, lesions, sides, volumes, lobes)
    if wanted.radiomics:
        measured = add_features(measured, volume, lesions)
    cut = sum("cut_by_scan_edge" in lesion.flags for lesion in measured)
    if cut:
        text = f"{cut} of {len(measured)} lesions are cut by the edge of the scan: they are larger than measured."
        remarks = (*remarks, Remark("lesion_cut_by_scan_edge", text))
    findings = Findings(
        scan=ScanInfo(name, volume.shape, volume.spacing_mm),
        origin=origin,
        lungs=volumes,
        lesions=measured,
        burden=sum_burden(measured, volumes),
        spread=measure_spread(measured, volumes),
        warnings=(*volume.remarks, *remarks, *lungs.remarks),
        stage=propose_stage(measured),
    )
    return Analysis(
        volume,
        replace(lesions, remarks=()),
        replace(volume, voxels=lungs.labels, remarks=()) if found else None,
        findings,
    )


def _lungs(volume: Volume, lobes: Volume | None) -> tuple[LungMask, NDArray[np.uint8] | None]:
    """The lungs, and lobes where a mask of them was brought along; it then stands for the lungs, too."""
    if lobes is None:
        return segment_lungs(volume), None
    if not volume.same_grid(lobes):
        raise MaskError(f"the lobe mask's grid {lobes.shape} is not the scan's {volume.shape}, or lies elsewhere")
    found = read_lobe_map(lobes)
    return found.lungs, found.lobes


def _parts(volume: Volume, sides: NDArray[np.uint8] | None, lobes: NDArray[np.uint8] | None) -> tuple[LungPart, ...]:
    if sides is None:
        return ()
    turn = Reorientation.to_canonical(volume)
    upright = None if lobes is None else turn.apply_array(lobes)
    return lung_parts(turn.apply_array(sides), upright, volume.voxel_ml)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
