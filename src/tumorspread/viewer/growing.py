"""Click to grow: what is as dense as a voxel, joined to it, and no more than a mass."""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.pieces import Box
from tumorspread.scan.volume import Volume
from tumorspread.viewer.edits import EditError, Place

# Half of 7 cm, above which a tumour is T4 by size: larger ones are painted.
REACH_MM = 35.0
# About the place, against noise.
SEED_MM = 2.0
# Aerated lung; the border of what is grown lies midway to it, where a half-level contour would.
LUNG_HU, LEAST_ABOVE_LUNG_HU = -850.0, 150.0
# Bone and calcified vessels beside a soft lesion are denser than it by more.
MOST_ABOVE_HU = 200.0
# What is thinner than this is a vessel or a strand that leaves the lesion.
VESSEL_MM = 3.0


def grow_region(scan: Volume, sides: NDArray[np.uint8] | None, place: Place) -> tuple[Box, NDArray[np.bool_]]:
    """The region about a place.

    Args:
        scan: HU.
        sides: the lungs, which the region does not leave where the place lies in one; None where none are known.
        place: NIfTI's (x, y, z).

    Returns:
        A box, and the region in it.

    Raises:
        EditError: outside the scan, in aerated lung or air, or nothing as thick as a lesion about it.
    """
    centre = place[::-1]
    if any(i >= n for i, n in zip(centre, scan.shape, strict=True)):
        raise EditError(f"the place {list(place)} (x, y, z) is outside the scan")
    box = _box(centre, REACH_MM, scan)
    hu = scan.voxels[box].astype(np.float32)
    seed = tuple(i - edge.start for i, edge in zip(centre, box, strict=True))
    away_mm = _distance_mm(hu.shape, seed, scan)
    level = float(np.median(hu[away_mm <= max(SEED_MM, *scan.spacing_mm)]))
    if not np.isfinite(level) or level < LUNG_HU + LEAST_ABOVE_LUNG_HU:
        raise EditError(f"about this place lie {level:.0f} HU: air or aerated lung, nothing to grow")
    alike = (hu >= (level + LUNG_HU) / 2) & (hu <= level + MOST_ABOVE_HU) & (away_mm <= REACH_MM)
    if sides is not None and sides[centre]:
        alike &= sides[box] == sides[centre]
    region = _thick_part(alike, seed, scan)
    if not region[seed]:
        raise EditError("nothing as thick as a lesion hangs together about this place; paint it")
    return box, region


def _box(centre: Place, reach_mm: float, scan: Volume) -> Box:
    z, y, x = (
        slice(max(0, i - int(reach_mm / mm)), min(n, i + int(reach_mm / mm) + 1))
        for i, mm, n in zip(centre, scan.spacing_mm, scan.shape, strict=True)
    )
    return z, y, x


def _distance_mm(shape: tuple[int, ...], seed: tuple[int, ...], scan: Volume) -> NDArray[np.float32]:
    steps = np.ogrid[tuple(slice(0, n) for n in shape)]
    squares = [((at - i) * mm) ** 2 for at, i, mm in zip(steps, seed, scan.spacing_mm, strict=True)]
    return np.sqrt(squares[0] + squares[1] + squares[2]).astype(np.float32)


def _thick_part(alike: NDArray[np.bool_], seed: tuple[int, ...], scan: Volume) -> NDArray[np.bool_]:
    """The piece at the seed without what is thinner than a vessel, where it is thicker than one itself."""
    whole = _piece(alike, seed)
    radius_mm = VESSEL_MM / 2
    core = edt.edt(whole, anisotropy=scan.spacing_mm, black_border=True) > radius_mm
    # An opening by distance: back out from the core by as much as was taken off.
    opened = whole & (edt.edt(~core, anisotropy=scan.spacing_mm) <= radius_mm) if core.any() else core
    return _piece(opened, seed) if opened[seed] else whole


def _piece(mask: NDArray[np.bool_], seed: tuple[int, ...]) -> NDArray[np.bool_]:
    pieces = cc3d.connected_components(np.ascontiguousarray(mask))
    return np.asarray((pieces == pieces[seed]) & mask)
