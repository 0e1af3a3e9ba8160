"""A box of the host in which something is to be put: its voxels, where the lung is, noise of the same kind.

Everything that is implanted, tumour or distractor, is mixed in by one step (`Site.mix`), so that partial volume and
noise are right in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.data.host_noise import NoiseModel
from tumorspread.data.places import Chest
from tumorspread.data.shapes import smooth_field
from tumorspread.scan.volume import Triple

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
Box = tuple[slice, slice, slice]

LOWEST_HU = -1024.0
BONE_HU = 180.0
AIRWAY_HU = -850.0
# The outline of the lungs is known to about this; what is darker than tissue within it still counts as lung.
FRINGE_MM = 4.0
FRINGE_HU = (-250.0, -80.0)
FAT_HU = 10.0
SURE_MM = 1.5
# Nothing is put further than this from a lung.
AROUND_MM = 16.0


@dataclass(frozen=True, eq=False)
class Host:
    """The scan that receives, axes turned to (head, back, left); its voxels are written to.

    Attributes:
        hu: int16 or float32.
        lungs: 1 left, 2 right.
        spacing_mm: along (z, y, x).
        noise: its own.
        chest: its coarse maps.
    """

    hu: NDArray[np.number]
    lungs: NDArray[np.uint8]
    spacing_mm: Triple
    noise: NoiseModel
    chest: Chest


@dataclass(frozen=True, eq=False)
class Site:
    """A box of the host.

    Attributes:
        box: its place on the host's grid.
        spacing_mm: along (z, y, x).
        axes: positions along (z, y, x) in mm, 0 at the point the site was opened at.
        hu: float32, a copy, changed by `mix`.
        before: the copy as it came.
        lung: the voxels of the lungs.
        depth_mm: distance to the lung's surface, positive inside.
        bone: bone outside the lungs.
        airway: large airways outside the lungs, and the other lung where one only counts.
        noise: HU, of the host's kind.
        blur_mm: (z, y, x) standard deviation of the host's blur.
    """

    box: Box
    spacing_mm: Triple
    axes: tuple[Points, Points, Points]
    hu: Field
    before: Field
    lung: Mask
    depth_mm: Field
    bone: Mask
    airway: Mask
    noise: Field
    blur_mm: Triple

    def room(self, invasion_mm: float) -> Field:
        """Where something of the lung may grow, 0 to 1: lung, the dark fringe at its border, and fat beyond.

        Args:
            invasion_mm: how far it grows into what lies around the lung.
        """
        edge = min(self.spacing_mm)
        soft = ndimage.gaussian_filter(self.before, [min(1.5, 1.2 / s) for s in self.spacing_mm])
        low, high = FRINGE_HU
        dark = np.clip((high - soft) / (high - low), 0, 1) * (self.depth_mm > -FRINGE_MM)
        reach = np.where(soft < FAT_HU, invasion_mm, min(invasion_mm, SURE_MM))
        grown = np.clip(0.5 + (self.depth_mm + reach) / max(edge, 1.0), 0, 1)
        inside = np.clip(0.5 + self.depth_mm / edge, 0, 1)
        return np.asarray(np.maximum(np.maximum(dark, grown), inside) * ~(self.bone | self.airway), np.float32)

    def mix(self, share: Field, value_hu: Field | float) -> None:
        """Replace a share (0 to 1) of every voxel by tissue of some HU, keeping the strength of the noise.

        What is left of the host brings its noise along, weakened; the missing part of the variance is drawn anew.
        """
        left = 1 - share
        fresh = np.sqrt(np.maximum(1 - left * left, 0))
        self.hu[...] = self.hu * left + share * value_hu + fresh * self.noise

    def position(self, centre: Sequence[float] = (0.0, 0.0, 0.0)) -> tuple[Field, Field, Field]:
        """Offsets in mm from a point, shaped to broadcast along (z, y, x)."""
        z, y, x = (np.asarray(a - c, np.float32) for a, c in zip(self.axes, centre, strict=True))
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def depth_at(self, point_mm: Points) -> float:
        """Depth in the lung at a point, mm; at the nearest voxel of the site."""
        return float(self.depth_mm[self._index(point_mm)])

    def outward(self) -> Points:
        """Unit vector (z, y, x) in mm from the origin to the nearest surface of the lung."""
        at = self._index(np.zeros(3))
        near = self.depth_mm[tuple(slice(max(0, i - 3), i + 4) for i in at)]
        slopes = [ndimage.correlate1d(near, (-0.5, 0, 0.5), axis, mode="nearest") for axis in range(3)]
        way = -np.array([float(s.mean()) / mm for s, mm in zip(slopes, self.spacing_mm, strict=True)])
        return np.asarray(way / max(float(np.linalg.norm(way)), 1e-6))

    def _index(self, point_mm: Points) -> tuple[int, ...]:
        return tuple(int(np.abs(a - p).argmin()) for a, p in zip(self.axes, point_mm, strict=True))

    def field(self, random: np.random.Generator, scale_mm: float) -> Field:
        """A smooth random field of the site's size that varies over about `scale_mm`, unit standard deviation."""
        z, y, x = self.hu.shape
        return smooth_field(random, (z, y, x), self.spacing_mm, max(scale_mm, 1.0))


def open_site(
    random: np.random.Generator, host: Host, centre: Points, reach_mm: float | Points, side: int | None = None
) -> Site:
    """The box around a point of the host's grid, as far as it holds lung or what lies close to one.

    Args:
        random: draws the noise.
        host: the scan.
        centre: index (z, y, x), may be fractional.
        reach_mm: how far the box goes to each side, one number or by axis.
        side: label of the only lung that counts; None for both.
    """
    spacing = np.array(host.spacing_mm)
    half = np.asarray(reach_mm) / spacing + 2
    first, last = host.chest.bounds(side, AROUND_MM)
    low = np.clip(np.floor(np.maximum(centre - half, first)), 0, np.array(host.hu.shape) - 1).astype(int)
    high = np.clip(np.ceil(np.minimum(centre + half, last)) + 1, low + 1, host.hu.shape).astype(int)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    z, y, x = (
        (np.arange(a, b) - c) * s for a, b, c, s in zip(low.tolist(), high.tolist(), centre, spacing, strict=True)
    )
    hu = np.maximum(np.asarray(host.hu[box], np.float32), np.float32(LOWEST_HU))
    labels = host.lungs[box]
    lung = np.ascontiguousarray(labels > 0 if side is None else labels == side)
    depth = edt.edt(lung, anisotropy=host.spacing_mm) - edt.edt(~lung, anisotropy=host.spacing_mm)
    # Centres of voxels on either side of a surface lie half a voxel away from it.
    depth -= np.sign(depth) * np.float32(min(host.spacing_mm) / 2)
    bone = (_mean(hu, host.spacing_mm, 2.5) > BONE_HU) & ~lung
    airway = (_mean((~lung & (hu < AIRWAY_HU)).astype(np.float32), host.spacing_mm, 5.0) > 0.5) & ~lung
    airway |= (labels > 0) & ~lung
    blur = host.noise.blur_voxels
    sigma = (0.35 * spacing[0], max(blur, 0.55) * spacing[1], max(blur, 0.55) * spacing[2])
    noise = host.noise.draw(random, hu.shape, int(low[0]))
    return Site(box, host.spacing_mm, (z, y, x), hu, hu.copy(), lung, depth, bone, airway, noise, sigma)


def close_site(host: Host, site: Site) -> None:
    """Write what changed in a site back to the host; padding and everything untouched stays as it was."""
    changed = site.hu != site.before
    target = host.hu[site.box]
    values = site.hu[changed]
    target[changed] = np.round(np.clip(values, LOWEST_HU, 3071)) if target.dtype.kind == "i" else values


def _mean(values: Field, spacing_mm: Triple, width_mm: float) -> Field:
    """Means over boxes of about a width: what is thinner, noise among it, counts less."""
    size = [2 * round((width_mm / s - 1) / 2) + 1 if s < width_mm else 1 for s in spacing_mm]
    return np.asarray(ndimage.uniform_filter(values, size, mode="nearest"))
