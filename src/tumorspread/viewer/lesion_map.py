"""A lesion map while it is edited: where each lesion lies, and which ids were ever given.

Ids are stable: what is deleted leaves a gap, and what is new takes the next number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.pieces import Box, lesion_boxes
from tumorspread.scan.volume import Triple
from tumorspread.viewer.delta import Delta
from tumorspread.viewer.edits import EditError

Labels = NDArray[np.uint16]
LARGEST_ID = 2**16 - 1


@dataclass(eq=False)
class LesionMap:
    """The map of a case, which its edits change in place.

    Attributes:
        labels: contiguous, (z, y, x) in the scan's own axes: 0 outside, n in lesion n.
        spacing_mm: of that grid.
        boxes: the smallest box about each lesion, by id.
        last_id: the highest id ever given.
    """

    labels: Labels
    spacing_mm: Triple
    boxes: dict[int, Box]
    last_id: int

    @classmethod
    def of(cls, labels: Labels, spacing_mm: Triple) -> LesionMap:
        """The map as the first result has it."""
        found = {number: box for number, box in enumerate(lesion_boxes(labels), 1) if box[0].stop > box[0].start}
        return cls(np.ascontiguousarray(labels), spacing_mm, found, max(found, default=0))

    def box(self, lesion: int) -> Box:
        """Where a lesion lies.

        Raises:
            EditError: there is none of that id.
        """
        if lesion not in self.boxes:
            known = ", ".join(map(str, sorted(self.boxes)[:20])) or "none"
            raise EditError(f"there is no lesion {lesion}; the lesions are {known}")
        return self.boxes[lesion]

    def next_id(self, further: int = 0) -> int:
        """The id of a new lesion, or of the one after so many new ones.

        Raises:
            EditError: there are no more numbers.
        """
        number = self.last_id + 1 + further
        if number > LARGEST_ID:
            raise EditError(f"no more than {LARGEST_ID} lesions have numbers")
        return number

    def apply(self, delta: Delta) -> None:
        """Change the map and keep the boxes true."""
        delta.apply(self.labels)
        for lesion in delta.ids:
            box = self._grown(lesion, delta)
            inside = self.labels[box] == lesion
            if inside.any():
                self.boxes[lesion] = _tightened(box, inside)
            else:
                self.boxes.pop(lesion, None)
        self.last_id = max([self.last_id, *delta.ids])

    def flat(self, box: Box, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The flat indices, rising, of the voxels set in a box."""
        index = np.nonzero(inside)
        places = tuple(at + edge.start for at, edge in zip(index, box, strict=True))
        return np.asarray(np.ravel_multi_index(places, self.labels.shape), np.int64)

    def around(self, boxes: Iterable[Box], margin: int = 1) -> Box:
        """The box about some boxes, and so many voxels more, within the map."""
        known = list(boxes)
        z, y, x = (
            slice(max(0, min(b[axis].start for b in known) - margin), min(n, max(b[axis].stop for b in known) + margin))
            for axis, n in enumerate(self.labels.shape)
        )
        return z, y, x

    def box_of(self, places: NDArray[np.int64]) -> Box:
        """The smallest box about some voxels, one or more."""
        z, y, x = (slice(int(at.min()), int(at.max()) + 1) for at in np.unravel_index(places, self.labels.shape))
        return z, y, x

    def _grown(self, lesion: int, delta: Delta) -> Box:
        """A box that holds the lesion before and after."""
        gained = delta.places[delta.after == lesion]
        known = [self.boxes[lesion]] if lesion in self.boxes else []
        if len(gained):
            known.append(self.box_of(gained))
        return self.around(known, margin=0)


def _tightened(box: Box, inside: NDArray[np.bool_]) -> Box:
    places = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    z, y, x = (
        slice(edge.start + int(at[0]), edge.start + int(at[-1]) + 1) for edge, at in zip(box, places, strict=True)
    )
    return z, y, x
