"""The same chest with half of the diaphragm standing higher, as tumours and their treatment often leave it.

Hosts are few and most of them breathe in well. A network that has never seen a liver in the middle of a chest takes it
for a mass: so did ours with the one host that shows it, when that was left out.
"""

from __future__ import annotations

import edt
import numpy as np
from numpy.typing import NDArray

from tumorspread.data.hosts import IN_BOX
from tumorspread.scan.volume import Volume

RISE_MM = (15.0, 75.0)
# A lung keeps at least this share of its height above the dome.
LEAST_HEIGHT = 0.55
# The dome is as high as this share of the columns beneath the lung; beyond its side the rise fades over a distance.
DOME_SHARE, FADE_MM = 0.8, 35.0
# A dome no higher than this above the lowest slice is hardly in the scan.
LOWEST_DOME_MM = 20.0


def raise_diaphragm(scan: Volume, labels: Volume, side: int, rise_mm: float) -> tuple[Volume, Volume]:
    """Move one half of the diaphragm up: what lies below is stretched, the lung above is pressed together.

    Slices keep their places, columns are drawn along z alone, most in the lung's own columns and less beside them.

    Args:
        scan: HU, axes (z, y, x) to head, back and left.
        labels: uint8 on the same grid, as in `HostScan`.
        side: label of the lung above that half.
        rise_mm: how far the dome goes up; less where the lung would be left with too little of its height.

    Returns:
        Scan and labels on the same grid; unchanged where the scan does not show the dome.
    """
    lung = np.asarray(labels.voxels % IN_BOX == side)
    height_mm = scan.spacing_mm[0]
    levels = np.flatnonzero(lung.any(axis=(1, 2)))
    columns = lung.any(axis=0)
    dome = float(np.quantile(lung.argmax(axis=0)[columns], DOME_SHARE)) if len(levels) else 0.0
    if dome * height_mm < LOWEST_DOME_MM:
        return scan, labels
    top = float(levels[-1])
    rise = min(rise_mm / height_mm, (1 - LEAST_HEIGHT) * (top - dome))
    slices = np.arange(len(lung), dtype=np.float32)
    source = np.interp(slices, [0, dome + rise, top, len(lung)], [0, dome, top, len(lung)])
    weight = np.clip(1 - edt.edt(~columns, anisotropy=scan.spacing_mm[1:]) / FADE_MM, 0, 1)
    # Sine-shaped, so that nothing is sheared along a line.
    weight = np.sin(weight * np.pi / 2) ** 2
    places = slices[:, None] - (slices - source)[:, None] * weight[weight > 0].astype(np.float32)
    return _draw(scan, places, weight > 0, nearest=False), _draw(labels, places, weight > 0, nearest=True)


def _draw(volume: Volume, places: NDArray[np.floating], moved: NDArray[np.bool_], *, nearest: bool) -> Volume:
    """The volume with its `moved` columns (y, x) taken from the heights `places` (z, columns)."""
    voxels = np.array(volume.voxels)
    columns = voxels[:, moved]
    last = len(voxels) - 1
    each = np.arange(columns.shape[1])
    for z, heights in enumerate(places):
        if nearest:
            voxels[z, moved] = columns[np.round(heights).astype(np.intp), each]
            continue
        below = np.minimum(heights.astype(np.intp), last)
        part = heights - below
        drawn = columns[below, each] * (1 - part) + columns[np.minimum(below + 1, last), each] * part
        voxels[z, moved] = np.round(drawn) if voxels.dtype.kind == "i" else drawn
    return volume.with_voxels(voxels)
