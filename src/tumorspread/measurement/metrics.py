"""How well a mask agrees with a reference: overlap, surfaces, volume and lesions.

Names and formulas follow Metrics Reloaded (Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z). A ratio
with nothing below the line is None with its reason, never 0, 1 or NaN. All that takes time happens in the box
around both masks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cc3d
import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.measurement.parts import Reasons
from tumorspread.measurement.regions import find_regions
from tumorspread.measurement.surface import surface_distances
from tumorspread.scan.volume import Triple, Volume

Mask = NDArray[np.bool_]

NSD_TOLERANCE_MM = 2.0
# So that a distance of 2 mm is one: sqrt(1.2 ** 2 + 1.6 ** 2) is 4e-16 more.
ROUNDING_MM = 1e-6
# Share of a reference lesion that must be covered for it to count as found.
FOUND_SHARE = 0.1

BOTH_EMPTY = "both masks are empty"
PREDICTED_EMPTY = "the predicted mask is empty"
REFERENCE_EMPTY = "the reference mask is empty"
NO_SURFACES = "slices are independent"


@dataclass(frozen=True)
class MaskMetrics:
    """Agreement of a predicted mask with its reference; TP, FP, FN, TN count voxels of the whole image.

    Attributes:
        dice: 2 TP / (2 TP + FP + FN) (Dice 1945, doi:10.2307/1932409). 0 if one mask is empty.
        iou: TP / (TP + FP + FN) (Jaccard). 0 if one mask is empty.
        accuracy: (TP + TN) / all. Near 1 whatever was found, since a tumour is a small part of an image.
        precision: TP / (TP + FP).
        recall: TP / (TP + FN).
        specificity: TN / (TN + FP). Near 1 as well.
        nsd_2mm: normalised surface Dice (Nikolov et al. 2021, doi:10.2196/26151): the share of the surface
            voxels of both masks that lie within 2 mm of the other surface. Each counts once, as in MONAI; the
            paper weighs them by area.
        hd95_mm: 95th percentile Hausdorff distance: of the distances from each surface voxel to the other
            surface the percentile, linearly interpolated, in each direction; then the larger one (as MONAI).
        volume_ml: of the predicted mask.
        reference_volume_ml: of the reference.
        volume_error_ml: predicted minus reference.
        volume_error_percent: that as a share of the reference.
        lesions_reference: 26-connected pieces of the reference, none left out however small; 8-connected ones
            of single slices where these are independent.
        lesions_found: those of them of which the prediction covers at least 10 %.
        false_positives: such pieces of the prediction without a voxel in the reference.
        reasons: why a value is None, by field name.
    """

    dice: float | None
    iou: float | None
    accuracy: float | None
    precision: float | None
    recall: float | None
    specificity: float | None
    nsd_2mm: float | None
    hd95_mm: float | None
    volume_ml: float
    reference_volume_ml: float
    volume_error_ml: float
    volume_error_percent: float | None
    lesions_reference: int
    lesions_found: int
    false_positives: int
    reasons: Reasons = field(default_factory=dict)


def compare_masks(predicted: Volume, reference: Volume, *, surfaces: bool = True) -> MaskMetrics:
    """Compare a mask with its reference.

    Args:
        predicted: voxels True or False, or 0 and 1.
        reference: the same on the same grid.
        surfaces: whether the slices are neighbours in space. If not (a stack of single 2-D images), surface
            metrics have no meaning and are None, and no lesion goes on from one slice to the next.

    Raises:
        MaskError: the grids differ, or a mask has values other than 0 and 1.
    """
    if not predicted.same_grid(reference):
        raise MaskError(
            f"the predicted mask (shape {predicted.shape}) and the reference (shape {reference.shape}) lie "
            "on different grids; expected one grid: resample one of them to the other's"
        )
    found, truth = _as_mask(predicted, "predicted"), _as_mask(reference, "reference")
    box = _box(found, truth)
    found, truth = np.ascontiguousarray(found[box]), np.ascontiguousarray(truth[box])
    volumes = int(np.count_nonzero(found)), int(np.count_nonzero(truth))
    both = int(np.count_nonzero(found & truth))
    either = sum(volumes) - both
    values, reasons = _overlap(both, either, volumes, predicted.voxels.size)
    values["nsd_2mm"], values["hd95_mm"], reason = _surface(found, truth, predicted.spacing_mm, surfaces)
    covered, false_positives = _match_lesions(found, truth, surfaces)
    if reason:
        reasons |= {"nsd_2mm": reason, "hd95_mm": reason}
    return MaskMetrics(
        **values,
        volume_ml=volumes[0] * predicted.voxel_ml,
        reference_volume_ml=volumes[1] * predicted.voxel_ml,
        volume_error_ml=(volumes[0] - volumes[1]) * predicted.voxel_ml,
        lesions_reference=len(covered),
        lesions_found=int((covered >= FOUND_SHARE).sum()),
        false_positives=false_positives,
        reasons=reasons,
    )


def _as_mask(volume: Volume, name: str) -> Mask:
    """The voxels as bool, without a copy where they are bytes."""
    voxels = volume.voxels
    if voxels.dtype == bool:
        return voxels
    if voxels.dtype.kind in "iu":
        proper = bool((voxels.dtype.kind == "u" or voxels.min() >= 0) and voxels.max() <= 1)
    else:
        proper = voxels.dtype.kind == "f" and bool(((voxels == 0) | (voxels == 1)).all())
    if not proper:
        raise MaskError(
            f"the {name} mask has values of type {voxels.dtype} other than 0 and 1; expected a binary mask: "
            "pick one label or threshold it first"
        )
    return voxels.view(bool) if voxels.dtype.itemsize == 1 else voxels != 0


def _box(first: Mask, second: Mask) -> tuple[slice, ...]:
    """The smallest box that holds both masks; empty if both are."""
    box = [slice(None)] * 3
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(first[tuple(box)].any(others) | second[tuple(box)].any(others))
        box[axis] = slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 0)
    return tuple(box)


def _overlap(both: int, either: int, volumes: tuple[int, int], size: int) -> tuple[dict[str, float | None], Reasons]:
    """The voxel-wise values from the sizes of intersection, union, each mask and the image."""
    found, truth = volumes
    negatives = size - truth
    ratios = {
        "dice": (2 * both, found + truth, BOTH_EMPTY),
        "iou": (both, either, BOTH_EMPTY),
        "accuracy": (size - either + both, size, ""),
        "precision": (both, found, PREDICTED_EMPTY if truth else BOTH_EMPTY),
        "recall": (both, truth, REFERENCE_EMPTY if found else BOTH_EMPTY),
        "volume_error_percent": (100 * (found - truth), truth, REFERENCE_EMPTY if found else BOTH_EMPTY),
        "specificity": (size - either, negatives, "the reference mask fills the whole image"),
    }
    values = {name: above / below if below else None for name, (above, below, _) in ratios.items()}
    return values, {name: reason for name, (_, below, reason) in ratios.items() if not below}


def _surface(found: Mask, truth: Mask, spacing_mm: Triple, surfaces: bool) -> tuple[float | None, float | None, str]:
    """NSD at 2 mm and HD95 in mm; or None for both, and the reason."""
    if not surfaces:
        return None, None, NO_SURFACES
    if not found.size:
        return None, None, BOTH_EMPTY
    if not found.any() or not truth.any():
        return None, None, REFERENCE_EMPTY if found.any() else PREDICTED_EMPTY
    there, back = surface_distances(found, truth, spacing_mm)
    limit_mm = NSD_TOLERANCE_MM + ROUNDING_MM
    near = int((there <= limit_mm).sum() + (back <= limit_mm).sum())
    hd95_mm = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    return near / (len(there) + len(back)), hd95_mm, ""


def _match_lesions(found: Mask, truth: Mask, joined: bool) -> tuple[NDArray[np.float64], int]:
    """The share of each reference lesion that is covered, and the number of predicted pieces on none."""
    boxes = find_regions(found | truth) if joined else [(slice(None),) * 3]
    matched = [_match_in_box(np.ascontiguousarray(found[b]), np.ascontiguousarray(truth[b]), joined) for b in boxes]
    return np.concatenate([np.zeros(0), *(covered for covered, _ in matched)]), sum(alone for _, alone in matched)


def _match_in_box(found: Mask, truth: Mask, joined: bool) -> tuple[NDArray[np.float64], int]:
    lesions, lesion_count = _pieces(truth, joined)
    guesses, guess_count = _pieces(found, joined)
    # By index: picking by a mask of the whole image would take as long as all the rest.
    in_found, in_truth = np.flatnonzero(found), np.flatnonzero(truth)
    sizes = np.bincount(lesions.reshape(-1)[in_truth], minlength=lesion_count + 1)[1:]
    covered = np.bincount(lesions.reshape(-1)[in_found], minlength=lesion_count + 1)[1:]
    touching = np.bincount(guesses.reshape(-1)[in_truth], minlength=guess_count + 1)[1:]
    return covered / sizes, int((touching == 0).sum())


def _pieces(mask: Mask, joined: bool) -> tuple[NDArray[np.integer], int]:
    """Labels 1..n of the connected pieces, and n; slices that are not `joined` get an empty one between."""
    if not mask.any():
        return np.zeros(mask.shape, np.uint8), 0
    if joined:
        pieces, count = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26, return_N=True)
        return pieces, int(count)
    spread = np.zeros((2 * len(mask), *mask.shape[1:]), bool)
    spread[::2] = mask
    pieces, count = cc3d.connected_components(spread, connectivity=26, return_N=True)
    return pieces[::2], int(count)
