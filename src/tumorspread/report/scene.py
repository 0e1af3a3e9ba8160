"""A scan with its lesions as pictures are drawn of it, turned once for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.report.plate import Plate
from tumorspread.report.views import Box, canonical
from tumorspread.scan.volume import Volume


@dataclass(frozen=True, eq=False)
class Picture:
    """A finished picture and what is written above it."""

    name: str
    title: str
    plate: Plate


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan and its masks in canonical axes, with the boxes of its lesions: what every picture of it needs.

    Attributes:
        scan: as read.
        turned: in canonical axes.
        labels: label map of its lesions, likewise.
        lungs: above 0 inside the lungs, likewise; None where they are unknown.
        boxes: of the lesions, by id from 1.
    """

    scan: Volume
    turned: Volume
    labels: NDArray[Any]
    lungs: NDArray[Any] | None
    boxes: list[Box]

    @classmethod
    def of(cls, scan: Volume, lesions: Volume, lungs: Volume | None = None) -> Scene:
        """Turn everything once.

        Raises:
            MaskError: a mask is not on the scan's grid.
        """
        turned, (labels, *others) = canonical(scan, lesions, *([lungs] if lungs else []))
        return cls(scan, turned, labels, others[0] if others else None, lesion_boxes(labels))

    def box_of(self, number: int) -> Box:
        """The box of a lesion.

        Raises:
            MaskError: the label map does not hold it.
        """
        box = self.boxes[number - 1] if number <= len(self.boxes) else None
        if box is None or box[0].start == box[0].stop:
            raise self.absent(number)
        return box

    def absent(self, number: int) -> MaskError:
        """What to raise when findings and label map do not belong together."""
        held = [int(i) for i in np.unique(self.labels) if i > 0]
        return MaskError(
            f"lesion {number} is not where the findings say in the label map, which holds {held or 'no lesion'}; "
            "give the label map that the findings were measured on"
        )
