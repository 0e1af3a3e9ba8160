"""The same chest in a smaller field of view: around one lung, or with its lowest and highest slices missing.

Cohorts are full of scans that were cropped around a tumour. A network that saw whole chests alone takes the heart and
the liver for masses where the border of the scan cuts them: so did ours with a crop that ends within the heart.
"""

from __future__ import annotations

import numpy as np

from tumorspread.data.hosts import IN_BOX
from tumorspread.measurement.lungs import LEFT, RIGHT
from tumorspread.scan.volume import Volume

# Room that is kept about the lung within a slice; below nothing, the border runs through the lung itself.
ROOM_MM = (-15.0, 30.0)
# Up to this share of the lung's height is cut away below, and above.
LOST_BELOW, LOST_ABOVE = 0.55, 0.3
# A smaller scan than this along any axis says nothing about a patient.
LEAST_MM = 90.0


def narrow_field(scan: Volume, labels: Volume, random: np.random.Generator) -> tuple[Volume, Volume]:
    """Crop both to a box around one lung, or around what the scan shows of both, with part of its height.

    Args:
        scan: HU, axes (z, y, x) to head, back and left.
        labels: uint8 on the same grid, as in `HostScan`.
        random: the same state gives the same box.

    Returns:
        Scan and labels of the box, no smaller than 90 mm along any axis; unchanged where no lung is labelled.
    """
    sides = [side for side in (LEFT, RIGHT) if (labels.voxels % IN_BOX == side).any()]
    # Each lung alone is as likely as both together.
    chosen = int(random.choice([*sides, 0]))
    room_mm, below, above = random.uniform(*ROOM_MM, 4), random.uniform(0, LOST_BELOW), random.uniform(0, LOST_ABOVE)
    if not sides:
        return scan, labels
    lung = labels.voxels % IN_BOX == chosen if chosen else labels.voxels > 0
    levels, rows, columns = (np.flatnonzero(lung.any(axis)) for axis in ((1, 2), (0, 2), (0, 1)))
    height = levels[-1] + 1 - levels[0]
    low = [levels[0] + below * height, *(np.r_[rows[0], columns[0]] - room_mm[:2] / scan.spacing_mm[1:])]
    high = [levels[-1] + 1 - above * height, *(np.r_[rows[-1], columns[-1]] + 1 + room_mm[2:] / scan.spacing_mm[1:])]
    start, stop = [], []
    for first, last, spacing, length in zip(low, high, scan.spacing_mm, scan.shape, strict=True):
        lacking = max(0.0, LEAST_MM / spacing - (last - first)) / 2
        start.append(max(0, int(first - lacking)))
        stop.append(min(length, int(np.ceil(last + lacking))))
    return scan.crop(start, stop), labels.crop(start, stop)
