"""From the probabilities of a scan to its tumours: pieces judged, those outside the lungs left out, the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.measurement.room import DENSE_HU, MARGIN_MM, REACH_MM, Room, find_room, near_lungs
from tumorspread.model.candidates import Candidate, Detection, Point, pick_lesions
from tumorspread.model.preprocess import Way
from tumorspread.scan.volume import Remark, Volume

# Without a calibration every piece counts.
EVERYTHING = Detection(sensitive=0.0, balanced=0.0, specific=0.0)


@dataclass(frozen=True, eq=False)
class Detected:
    """The tumours of one scan.

    Attributes:
        mask: bool on the scan's grid.
        candidates: all pieces, the most likely first.
        remarks: codes `outside_lungs_left_out`, `dense_left_out`, `reaches_below_lungs` and those of the input gate.
        likely: probability of the piece at each voxel of the network's grid; None where it was not calibrated.
        way: the road between both grids.
        percent: the probability as the network gave it, before anything was judged, in whole percent on the scan's
            grid; None where it was not asked for.
    """

    mask: Volume
    candidates: tuple[Candidate, ...]
    remarks: tuple[Remark, ...]
    likely: NDArray[np.float32] | None
    way: Way
    percent: Volume | None = None

    def probabilities(self, lesions: Volume) -> tuple[float, ...] | None:
        """The probability that each lesion is a tumour, by id; None where it was not calibrated.

        Args:
            lesions: label map 1..n on the scan's grid.
        """
        if self.likely is None:
            return None
        labels = self.way.turn.apply_array(lesions.voxels)
        likely = ndimage.maximum_filter(self.likely, self.way.covered)
        found = []
        for number, box in enumerate(lesion_boxes(labels), 1):
            # Slice by slice: the indices of a mass in fine slices take a hundred megabytes.
            planes = (np.argwhere(plane[None] == number) for plane in labels[box])
            starts = ((z, box[1].start, box[2].start) for z in range(box[0].start, box[0].stop))
            places = (self.way.to_target(index + start) for index, start in zip(planes, starts, strict=True))
            found.append(max(float(likely[place].max(initial=0)) for place in places))
        return tuple(found)


@dataclass(frozen=True, eq=False)
class LungSpace:
    """The lungs as the network's grid sees them.

    Attributes:
        near: bool, within `REACH_MM` of them; see `near_lungs`.
        room: where their tumours may be.
    """

    near: NDArray[np.bool_]
    room: Room


def judge(
    probability: NDArray[np.float32],
    way: Way,
    lungs: LungSpace | None,
    *,
    threshold: float,
    detection: Detection | None,
    point: Point = "balanced",
) -> Detected:
    """The tumours that a scan's probabilities hold.

    Args:
        probability: on the network's grid; what is not kept is lowered to below the threshold in place.
        way: the road from the scan to that grid.
        lungs: as `find_lungs` gives them.
        threshold: voxels above it belong to a piece.
        detection: calibration and operating points; None keeps every piece.
        point: operating point.
    """
    voxel_ml = float(np.prod(way.target_spacing_mm)) / 1000
    cut_ml = 0.0
    if lungs is not None:
        beyond = ~lungs.near & (probability > threshold)
        cut_ml = np.count_nonzero(beyond) * voxel_ml
        probability[beyond] = _below(threshold)
    room = None if lungs is None else lungs.room
    likely, found = pick_lesions(probability, threshold, detection or EVERYTHING, point, room)
    dropped = (likely == 0) & (probability > threshold)
    probability[dropped] = _below(threshold)
    remarks = _remarks(cut_ml, found, voxel_ml)
    mask = replace(way.mask_back(probability, threshold), remarks=())
    return Detected(mask, found, remarks, None if detection is None else likely, way)


def _remarks(cut_ml: float, found: tuple[Candidate, ...], voxel_ml: float) -> tuple[Remark, ...]:
    """What was left out, and what may hold more than tumour."""
    remarks = []
    dense_ml = sum(one.voxels for one in found if one.is_bone) * voxel_ml
    beyond_ml = cut_ml + sum(one.voxels for one in found if not (one.is_inside or one.is_bone)) * voxel_ml
    if beyond_ml:
        where = "outside the lungs, or under them with little or no lung beneath"
        remarks.append(Remark("outside_lungs_left_out", f"{beyond_ml:.3g} mL {where}, left out"))
    if dense_ml:
        text = f"{dense_ml:.3g} mL as dense as bone, calcium or metal (a tenth of it above {DENSE_HU:g} HU), left out"
        remarks.append(Remark("dense_left_out", text))
    for one in found:
        if one.is_kept and one.hangs_below:
            volume = f"{one.voxels * voxel_ml:.3g} mL"
            text = f"a lesion of {volume} has hardly any lung beneath: it may hold liver or spleen"
            remarks.append(Remark("reaches_below_lungs", text))
    return tuple(remarks)


def find_lungs(sides: NDArray[np.uint8] | None, way: Way) -> LungSpace | None:
    """The lungs on the network's grid; None where there are none.

    Args:
        sides: 1 in the left lung, 2 in the right, on the scan's grid; None where none were found.
        way: the road from the scan to the network's grid.
    """
    if sides is None:
        return None
    spacing_mm = way.target_spacing_mm
    seen = way.sample(way.turn.apply_array(sides))
    near, inside = near_lungs(seen, spacing_mm, (REACH_MM, MARGIN_MM))
    return LungSpace(near, find_room(seen, inside, spacing_mm)) if near.any() else None


def box_of_lungs(near: NDArray[np.bool_], margin: int, tile: tuple[int, ...], multiple: int = 1) -> tuple[slice, ...]:
    """The box that the network looks at: all within reach of the lungs, and what it needs to see about that.

    Args:
        near: what is within reach of the lungs: of one voxel at least.
        margin: voxels about the reach of the lungs.
        tile: edges of the network's window; no edge of the box is shorter where the scan is not. Two edges are those
            of a 2-D network, which was trained on whole slices and sees whole slices.
        multiple: of this many voxels each edge consists where the scan is large enough, else the network would see air
            beyond the box; not along the slices of a 2-D network.
    """
    box = []
    for axis, length in enumerate(near.shape):
        places = np.flatnonzero(near.any(axis=tuple({0, 1, 2} - {axis})))
        start, stop = max(0, int(places[0]) - margin), min(length, int(places[-1]) + 1 + margin)
        if len(tile) == 2:
            edge = stop - start if axis == 0 else length
        else:
            edge = min(max(tile[axis], multiple * math.ceil((stop - start) / multiple)), length)
        start = max(0, min(start - (edge - (stop - start)) // 2, length - edge))
        box.append(slice(start, start + edge))
    return tuple(box)


def _below(threshold: float) -> float:
    """So far below that interpolating between such voxels does not round to above it."""
    return threshold * (1 - 1e-4)
