"""From a mask to its lesions: connected pieces, each measured."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.measurement.parts import Lesion, Lungs, Reasons, Segment, Side
from tumorspread.measurement.size import AxialAxes, measure_axes
from tumorspread.scan.volume import Reorientation, Triple, Volume

LEFT, RIGHT = 1, 2
SIDES: dict[int, Side] = {LEFT: "left", RIGHT: "right"}

# Padding outside the scanner's circle is -3024 or lower on some machines and would drag means down.
PADDING_HU = -1024

# A voxel next to a lung may belong to it (chest wall masses, collapse), one further than this does not.
NEAR_LUNG_MM = 15.0


def label_lesions(mask: Volume) -> Volume:
    """Number the connected pieces of a mask.

    Args:
        mask: voxels in {0, 1} or bool.

    Returns:
        On the same grid: 0 outside, 1 for the largest piece, 2 for the next, ... as uint16 or uint32. Voxels that
        touch by a face, an edge or a corner (26-connected) are one piece. Pieces of equal size are numbered in the
        order of their first voxel in the canonical axes, so that the ids do not depend on how the file was stored.

    Raises:
        MaskError: values other than 0 and 1.
    """
    values = mask.voxels
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise MaskError("the mask holds values other than 0 and 1; expected one lesion label")
    turn = Reorientation.to_canonical(mask)
    canonical = np.ascontiguousarray(turn.apply_array(values)).astype(np.uint8, copy=False)
    pieces, count = cc3d.connected_components(canonical, connectivity=26, return_N=True)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, np.uint16 if count < 2**16 else np.uint32)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    return mask.with_voxels(np.ascontiguousarray(turn.invert_array(rank[pieces])))


def measure_lesions(scan: Volume, lesions: Volume, sides: NDArray[np.uint8] | None, lungs: Lungs) -> tuple[Lesion, ...]:
    """Measure each lesion of a label map.

    Args:
        scan: HU (or any numbers), on the grid of `lesions`.
        lesions: label map, 1..n, as from `label_lesions`.
        sides: 1 in the left lung and 2 in the right, in the axes of `scan`; None where no lungs were found.
        lungs: their volumes; where neither side has one, the labels do not tell left from right.

    Returns:
        The lesions by id; none for an empty map.
    """
    turn = Reorientation.to_canonical(lesions)
    labels = turn.apply(lesions)
    hu = turn.apply_array(scan.voxels)
    canonical_sides = None if sides is None else turn.apply_array(sides)
    boxes = cc3d.statistics(np.ascontiguousarray(labels.voxels))["bounding_boxes"]
    return tuple(
        _measure_lesion(number, box, labels, hu, canonical_sides, lungs, turn)
        for number, box in enumerate(boxes)
        if number > 0
    )


def _measure_lesion(
    number: int,
    box: tuple[slice, slice, slice],
    labels: Volume,
    hu: NDArray[np.generic],
    sides: NDArray[np.uint8] | None,
    lungs: Lungs,
    turn: Reorientation,
) -> Lesion:
    inside = labels.voxels[box] == number
    start = np.array([b.start for b in box])
    axes = measure_axes(inside, labels.spacing_mm[1:])
    count = int(np.count_nonzero(inside))
    volume_ml = count * labels.voxel_ml
    side, reasons = _find_side(inside, box, labels, sides, lungs)
    share, share_reason = _lung_share(volume_ml, side, lungs)
    # As float64 first: an unsigned type, as grey images have, does not take a negative number.
    mean_hu = float(np.maximum(hu[box][inside].astype(np.float64), PADDING_HU).mean())
    if not np.isfinite(mean_hu):
        reasons["mean_hu"] = "the scan holds values that are not numbers inside the lesion"
    return Lesion(
        id=number,
        voxel_count=count,
        volume_ml=volume_ml,
        long_axis_mm=axes.long_mm,
        long_axis_ends_mm=_ends(axes.long_ends, axes, start, labels),
        short_axis_mm=axes.short_mm,
        short_axis_ends_mm=_ends(axes.short_ends, axes, start, labels),
        axial_slice=_source_slice(int(start[0]) + axes.slice_index, labels, turn),
        centroid_mm=_triple(labels.to_world(np.argwhere(inside).mean(axis=0) + start)),
        side=side,
        lung_share_percent=share,
        mean_hu=mean_hu if np.isfinite(mean_hu) else None,
        flags=_flags(inside, box, labels, side, sides),
        reasons=reasons | share_reason,
    )


def _find_side(
    inside: NDArray[np.bool_],
    box: tuple[slice, slice, slice],
    labels: Volume,
    sides: NDArray[np.uint8] | None,
    lungs: Lungs,
) -> tuple[Side | None, Reasons]:
    """The lung that holds most of the lesion; for one outside both, the lung it lies near."""
    if sides is None or (lungs.left_ml is None and lungs.right_ml is None):
        return None, {"side": lungs.reasons.get("left_ml", "no lungs were found in this scan")}
    counts = np.bincount(sides[box][inside], minlength=3)
    if counts[LEFT] + counts[RIGHT] == 0:
        pad = [int(np.ceil(NEAR_LUNG_MM / s)) for s in labels.spacing_mm]
        near = tuple(slice(max(0, b.start - p), b.stop + p) for b, p in zip(box, pad, strict=True))
        counts = np.bincount(sides[near].ravel(), minlength=3)
    if counts[LEFT] == counts[RIGHT]:
        return None, {"side": f"no lung within {NEAR_LUNG_MM:g} mm, or both alike"}
    return SIDES[LEFT if counts[LEFT] > counts[RIGHT] else RIGHT], {}


def _lung_share(volume_ml: float, side: Side | None, lungs: Lungs) -> tuple[float | None, Reasons]:
    lung_ml = {"left": lungs.left_ml, "right": lungs.right_ml, None: None}[side]
    if lung_ml is None:
        return None, {"lung_share_percent": "its lung or that lung's volume is unknown"}
    if volume_ml > lung_ml:
        return None, {"lung_share_percent": "the lesion is larger than its lung as found; is the lung collapsed?"}
    return 100 * volume_ml / lung_ml, {}


def _flags(
    inside: NDArray[np.bool_],
    box: tuple[slice, slice, slice],
    labels: Volume,
    side: Side | None,
    sides: NDArray[np.uint8] | None,
) -> tuple[str, ...]:
    flags = []
    if any(b.start == 0 or b.stop == n for b, n in zip(box, labels.shape, strict=True)):
        flags.append("cut_by_scan_edge")
    if sides is not None and not sides[box][inside].any():
        flags.append("outside_lungs")
    if inside.shape[0] == 1:
        flags.append("single_slice")
    return tuple(flags)


def _ends(ends: NDArray[np.float64], axes: AxialAxes, start: NDArray[np.int64], labels: Volume) -> Segment:
    indices = np.column_stack([np.full(2, axes.slice_index), ends]) + start
    first, second = labels.to_world(indices)
    return _triple(first), _triple(second)


def _source_slice(canonical: int, labels: Volume, turn: Reorientation) -> int:
    """The slice's index as the file's own axis counts it."""
    return labels.shape[0] - 1 - canonical if turn.flips[0] else canonical


def _triple(point: NDArray[np.float64]) -> Triple:
    x, y, z = (float(v) for v in point)
    return x, y, z
