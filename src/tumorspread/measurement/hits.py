"""Which lesions of a reference were found, which were missed, and which that were found are none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.measurement.metrics import FOUND_SHARE, MaskMetrics, compare_masks
from tumorspread.measurement.pieces import label_lesions, lesion_boxes
from tumorspread.scan.volume import Volume, sparse_zeros


@dataclass(frozen=True)
class Match:
    """A lesion of one mask as the other mask sees it.

    Attributes:
        id: in its own label map.
        volume_ml: of it.
        covered_percent: share of its voxels that the other mask holds.
        partner_ids: the lesions of the other mask with a voxel in common, those with most voxels first.
        is_hit: of the reference, that the other covers 10 % of it or more; of the result, that it has a voxel in it.
    """

    id: int
    volume_ml: float
    covered_percent: float
    partner_ids: tuple[int, ...]
    is_hit: bool


@dataclass(frozen=True, eq=False)
class Comparison:
    """A result against a reference.

    Attributes:
        metrics: voxel by voxel and surface by surface.
        reference: label map of the reference's lesions, 26-connected, 1 for the largest.
        reference_lesions: hit or missed, by id.
        found_lesions: hit or false alarm, by id.
    """

    metrics: MaskMetrics
    reference: Volume
    reference_lesions: tuple[Match, ...]
    found_lesions: tuple[Match, ...]


def compare_lesions(lesions: Volume, reference: Volume) -> Comparison:
    """Compare a result with a reference, as a whole and lesion by lesion.

    Args:
        lesions: label map 1..n of the result.
        reference: mask of 0 and 1 on the same grid.

    Raises:
        MaskError: another grid, or values other than 0 and 1.
    """
    if not lesions.same_grid(reference):
        raise MaskError(f"the reference's grid {reference.shape} is not the scan's {lesions.shape}, or lies elsewhere")
    truth = label_lesions(lesions.with_voxels(reference.voxels))
    counts = _common_voxels(lesions.voxels, truth.voxels)
    found_sizes, truth_sizes = _sizes(lesions.voxels), _sizes(truth.voxels)
    return Comparison(
        metrics=compare_masks(_mask(lesions), _mask(truth)),
        reference=truth,
        reference_lesions=_matches(
            truth_sizes, {(b, a): n for (a, b), n in counts.items()}, lesions.voxel_ml, FOUND_SHARE
        ),
        found_lesions=_matches(found_sizes, counts, lesions.voxel_ml, 0.0),
    )


def _mask(labels: Volume) -> Volume:
    mask = sparse_zeros(labels.shape, np.uint8)
    for box in lesion_boxes(labels.voxels):
        mask[box] |= labels.voxels[box] > 0
    return labels.with_voxels(mask)


def _sizes(labels: NDArray[np.integer]) -> dict[int, int]:
    boxes = enumerate(lesion_boxes(labels), 1)
    sizes = {number: int((labels[box] == number).sum()) for number, box in boxes}
    return {number: size for number, size in sizes.items() if size}


def _common_voxels(found: NDArray[np.integer], truth: NDArray[np.integer]) -> dict[tuple[int, int], int]:
    """Voxels that a lesion of the result and one of the reference share, by (result, reference)."""
    counts: dict[tuple[int, int], int] = {}
    for number, box in enumerate(lesion_boxes(found), 1):
        partners, sizes = np.unique(truth[box][found[box] == number], return_counts=True)
        counts |= {(number, int(p)): int(n) for p, n in zip(partners, sizes, strict=True) if p}
    return counts


def _matches(
    sizes: dict[int, int], counts: dict[tuple[int, int], int], voxel_ml: float, least_share: float
) -> tuple[Match, ...]:
    matches = []
    for number, size in sizes.items():
        shared = {partner: n for (own, partner), n in counts.items() if own == number}
        covered = sum(shared.values()) / size
        matches.append(
            Match(
                id=number,
                volume_ml=size * voxel_ml,
                covered_percent=100 * covered,
                partner_ids=tuple(sorted(shared, key=lambda p: (-shared[p], p))),
                is_hit=covered > 0 and covered >= least_share,
            )
        )
    return tuple(matches)
