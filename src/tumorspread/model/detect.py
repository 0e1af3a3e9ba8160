"""From the probabilities of a scan to its tumours: pieces judged, those outside the lungs left out, the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.measurement.room import MARGIN_MM, lung_room
from tumorspread.model.candidates import Candidate, Detection, Point, pick_lesions
from tumorspread.model.preprocess import Way
from tumorspread.scan.volume import Remark, Volume

# What the network learns from and is asked about: masses grow into the chest wall. Of synthetic ones of 50 mL and more
# 11 % lie beyond the room's own margin and 6 % beyond this one.
REACH_MM = 25.0
# Without a calibration every piece counts.
EVERYTHING = Detection(sensitive=0.0, balanced=0.0, specific=0.0)


@dataclass(frozen=True, eq=False)
class Detected:
    """The tumours of one scan.

    Attributes:
        mask: bool on the scan's grid.
        candidates: all pieces, the most likely first.
        remarks: codes `outside_lungs_left_out` and those of the input gate.
        likely: probability of the piece at each voxel of the network's grid; None where it was not calibrated.
        way: the road between both grids.
    """

    mask: Volume
    candidates: tuple[Candidate, ...]
    remarks: tuple[Remark, ...]
    likely: NDArray[np.float32] | None
    way: Way

    def probabilities(self, lesions: Volume) -> tuple[float, ...] | None:
        """The probability that each lesion is a tumour, by id; None where it was not calibrated.

        Args:
            lesions: label map 1..n on the scan's grid.
        """
        if self.likely is None:
            return None
        labels = self.way.turn.apply_array(lesions.voxels)
        found = []
        for number, box in enumerate(lesion_boxes(labels), 1):
            index = np.argwhere(labels[box] == number) + [b.start for b in box]
            found.append(float(self.likely[self.way.to_target(index)].max()))
        return tuple(found)


def judge(
    probability: NDArray[np.float32],
    way: Way,
    sides: NDArray[np.uint8] | None,
    *,
    threshold: float,
    detection: Detection | None,
    point: Point = "balanced",
) -> Detected:
    """The tumours that a scan's probabilities hold.

    Args:
        probability: on the network's grid; what is not kept is lowered to the threshold in place.
        way: the road from the scan to that grid.
        sides: 1 in the left lung, 2 in the right, on the scan's grid; None where no lungs were found.
        threshold: voxels above it belong to a piece.
        detection: calibration and operating points; None keeps every piece.
        point: operating point.
    """
    room = None if sides is None else find_room(sides, way)
    likely, found = pick_lesions(probability, threshold, detection or EVERYTHING, point, room)
    dropped = (likely == 0) & (probability > threshold)
    probability[dropped] = threshold
    outside = [one for one in found if not one.is_inside]
    remarks: tuple[Remark, ...] = ()
    if outside:
        ml = sum(one.voxels for one in outside) * float(np.prod(way.target_spacing_mm)) / 1000
        noun = "1 piece" if len(outside) == 1 else f"{len(outside)} pieces"
        remarks = (Remark("outside_lungs_left_out", f"{noun} outside the lungs, {ml:.3g} mL in all, left out"),)
    mask = replace(way.mask_back(probability, threshold), remarks=())
    return Detected(mask, found, remarks, None if detection is None else likely, way)


def find_room(sides: NDArray[np.uint8], way: Way, margin_mm: float = MARGIN_MM) -> NDArray[np.bool_]:
    """Where lung tumours may be, on the network's grid; see `lung_room`.

    Args:
        sides: 1 in the left lung, 2 in the right, on the scan's grid.
        way: the road from the scan to the network's grid.
        margin_mm: about the hulls of the lungs.
    """
    return lung_room(way.sample(way.turn.apply_array(sides)), way.target_spacing_mm, margin_mm)
