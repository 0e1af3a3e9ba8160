"""What is odd about lungs, found here or brought along: cut, touching, one alone, a volume that none has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.parts import Lungs
from tumorspread.scan.volume import Remark

LEFT, RIGHT = 1, 2
PLAUSIBLE_ML = (300.0, 5000.0)


def check_lungs(volumes: Lungs, sides: NDArray[np.uint8], *, separated: bool = True) -> Iterator[Remark]:
    """What the reader of the result must know of the lungs.

    Args:
        volumes: of both.
        sides: 1 in the left lung and 2 in the right, axes turned to (head, back, left), on any grid.
        separated: whether the two could be told apart.
    """
    if not separated:
        yield Remark("lungs_not_separated", "the lungs could not be told apart; the spine divides the mask")
    elif volumes.left_ml is None or volumes.right_ml is None:
        yield Remark("one_lung_found", "; ".join(volumes.reasons.values()))
    elif _touch(sides):
        yield Remark("lungs_touch", "the lungs touch; where one ends and the other begins is an estimate")
    faces = {"feet": sides[0], "head": sides[-1], "front": sides[:, 0], "back": sides[:, -1]}
    faces |= {"right": sides[:, :, 0], "left": sides[:, :, -1]}
    cut = ", ".join(name for name, face in faces.items() if face.any())
    if cut:
        text = f"the lungs reach the edge of the scan ({cut}); their volumes are those of the part inside"
        yield Remark("lungs_cut_by_scan", text)
    for name, ml in (("left", volumes.left_ml), ("right", volumes.right_ml)):
        if ml is not None and not PLAUSIBLE_ML[0] <= ml <= PLAUSIBLE_ML[1]:
            text = f"the {name} lung measures {ml:.0f} mL; expected 300 to 5000 mL"
            yield Remark("lung_volume_implausible", text)


def _touch(sides: NDArray[np.uint8]) -> bool:
    """Whether a voxel of one lung lies beside one of the other."""
    return any(bool((t[1:] * t[:-1] == LEFT * RIGHT).any()) for t in (np.moveaxis(sides, a, 0) for a in range(3)))
