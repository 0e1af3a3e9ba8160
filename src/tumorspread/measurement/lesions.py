"""From a numbered mask to lesions: each piece measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from tumorspread.measurement.density import measure_density
from tumorspread.measurement.lung_checks import LEFT, RIGHT
from tumorspread.measurement.parts import Lesion, Lungs, Reasons, Segment, Side
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.measurement.planes import PlaneDiameter, longest_in_planes
from tumorspread.measurement.precision import axis_error_mm, volume_error_ml
from tumorspread.measurement.shape import centre_index, measure_shape
from tumorspread.measurement.size import AxialAxes, measure_axes
from tumorspread.measurement.zones import SIDES
from tumorspread.scan.volume import Reorientation, Triple, Volume

# RECIST 1.1: 10 mm on CT with slices of at most 5 mm, else twice the slice thickness.
LEAST_RECIST_MM, THIN_MM = 10.0, 5.0
# A volume with an error bar above this share of it is flagged.
COARSE_SHARE = 0.25

# The outline of the lungs is known to a step of the grid on which they are found. A mass beyond it that touches lung
# within that step may be of the lung (chest wall, collapse); one that does not is outside.
TOUCH_MM = 2.5
OUTSIDE = "it lies outside the lungs: no voxel of it is in a lung or within 2.5 mm of one"


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
    return tuple(
        measure_lesion(number, box, labels, hu, canonical_sides, lungs, turn)
        for number, box in enumerate(lesion_boxes(labels.voxels), 1)
    )


def measure_lesion(
    number: int,
    box: tuple[slice, slice, slice],
    labels: Volume,
    hu: NDArray[np.generic],
    sides: NDArray[np.uint8] | None,
    lungs: Lungs,
    turn: Reorientation,
) -> Lesion:
    """Measure one lesion.

    Args:
        number: its id.
        box: about it.
        labels: label map, axes turned to (head, back, left).
        hu: the scan, likewise.
        sides: 1 in the left lung and 2 in the right, likewise; None where no lungs were found.
        lungs: as for `measure_lesions`.
        turn: from the scan's own axes to these.
    """
    inside = labels.voxels[box] == number
    start = np.array([b.start for b in box])
    axes = measure_axes(inside, labels.spacing_mm[1:])
    count = int(np.count_nonzero(inside))
    volume_ml = count * labels.voxel_ml
    error_ml = volume_error_ml(inside, labels.voxel_ml)
    counts = None if sides is None else _side_counts(inside, box, labels, sides)
    side, reasons = _find_side(counts, lungs)
    flags = _flags(inside, box, labels, counts, error_ml / volume_ml)
    axes_fields = _axes(inside, axes, start, labels)
    share, share_reason = _lung_share(volume_ml, side, lungs, outside="outside_lungs" in flags)
    density, density_reasons = _density(hu[box][inside], labels.voxel_ml)
    shape, shape_reasons = _shape(inside, labels.spacing_mm)
    return Lesion(
        id=number,
        voxel_count=count,
        volume_ml=volume_ml,
        volume_ml_error=error_ml,
        **axes_fields,
        axial_slice=_source_slice(int(start[0]) + axes.slice_index, labels, turn),
        centroid_mm=_triple(labels.to_world(centre_index(inside) + start)),
        side=side,
        lung_share_percent=share,
        equivalent_diameter_mm=float((6000 * volume_ml / np.pi) ** (1 / 3)),
        recist_measurable=axes.long_mm >= _least_recist_mm(labels.spacing_mm[0]),
        **shape,
        **density,
        **_longest(inside, labels.spacing_mm, axes_fields),
        flags=flags,
        reasons=reasons | share_reason | shape_reasons | density_reasons,
    )


def _axes(inside: NDArray[np.bool_], axes: AxialAxes, start: NDArray[np.int64], labels: Volume) -> dict[str, Any]:
    """The axes with their ends and error bars, as fields of `Lesion`."""
    spacing, index = labels.spacing_mm[1:], axes.slice_index
    beside = [inside[i : i + 1] for i in (index - 1, index + 1) if 0 <= i < len(inside) and inside[i].any()]
    neighbours = [measure_axes(plane, spacing) for plane in beside]
    slices = int(inside.any(axis=(1, 2)).sum())
    to_long = max((axes.long_mm - n.long_mm for n in neighbours), default=0.0)
    to_short = max((abs(axes.short_mm - n.short_mm) for n in neighbours), default=0.0)
    return {
        "long_axis_mm": axes.long_mm,
        "long_axis_mm_error": axis_error_mm(axes.long_mm, max(spacing), slices, to_long),
        "long_axis_ends_mm": _ends(axes.long_ends, axes, start, labels),
        "short_axis_mm": axes.short_mm,
        "short_axis_mm_error": axis_error_mm(axes.short_mm, max(spacing), slices, to_short),
        "short_axis_ends_mm": _ends(axes.short_ends, axes, start, labels),
        "who_product_mm2": axes.long_mm * axes.short_mm,
    }


def _longest(inside: NDArray[np.bool_], spacing_mm: Triple, axes: dict[str, Any]) -> dict[str, Any]:
    """The longest diameter in any of the three planes, as fields of `Lesion`."""
    axial = PlaneDiameter("axial", axes["long_axis_mm"], axes["long_axis_mm_error"])
    longest = longest_in_planes(inside, spacing_mm, axial)
    return {
        "longest_diameter_mm": longest.length_mm,
        "longest_diameter_mm_error": longest.error_mm,
        "longest_diameter_plane": longest.plane,
    }


def _shape(inside: NDArray[np.bool_], spacing_mm: Triple) -> tuple[dict[str, Any], Reasons]:
    """The shape as fields of `Lesion`, and why some are missing."""
    shape = measure_shape(inside, spacing_mm)
    fields = {
        "mesh_volume_ml": shape.mesh_volume_mm3 / 1000,
        "surface_cm2": shape.surface_mm2 / 100,
        "sphericity": shape.sphericity,
        "max_3d_mm": shape.max_3d_mm,
        "elongation": shape.elongation,
        "flatness": shape.flatness,
    }
    return fields, {name: "one voxel has no axes" for name, value in fields.items() if value is None}


def _density(values: NDArray[np.generic], voxel_ml: float) -> tuple[dict[str, Any], Reasons]:
    """The density as fields of `Lesion`, and why they are missing."""
    names = (
        *("mean_hu", "sd_hu", "p5_hu", "p25_hu", "median_hu", "p75_hu", "p95_hu"),
        *("solid_percent", "ground_glass_percent", "mass_g"),
    )
    found = measure_density(values, voxel_ml)
    if found is None:
        reason = "the scan holds values that are not numbers inside the lesion"
        return dict.fromkeys(names), dict.fromkeys(names, reason)
    shares = (found.solid_percent, found.ground_glass_percent, found.mass_g)
    return dict(zip(names, (found.mean_hu, found.sd_hu, *found.percentiles_hu, *shares), strict=True)), {}


def is_in_lungs(lesion: Lesion) -> bool:
    """Whether a lesion lies in a lung at least in part, or touches one; also where no lungs are known."""
    return "outside_lungs" not in lesion.flags


def _least_recist_mm(slice_mm: float) -> float:
    """The long axis from which a lesion is measurable; the slice distance stands in for the thickness."""
    return LEAST_RECIST_MM if slice_mm <= THIN_MM else 2 * slice_mm


def _find_side(counts: NDArray[np.intp] | None, lungs: Lungs) -> tuple[Side | None, Reasons]:
    """The lung that holds most of the lesion; of one that only touches lung, the lung that it touches most."""
    if counts is None or (lungs.left_ml is None and lungs.right_ml is None):
        return None, {"side": lungs.reasons.get("left_ml", "no lungs were found in this scan")}
    if counts[LEFT] + counts[RIGHT] == 0:
        return None, {"side": OUTSIDE}
    if counts[LEFT] == counts[RIGHT]:
        return None, {"side": "it lies in both lungs alike"}
    return SIDES[LEFT if counts[LEFT] > counts[RIGHT] else RIGHT], {}


def _side_counts(
    inside: NDArray[np.bool_], box: tuple[slice, slice, slice], labels: Volume, sides: NDArray[np.uint8]
) -> NDArray[np.intp]:
    """How many voxels of each side a lesion has, or without any has within 2.5 mm (next to it, if voxels are wider)."""
    counts = np.bincount(sides[box][inside], minlength=3)
    pad = [max(1, int(TOUCH_MM / mm)) for mm in labels.spacing_mm]
    wide = tuple(slice(max(0, b.start - p), b.stop + p) for b, p in zip(box, pad, strict=True))
    near = sides[wide]
    if counts[1:].any() or not near.any():
        return counts
    lesion = np.zeros(near.shape, bool)
    lesion[tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wide, strict=True))] = inside
    away_mm = distance_transform_edt(~lesion, labels.spacing_mm)
    return np.bincount(near[away_mm <= 1.001 * max(TOUCH_MM, *labels.spacing_mm)], minlength=3)


def _lung_share(volume_ml: float, side: Side | None, lungs: Lungs, *, outside: bool) -> tuple[float | None, Reasons]:
    if outside:
        return None, {"lung_share_percent": OUTSIDE}
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
    counts: NDArray[np.intp] | None,
    error_share: float,
) -> tuple[str, ...]:
    flags = []
    if any(b.start == 0 or b.stop == n for b, n in zip(box, labels.shape, strict=True)):
        flags.append("cut_by_scan_edge")
    if counts is not None and not counts[1:].any():
        flags.append("outside_lungs")
    if inside.shape[0] == 1:
        flags.append("single_slice")
    if error_share > COARSE_SHARE:
        flags.append("too_coarse")
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
