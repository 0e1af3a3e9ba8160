"""Synthetic thoraxes with exact truth: what the demo trains on and the tests measure against.

A phantom is a body with fat, ribs, spine, heart, airways, two lungs with branching vessels, a couch and scanner
noise, and tumours that are ellipsoids turned about the body's long axis. Their volume (4/3 pi abc) and their axial
diameters (2a, 2b) are therefore known by formula, whatever the voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.measurement.parts import Side
from tumorspread.scan.volume import Shape, Triple, Volume

Points = NDArray[np.float64]

# Hounsfield units of tissues, rounded from clinical CT.
AIR, LUNG, FAT, MUSCLE, BLOOD, BONE, COUCH = -1000.0, -860.0, -100.0, 45.0, 40.0, 350.0, -150.0

HEART_CENTRE_MM, HEART_RADII_MM = (22.0, -22.0, -38.0), (52.0, 44.0, 52.0)
LUNG_RADII_MM = (56.0, 76.0, 92.0)
BODY_RADII_MM = (158.0, 108.0)
HILUM_MM = 28.0


@dataclass(frozen=True)
class PhantomConfig:
    """What phantoms look like.

    Attributes:
        spacing_mm: voxel spacing (z, y, x).
        extent_mm: size of the scan (z, y, x).
        tumours: fewest and most a phantom.
        diameter_mm: smallest and largest long axis.
        noise_hu: standard deviation of the noise.
        vessels: branches a lung.
    """

    spacing_mm: Triple = (3.0, 2.0, 2.0)
    extent_mm: Triple = (204.0, 240.0, 336.0)
    tumours: tuple[int, int] = (1, 4)
    diameter_mm: tuple[float, float] = (14.0, 46.0)
    noise_hu: float = 18.0
    vessels: int = 60


@dataclass(frozen=True)
class TrueLesion:
    """A tumour as it was drawn, by formula; positions in LPS mm."""

    centre_mm: Triple
    volume_ml: float
    long_axis_mm: float
    short_axis_mm: float
    side: Side


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic scan (HU, int16), its tumour mask (uint8) and the truth, largest tumour first."""

    scan: Volume
    mask: Volume
    lesions: tuple[TrueLesion, ...]


@dataclass(frozen=True)
class _Ellipsoid:
    """Centre and radii in LPS mm (x, y, z), turned by `angle` about z."""

    centre: Triple
    radii: Triple
    angle: float = 0.0

    def depth_mm(self, points: Points) -> Points:
        """About the distance of each point to the surface in mm, positive inside."""
        offset = points - np.array(self.centre)
        c, s = np.cos(self.angle), np.sin(self.angle)
        turned = np.stack([offset[..., 0] * c + offset[..., 1] * s, offset[..., 1] * c - offset[..., 0] * s,
                           offset[..., 2]], axis=-1)  # fmt: skip
        radii = np.array(self.radii)
        norm = np.linalg.norm(turned / radii, axis=-1)
        slope = np.linalg.norm(turned / radii**2, axis=-1)
        # First-order distance |f|/|grad f|; at the centre, where it is 0/0, the smallest radius.
        depth = norm * (1 - norm) / np.maximum(slope, 1e-9)
        return np.asarray(np.where(norm < 1e-6, min(self.radii), depth))


def make_phantom(seed: int, config: PhantomConfig = PhantomConfig()) -> Phantom:
    """Draw a phantom; the same seed and config give the same one.

    Args:
        seed: 0 or more.
        config: what it looks like.
    """
    random = np.random.default_rng(seed)
    grid = _empty_grid(config)
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    edge = float(np.mean(config.spacing_mm))
    size = random.uniform(0.92, 1.06)
    lungs = _lungs(random, size)
    depth_of_lungs = np.maximum(*(lung.depth_mm(points) for lung in lungs))
    depth_of_heart = _Ellipsoid(HEART_CENTRE_MM, HEART_RADII_MM).depth_mm(points)
    inside = _share(np.minimum(depth_of_lungs, -depth_of_heart), edge)
    hu = _body(points, size, edge)
    parenchyma = LUNG + 0.25 * points[..., 1] + 25 * _texture(random, grid.shape, 2.0)
    hu = hu * (1 - inside) + parenchyma * inside
    for tube in _tubes(random, grid, lungs, config.vessels):
        hu[tube.place] = hu[tube.place] * (1 - tube.values) + BLOOD * tube.values
    tumours = _place_tumours(random, lungs, config)
    mask = np.zeros(grid.shape, np.uint8)
    for tumour in tumours:
        depth = tumour.depth_mm(points)
        share = _share(depth, edge)
        value = random.uniform(15, 70) + 10 * _texture(random, grid.shape, 1.5)
        hu = hu * (1 - share) + value * share
        mask |= (depth > 0).astype(np.uint8)
    hu += config.noise_hu * _texture(random, grid.shape, 0.6)
    scan = grid.with_voxels(np.clip(np.round(hu), -1024, 3071).astype(np.int16))
    return Phantom(scan, grid.with_voxels(mask), tuple(_truth(t) for t in tumours))


@dataclass(frozen=True, eq=False)
class _Share:
    """How much of each voxel of a box something fills, 0 to 1."""

    place: tuple[slice, slice, slice]
    values: NDArray[np.float64]


def _empty_grid(config: PhantomConfig) -> Volume:
    z, y, x = (max(8, round(e / s)) for e, s in zip(config.extent_mm, config.spacing_mm, strict=True))
    return Volume.upright(np.zeros((z, y, x), np.float32), config.spacing_mm, centred=True)


def _lungs(random: np.random.Generator, size: float) -> tuple[_Ellipsoid, _Ellipsoid]:
    """Left lung and right lung."""
    x, y, z = (r * size * random.uniform(0.95, 1.05) for r in LUNG_RADII_MM)
    return _Ellipsoid((70 * size, 0, 0), (x, y, z)), _Ellipsoid((-70 * size, 0, 0), (x * 1.05, y, z))


def _share(depth_mm: Points, edge_mm: float) -> Points:
    """Partial volume: a voxel whose centre lies on a surface is half filled."""
    return np.clip(0.5 + depth_mm / edge_mm, 0, 1)


def _body(points: Points, size: float, edge: float) -> Points:
    """Skin, fat, muscle, ribs, spine, airway and couch, without lungs."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    a, b = BODY_RADII_MM[0] * size, BODY_RADII_MM[1] * size
    depth = (1 - np.hypot(x / a, y / b)) * b
    hu = AIR + (FAT - AIR) * _share(depth, edge)
    hu += (MUSCLE - FAT) * _share(depth - 14, edge)
    rib = _share(4 - np.abs(depth - 20), edge) * _share(4 - np.abs((z + 0.35 * y) % 24 - 12), edge)
    spine = _share(17 - np.hypot(x, y - 72 * size), edge)
    bone = np.maximum(rib, spine)
    hu = hu * (1 - bone) + BONE * bone
    airway = _share(8 - np.hypot(x, y + 4), edge) * (z > -10)
    hu = hu * (1 - airway) + AIR * airway
    couch = _share(5 - np.abs(y - b - 8), edge) * (np.abs(x) < 150)
    return np.asarray(hu * (1 - couch) + COUCH * couch)


def _texture(random: np.random.Generator, shape: Shape, sigma: float) -> Points:
    """Smooth Gaussian noise of unit standard deviation."""
    noise = ndimage.gaussian_filter(random.standard_normal(shape), sigma)
    return np.asarray(noise / noise.std())


def _tubes(
    random: np.random.Generator, grid: Volume, lungs: tuple[_Ellipsoid, _Ellipsoid], count: int
) -> Iterator[_Share]:
    """Vessels that wind from each hilum to the pleura, thinner as they go."""
    for lung in lungs:
        hilum = _hilum(lung)
        for _ in range(count):
            heading = random.standard_normal(3)
            end = np.array(lung.centre) + heading / np.linalg.norm(heading) * np.array(lung.radii) * 0.93
            path = hilum + np.linspace(0, 1, 14)[:, None] * (end - hilum)
            path[1:-1] += random.normal(0, 3.5, (12, 3))
            radii = np.linspace(random.uniform(1.8, 4.0), 0.7, 13)
            for start, stop, radius in zip(path[:-1], path[1:], radii, strict=True):
                tube = _segment(grid, start, stop, float(radius))
                if tube is not None:
                    yield tube


def _hilum(lung: _Ellipsoid) -> Points:
    """Where the vessels of a lung begin."""
    return np.array(lung.centre) * (0.42, 1, 1) + (0, 4, -6)


def _segment(grid: Volume, start: Points, stop: Points, radius: float) -> _Share | None:
    """A straight tube between two points; None where its box leaves the grid."""
    ends = grid.to_index(np.stack([start, stop]))
    pad = radius / np.array(grid.spacing_mm) + 2
    low = np.maximum(np.floor(ends.min(axis=0) - pad), 0).astype(int)
    high = np.minimum(np.ceil(ends.max(axis=0) + pad) + 1, grid.shape).astype(int)
    if (low >= high).any():
        return None
    box = grid.to_world(np.moveaxis(np.indices(tuple(high - low)), 0, -1) + low)
    along = stop - start
    t = np.clip(((box - start) @ along) / (along @ along), 0, 1)
    depth = radius - np.linalg.norm(box - start - t[..., None] * along, axis=-1)
    place = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    return _Share(place, _share(depth, max(grid.spacing_mm) * 0.8))


def _place_tumours(
    random: np.random.Generator, lungs: tuple[_Ellipsoid, _Ellipsoid], config: PhantomConfig
) -> list[_Ellipsoid]:
    """Ellipsoids within the lungs, clear of the heart and of each other, largest first."""
    wanted = int(random.integers(config.tumours[0], config.tumours[1] + 1))
    placed: list[_Ellipsoid] = []
    for _ in range(4000):
        if len(placed) == wanted:
            break
        long = np.exp(random.uniform(*np.log(config.diameter_mm))) / 2
        radii = (float(long), float(long * random.uniform(0.65, 1.0)), float(long * random.uniform(0.7, 1.1)))
        lung = lungs[int(random.integers(2))]
        point = np.array(lung.centre) + random.uniform(-1, 1, 3) * np.array(lung.radii)
        tumour = _Ellipsoid((point[0], point[1], point[2]), radii, float(random.uniform(0, np.pi)))
        if _is_free(tumour, lung, placed):
            placed.append(tumour)
    return sorted(placed, key=lambda t: -float(np.prod(t.radii)))


def _is_free(tumour: _Ellipsoid, lung: _Ellipsoid, placed: list[_Ellipsoid]) -> bool:
    reach = max(tumour.radii)
    centre = np.array(tumour.centre)
    heart = _Ellipsoid(HEART_CENTRE_MM, HEART_RADII_MM)
    # A finger of lung on every side keeps the outline known: what merges with the chest wall, or hides among the
    # vessels of the hilum, has no exact truth.
    room = [lung.depth_mm(centre) - 2, -heart.depth_mm(centre) - 2, np.linalg.norm(centre - _hilum(lung)) - HILUM_MM]
    gaps = [np.linalg.norm(centre - t.centre) - max(t.radii) - 6 for t in placed]
    return bool(np.min([*room, *gaps]) > reach)


def _truth(tumour: _Ellipsoid) -> TrueLesion:
    a, b, c = tumour.radii
    x, y, z = (float(v) for v in tumour.centre)
    volume_ml = 4 / 3 * np.pi * a * b * c / 1000
    return TrueLesion((x, y, z), float(volume_ml), 2 * max(a, b), 2 * min(a, b), "left" if x > 0 else "right")
