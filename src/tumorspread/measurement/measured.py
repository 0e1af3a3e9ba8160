"""Everything that is measured of one scan and one mask, in the order in which one measure needs another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.measurement.coarse import body_midline_mm
from tumorspread.measurement.lesions import measure_lesions
from tumorspread.measurement.lobes import read_lobe_map
from tumorspread.measurement.lungs import LungMask, segment_lungs
from tumorspread.measurement.parts import Burden, Lesion, LungPart, Lungs, Spread, Stage
from tumorspread.measurement.pieces import dust_remark, label_lesions, speck_remark
from tumorspread.measurement.place import locate_lesions
from tumorspread.measurement.radiomics import add_features
from tumorspread.measurement.spread import measure_spread, sum_burden
from tumorspread.measurement.staging import propose_stage
from tumorspread.measurement.zones import lung_parts
from tumorspread.scan.volume import Remark, Reorientation, Volume


@dataclass(frozen=True, eq=False)
class MeasureOptions:
    """What to measure, and of what.

    Attributes:
        dust_mm3: pieces of the mask of less volume are left out, mm3.
        split: divide touching lesions at their necks.
        radiomics: add IBSI first-order and shape features to every lesion.
        lobes: label map of lobes or lungs on the scan's grid, with the labels of TotalSegmentator or lungmask; it
            stands for the lungs that would else be segmented.
        percent: where a model draws the mask, also give its probability in each voxel.
    """

    dust_mm3: float = 0.0
    split: bool = False
    radiomics: bool = False
    lobes: Volume | None = None
    percent: bool = False


@dataclass(frozen=True, eq=False)
class Measured:
    """The measures of one mask.

    Attributes:
        labels: label map on the scan's grid: n in lesion n.
        sides: label map on the scan's grid: 1 left lung, 2 right; None where no lungs were found.
        lungs: volumes.
        lesions: largest first.
        burden: all lesions together.
        spread: how they are distributed.
        stage: what size and number propose.
        remarks: what the reader of the result must know.
    """

    labels: Volume
    sides: Volume | None
    lungs: Lungs
    lesions: tuple[Lesion, ...]
    burden: Burden
    spread: Spread
    stage: Stage
    remarks: tuple[Remark, ...]


def measure_mask(
    scan: Volume, mask: Volume, options: MeasureOptions = MeasureOptions(), *, lungs: LungMask | None = None
) -> Measured:
    """Measure all of one mask.

    Args:
        scan: HU.
        mask: 0 and 1 on the scan's grid.
        options: what to measure.
        lungs: of `segment_lungs` where they are at hand; None segments them. Lobes that were brought take their place.

    Raises:
        MaskError: values other than 0 and 1; or the lobe mask lies on another grid, has labels of no known kind, or
            has them where they cannot be.
    """
    labels = replace(label_lesions(mask, dust_mm3=options.dust_mm3, split=options.split), remarks=())
    dust = dust_remark(mask, labels, options.dust_mm3) if options.dust_mm3 else ()
    measured = measure_labels(scan, labels, options, lungs=lungs)
    return replace(measured, remarks=(*dust, *measured.remarks))


def measure_labels(
    scan: Volume, labels: Volume, options: MeasureOptions = MeasureOptions(), *, lungs: LungMask | None = None
) -> Measured:
    """Measure all of one map of lesions that are told apart already.

    Args:
        scan: HU.
        labels: n in lesion n, 1 the largest, on the scan's grid; as `label_lesions` numbers them.
        options: what to measure; how to tell lesions apart plays no part.
        lungs: as for `measure_mask`.

    Raises:
        MaskError: of the lobes, as for `measure_mask`.
    """
    lung_mask, lobes = _lungs(scan, options.lobes, labels, lungs)
    sides = lung_mask.labels if lung_mask.volumes.total_ml is not None else None
    told = not (lung_mask.volumes.left_ml is None and lung_mask.volumes.right_ml is None)
    volumes = replace(lung_mask.volumes, parts=_parts(scan, sides if told else None, lobes))
    lesions = measure_lesions(scan, labels, sides, volumes)
    lesions = locate_lesions(lesions, labels, sides, volumes, lobes)
    if options.radiomics:
        lesions = add_features(lesions, scan, labels)
    return Measured(
        labels=labels,
        sides=None if sides is None else replace(scan, voxels=sides, remarks=()),
        lungs=volumes,
        lesions=lesions,
        burden=sum_burden(lesions, volumes),
        spread=measure_spread(lesions, volumes),
        stage=propose_stage(lesions),
        remarks=(*speck_remark([n.volume_ml for n in lesions]), *cut_remark(lesions), *lung_mask.remarks),
    )


def _lungs(
    scan: Volume, lobes: Volume | None, lesions: Volume, lungs: LungMask | None
) -> tuple[LungMask, NDArray[np.uint8] | None]:
    if lobes is None:
        return lungs or segment_lungs(scan), None
    if not scan.same_grid(lobes):
        raise MaskError(f"the lobe mask's grid {lobes.shape} is not the scan's {scan.shape}, or lies elsewhere")
    found = read_lobe_map(lobes, midline_mm=body_midline_mm(scan), lesions=lesions.voxels)
    return found.lungs, found.lobes


def _parts(scan: Volume, sides: NDArray[np.uint8] | None, lobes: NDArray[np.uint8] | None) -> tuple[LungPart, ...]:
    if sides is None:
        return ()
    turn = Reorientation.to_canonical(scan)
    upright = None if lobes is None else turn.apply_array(lobes)
    return lung_parts(turn.apply_array(sides), upright, scan.voxel_ml)


def cut_remark(lesions: tuple[Lesion, ...]) -> tuple[Remark, ...]:
    """How many lesions the edge of the scan cuts, in words; nothing where it cuts none."""
    cut = sum("cut_by_scan_edge" in lesion.flags for lesion in lesions)
    if not cut:
        return ()
    text = f"{cut} of {len(lesions)} lesions are cut by the edge of the scan: they are larger than measured."
    return (Remark("lesion_cut_by_scan_edge", text),)
