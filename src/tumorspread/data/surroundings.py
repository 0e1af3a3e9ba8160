"""What a large tumour does to the lung around it: it pushes, it blocks, it draws fluid. None of it is tumour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.data.places import Spot
from tumorspread.data.site import Host, Site, close_site, open_site
from tumorspread.data.strands import draw_strand, grow_tree

Field = NDArray[np.float32]
Points = NDArray[np.float64]

AIRWAY_HU = -930.0
# The pleura holds: displacement fades towards the surface of the lung over this distance.
FIRM_MM = 8.0


def push_lung(random: np.random.Generator, site: Site, ball_mm: float) -> None:
    """Press the lung outwards around a ball at the origin, as a growing tumour does; vessels bow around it.

    Args:
        random: source of chance.
        site: changed, before the tumour is drawn.
        ball_mm: radius of the ball.
    """
    width = ball_mm * random.uniform(0.6, 1.2)
    strength = width * random.uniform(0.15, 0.35)
    offsets = site.position()
    away = np.sqrt(sum(o * o for o in offsets))
    near = np.clip(1 - np.maximum(away - ball_mm, 0) / width, 0, 1) ** 2
    shift = strength * near * np.clip(site.depth_mm / FIRM_MM, 0, 1)
    moved = shift > 0.1 * min(site.spacing_mm)
    index = np.argwhere(moved)
    if not len(index):
        return
    unit = np.stack([np.broadcast_to(o, away.shape)[moved] for o in offsets]) / np.maximum(away[moved], 1e-3)
    source = index.T - unit * shift[moved] / np.array(site.spacing_mm)[:, None]
    pressed = ndimage.map_coordinates(site.hu, source, order=1, mode="nearest")
    # Interpolation takes part of the noise away; as much is drawn anew.
    part = source - np.floor(source)
    left = np.prod((1 - part) ** 2 + part**2, axis=0)
    denser = np.clip(random.uniform(0, 0.10) * near[moved], 0, 1)
    site.hu[moved] = pressed * (1 - denser) + np.sqrt(1 - left) * site.noise[moved]


def block_airway(random: np.random.Generator, host: Host, spot: Spot, radius_mm: float, density: float) -> None:
    """Haze or collapse of the lung that lies beyond a tumour.

    Args:
        random: source of chance.
        host: changed.
        spot: of the tumour; the cone opens along its `inward`.
        radius_mm: of the tumour; 0 for consolidation without one.
        density: share of the air that is gone, 0.1 for haze to 1 for consolidation.
    """
    heading = spot.inward + random.normal(0, 0.2, 3)
    heading /= np.linalg.norm(heading)
    length = radius_mm + random.uniform(15, 55)
    middle = spot.centre + heading * length / 2 / host.spacing_mm
    site = open_site(random, host, middle, length / 2 + radius_mm * 0.4 + 22)
    share = _cone(random, site, -heading * length / 2, heading, length, radius_mm)
    # Coarse and fine patches together: of one size they look like cheese.
    fields = [weight * site.field(random, scale) for weight, scale in ((0.6, 16.0), (0.5, 7.0), (0.45, 3.5))]
    patchy = 1 + random.uniform(0.1, 0.45) * sum(fields)
    fill = np.clip(density * patchy, 0, 1) * share * np.clip(0.5 + site.depth_mm / min(site.spacing_mm), 0, 1)
    chest = host.chest
    tissue = chest.muscle_hu + random.uniform(-25, 15) + chest.contrast * random.uniform(10, 60)
    value = tissue + 8 * site.field(random, 8.0)
    if density > 0.6 and random.random() < 0.7:
        tubes = _bronchi(random, site, -heading * length / 2, heading, length)
        value = value + tubes * (AIRWAY_HU - value)
    site.mix(np.asarray(fill * (site.lung | (site.hu < -300)), np.float32), np.asarray(value, np.float32))
    close_site(host, site)


def _cone(
    random: np.random.Generator, site: Site, tip: Points, heading: Points, length: float, radius_mm: float
) -> Field:
    """Share of a ragged cone from a tip, 0 to 1."""
    z, y, x = site.position(tuple(float(t) for t in tip))
    along = z * np.float32(heading[0]) + y * np.float32(heading[1]) + x * np.float32(heading[2])
    aside = np.sqrt(np.maximum(z * z + y * y + x * x - along * along, 0))
    slope = np.tan(np.deg2rad(random.uniform(18, 42)))
    inside = np.minimum(radius_mm * random.uniform(0.5, 0.9) + slope * np.maximum(along, 0) - aside, length - along)
    inside = np.minimum(inside, along + 0.3 * radius_mm)
    # The cone ends within its site, or the site's faces would show.
    to_face = [min(abs(a[0]), abs(a[-1])) - np.abs(o) for a, o in zip(site.axes, site.position(), strict=True)]
    inside = np.minimum(inside, np.minimum(np.minimum(*to_face[:2]), to_face[2]) - 14)
    ragged = random.uniform(3, 8) * site.field(random, 14.0) + 2.5 * site.field(random, 4.0)
    return np.asarray(np.clip(0.5 + (inside + ragged) / random.uniform(3, 14), 0, 1), np.float32)


def _bronchi(random: np.random.Generator, site: Site, tip: Points, heading: Points, length: float) -> Field:
    """Open airways in airless lung, share of air."""
    share = np.zeros(site.hu.shape, np.float32)
    for _ in range(int(random.integers(1, 4))):
        turned = heading + random.normal(0, 0.3, 3)
        turned /= np.linalg.norm(turned)
        start = tip + turned * random.uniform(0, 0.3) * length
        for path, radii in grow_tree(random, start, turned, length * 0.3, random.uniform(0.9, 2.0), 3):
            draw_strand(share, site.axes, site.spacing_mm, path, radii)
    return np.asarray(ndimage.gaussian_filter(share, 0.5) * random.uniform(0.6, 1), np.float32)


def add_fluid(random: np.random.Generator, host: Host, centre: Points, thickness_mm: float, reach_mm: float) -> None:
    """A layer of fluid between lung and chest wall, thickest at the back, around a point.

    Args:
        random: source of chance.
        host: changed.
        centre: index (z, y, x).
        thickness_mm: where it is thickest.
        reach_mm: how far it spreads along the wall.
    """
    site = open_site(random, host, centre, reach_mm + 6)
    z, y, x = site.position()
    near = np.clip(1 - np.sqrt(z * z + y * y + x * x) / reach_mm, 0, 1)
    behind = np.clip(0.6 + 0.4 * y / reach_mm, 0, 1)
    level = thickness_mm * np.sqrt(near) * behind * np.clip(1 + 0.25 * site.field(random, 15.0), 0, 2)
    share = np.clip(0.5 + (level - site.depth_mm) / max(1.0, min(site.spacing_mm)), 0, 1) * (level > 0.3)
    share = ndimage.gaussian_filter(share.astype(np.float32), 0.6) * site.room(0.0)
    site.mix(np.asarray(share, np.float32), random.uniform(0, 22) + 3 * site.field(random, 10.0))
    close_site(host, site)
