"""One tumour, drawn into a site: outline, edge, density, and what a reader would outline of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.data.places import Place, Spot
from tumorspread.data.shapes import Kind, TumourShape, draw_turn, smooth_field
from tumorspread.data.site import Site
from tumorspread.data.strands import average, bend, draw_strand, finer

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
Texture = Literal["solid", "part_solid", "ground_glass", "necrotic", "cavitary", "calcified"]

LUNG_HU, AIR_HU = -860.0, -960.0
# Sub-voxels: at most this fine, and no finer than the outline needs.
FINEST_MM, FINE_SHARE = 0.6, 1 / 40
# A tumour cut off by the chest wall grows elsewhere, by up to this share of its radius.
MOST_GROWTH = 0.4
# Seen at all: the densest voxel is filled by this much.
LEAST_SHARE = 0.3
SMOOTHED_MM, PENCIL_MM = 10.0, 0.8
MOST_RAYS, NEAR_PLEURA_MM = 45, 22.0


@dataclass(frozen=True)
class TumourPlan:
    """What one tumour is to be.

    Attributes:
        diameter_mm: of the ball of its volume.
        kind: of its shape.
        place: where it grows.
        texture: what it is made of.
        edge_mm: width of its edge, from sharp to ill-defined.
        invasion_mm: how far it grows into fat around the lung.
        tissue_hu: mean of its solid tissue.
        ground_glass_hu: mean of its ground-glass part.
        halo_p: probability of haze and strands around it.
        lucency_p: probability of open bronchi in it.
    """

    diameter_mm: float
    kind: Kind
    place: Place
    texture: Texture
    edge_mm: float
    invasion_mm: float
    tissue_hu: float
    ground_glass_hu: float
    halo_p: float
    lucency_p: float

    @property
    def radius_mm(self) -> float:
        """Half the diameter."""
        return self.diameter_mm / 2


def draw_tumour(
    random: np.random.Generator, site: Site, shape: TumourShape, plan: TumourPlan, spot: Spot
) -> Mask | None:
    """Draw a tumour around the origin of the site; None, and nothing drawn, where it would not be seen.

    Returns:
        What a reader would outline: the body of the tumour with its cavity, without thin spicules and haze.
    """
    room = site.room(plan.invasion_mm)
    depth, k = _depth(random, site, shape, plan, spot, room)
    body = average((depth > 0).astype(np.float32), k) * room
    label = _outline(body, site, plan)
    if label is None:
        return None
    share = average(np.clip(0.5 + depth / np.float32(plan.edge_mm), 0, 1), k)
    inner = average(depth, k)
    share = np.maximum(share, _rays(random, site, label, plan, spot))
    share = _blur(share, site) * room
    fill, value = _density(random, site, inner, plan)
    fill, value = share * _blur(fill, site), _blur(value, site)
    if random.random() < plan.halo_p:
        fill = np.maximum(fill, _halo(random, site, inner, plan) * site.lung)
    site.mix(np.asarray(fill, np.float32), value)
    return label


def _depth(
    random: np.random.Generator, site: Site, shape: TumourShape, plan: TumourPlan, spot: Spot, room: Field
) -> tuple[Field, tuple[int, int, int]]:
    """Depth below the surface in mm on sub-voxels, its level such that the volume in the room is the wanted one."""
    radius = plan.radius_mm
    axes, k = finer(site.axes, site.spacing_mm, max(FINEST_MM, plan.diameter_mm * FINE_SHARE))
    depth = shape.sample(axes, radius, draw_turn(random))
    z, y, x = (s / n for s, n in zip(site.spacing_mm, k, strict=True))
    size = (depth.shape[0], depth.shape[1], depth.shape[2])
    # Large tumours have bumps on bumps; and the more ill-defined an edge, the more ragged it is.
    rough = random.uniform(0.03, 0.08) * radius * min(1.0, radius / 20)
    for amplitude, scale in ((rough, 0.5 * radius), (rough / 2, 0.2 * radius)):
        if amplitude > 0.1:
            depth += np.float32(amplitude) * smooth_field(random, size, (z, y, x), max(scale, 1.2))
    if plan.diameter_mm > 6:
        # Raggedness comes in stretches: the same all around it looks like a gear wheel.
        where = np.clip(smooth_field(random, size, (z, y, x), 0.8 * radius), 0, 2)
        depth += np.float32(0.3 * plan.edge_mm) * where * smooth_field(random, size, (z, y, x), 2.0 + 0.08 * radius)
    if plan.place == "fissure":
        wave = 0.08 * radius * smooth_field(random, size, (z, y, x), 1.5 * radius)
        flat = _beyond(axes, spot.inward) + np.float32(radius * random.uniform(0.3, 0.8)) + wave
        # The soft minimum rounds the rim where the tumour meets the fissure.
        rim = np.exp(-np.abs(depth - flat) / (0.15 * radius))
        depth = np.asarray(np.minimum(depth, flat) - 0.15 * radius * rim, np.float32)
    free = room
    for axis in range(3):
        free = np.repeat(free, k[axis], axis)
    here = depth[free > 0.5]
    wanted = round(4 / 3 * np.pi * radius**3 / (z * y * x))
    if len(here) > 8:
        kept = min(max(wanted, 1), len(here))
        level = float(np.partition(here, -kept)[-kept])
        depth -= np.float32(np.clip(level, -MOST_GROWTH * radius, MOST_GROWTH * radius))
    return depth, k


def _beyond(axes: tuple[NDArray[np.float64], ...], normal: NDArray[np.float64]) -> Field:
    """Signed distance in mm to the plane through the origin."""
    return np.asarray(sum(g * n for g, n in zip(np.ix_(*axes), normal, strict=True)), np.float32)


def _outline(body: Field, site: Site, plan: TumourPlan) -> Mask | None:
    """The voxels at least half filled; of a tumour thinner than a slice those half as full as its fullest."""
    most = float(body.max())
    if most < LEAST_SHARE:
        return None
    if plan.diameter_mm > SMOOTHED_MM:
        # A pencil does not follow every voxel of fat between ribs.
        body = ndimage.gaussian_filter(body, [PENCIL_MM / s for s in site.spacing_mm])
    inside = body >= min(0.5, 0.6 * most)
    return np.asarray(cc3d.largest_k(inside, k=1, connectivity=26) > 0)


def _blur(share: Field, site: Site) -> Field:
    sigma = [b / s for b, s in zip(site.blur_mm, site.spacing_mm, strict=True)]
    return np.asarray(ndimage.gaussian_filter(share, sigma, mode="nearest", truncate=3), np.float32)


def _halo(random: np.random.Generator, site: Site, depth: Field, plan: TumourPlan) -> Field:
    """Haze and thickened septa around a tumour, more on one side: oedema, bleeding, lymphatic spread; fill 0 to 1."""
    width = float(np.clip(plan.radius_mm * random.uniform(0.15, 0.5), 2.5, 18))
    # Beyond the margin of its shape the depth is not known; haze that had not faded there would fill the site.
    width = min(width, -0.7 * float(depth.min()))
    heading = random.standard_normal(3)
    heading /= np.linalg.norm(heading)
    one_sided = _beyond(site.axes, heading) / np.float32(plan.radius_mm)
    cloud = np.clip(0.5 + 0.45 * site.field(random, 9.0) + random.uniform(0.2, 0.8) * one_sided, 0, 1.3)
    septa = np.clip(1 - np.abs(site.field(random, 6.0)) / 0.35, 0, 1) ** 2
    density = random.uniform(0.06, 0.3) * cloud + random.uniform(0, 0.3) * septa * cloud
    fade = np.clip(1 + np.minimum(depth, 0) / np.float32(width), 0, 1) ** 1.5
    return np.asarray(density * fade, np.float32)


def _rays(random: np.random.Generator, site: Site, label: Mask, plan: TumourPlan, spot: Spot) -> Field:
    """Thin things that reach from the body into the lung: spicules, a tag to a near pleura, vessels that feed it."""
    share = np.zeros(label.shape, np.float32)
    radius = plan.radius_mm
    many = plan.kind == "spiculated" or (plan.texture != "ground_glass" and random.random() < 0.3)
    count = int(random.integers(3, 10) + plan.diameter_mm * random.uniform(0.15, 0.6)) if many else 0
    for _ in range(min(count, MOST_RAYS)):
        length = float(np.clip(radius * random.uniform(0.2, 1.0), 2, 16))
        width = random.uniform(0.35, 0.9) * min(1.5, 0.6 + plan.diameter_mm / 40)
        _draw_ray(random, site, label, (share, random.standard_normal(3), length, (width, 0.2)))
    depth = site.depth_at(np.zeros(3))
    if plan.diameter_mm > 8 and radius < depth < radius + NEAR_PLEURA_MM and random.random() < 0.4:
        _draw_ray(random, site, label, (share, site.outward(), depth - radius + 3, (random.uniform(0.6, 1.4), 0.5)))
    for _ in range(int(random.integers(0, 3)) if plan.diameter_mm > 5 else 0):
        heading = spot.to_hilum + random.normal(0, 0.5, 3)
        first = random.uniform(0.5, 0.7 + min(0.8, radius / 20))
        widths = (first, first * random.uniform(0.6, 1.3))
        _draw_ray(random, site, label, (share, heading, random.uniform(8, 28), widths))
    return share


def _draw_ray(
    random: np.random.Generator,
    site: Site,
    label: Mask,
    ray: tuple[Field, Points, float, tuple[float, float]],
) -> None:
    """One ray from the last voxel of the body along a heading: (share to add to, heading, length, radii), mm."""
    share, heading, length, radii = ray
    heading = heading / np.linalg.norm(heading)
    farthest = float(np.linalg.norm([a[-1] - a[0] for a in site.axes])) / 2
    line = np.arange(0, farthest, min(site.spacing_mm) / 2)[:, None] * heading
    index = [np.clip(np.searchsorted(a, line[:, i]), 0, len(a) - 1) for i, a in enumerate(site.axes)]
    inside = np.flatnonzero(label[tuple(index)])
    if len(inside):
        surface = line[inside[-1]]
        start = surface - heading * min(2.0, float(np.linalg.norm(surface)) * 0.4)
        path = bend(random, start, surface + heading * length, 0.05, 6)
        draw_strand(share, site.axes, site.spacing_mm, path, np.linspace(*radii, 6))


def _density(random: np.random.Generator, site: Site, depth: Field, plan: TumourPlan) -> tuple[Field, Field]:
    """How much of the air the tumour has replaced (0 to 1), and the HU of its tissue."""
    radius = np.float32(plan.radius_mm)
    value = plan.tissue_hu + _mottle(random, site, plan.radius_mm)
    fill = np.ones_like(depth)
    if plan.texture in ("ground_glass", "part_solid"):
        glass = (plan.ground_glass_hu - LUNG_HU) / (plan.tissue_hu - LUNG_HU)
        fill *= glass * np.clip(
            1 + 0.25 * site.field(random, max(4.0, plan.radius_mm / 2)) + 0.15 * site.field(random, 3.0), 0.2, 1.8
        )
    if plan.texture == "part_solid":
        solid = depth / radius - random.uniform(0.25, 0.6) + 0.15 * site.field(random, plan.radius_mm / 2)
        fill = fill + (1 - fill) * np.clip(0.5 + solid / 0.15, 0, 1)
    if plan.texture == "necrotic":
        core = depth / radius - random.uniform(0.2, 0.45) + 0.2 * site.field(random, plan.radius_mm / 2)
        water = random.uniform(0, 25)
        value = value + np.clip(0.5 + core / 0.3, 0, 1) * min(water - plan.tissue_hu, -5.0)
    if plan.texture == "cavitary":
        wall = max(1.5, plan.radius_mm * random.uniform(0.12, 0.6))
        air = depth - wall + 0.3 * wall * site.field(random, plan.radius_mm / 2)
        value = value + np.clip(0.5 + air / max(1.0, min(site.spacing_mm)), 0, 1) * (AIR_HU - value)
    if plan.texture == "calcified":
        value = value + _specks(random, site, depth, plan)
    elif plan.texture == "solid" and plan.diameter_mm > 12 and random.random() < plan.lucency_p:
        value = value + _lucencies(random, site, plan) * (AIR_HU - value)
    if plan.texture in ("solid", "necrotic"):
        value = value + _vessels_left(random, site, depth, value)
    return np.asarray(np.clip(fill, 0, 1), np.float32), np.asarray(value, np.float32)


def _mottle(random: np.random.Generator, site: Site, radius_mm: float) -> Field:
    """Slow and fine unevenness of living tissue, HU."""
    slow = random.uniform(4, 10) * site.field(random, max(4.0, radius_mm / 2))
    return np.asarray(slow + random.uniform(2, 6) * site.field(random, 4.0), np.float32)


def _specks(random: np.random.Generator, site: Site, depth: Field, plan: TumourPlan) -> Field:
    """Calcifications: a few specks well inside, HU on top of the tissue."""
    out = np.zeros_like(depth)
    inside = np.argwhere(depth > 0.25 * plan.radius_mm)
    for _ in range(int(random.integers(1, 7))):
        if len(inside):
            index = inside[int(random.integers(len(inside)))]
            at = np.array([a[i] for a, i in zip(site.axes, index, strict=True)])
            size = random.uniform(0.5, 1.0 + plan.radius_mm / 25)
            share = np.zeros_like(depth)
            ends = np.stack([at, at + random.normal(0, size, 3)])
            draw_strand(share, site.axes, site.spacing_mm, ends, np.array([size, size * 0.7]))
            out = np.maximum(out, share * np.float32(random.uniform(200, 800)))
    return np.asarray(ndimage.gaussian_filter(out, 0.5), np.float32)


def _lucencies(random: np.random.Generator, site: Site, plan: TumourPlan) -> Field:
    """Bronchi still open, and bubbles: share of air."""
    share = np.zeros(site.hu.shape, np.float32)
    for _ in range(int(random.integers(1, 5))):
        start, stop = (random.uniform(-0.6, 0.6, 3) * plan.radius_mm for _ in range(2))
        stop = start + (stop - start) * min(1.0, random.uniform(5, 25) / max(1.0, float(np.linalg.norm(stop - start))))
        path = bend(random, start, stop, 0.1, 5)
        radius = random.uniform(0.6, 1.6)
        draw_strand(share, site.axes, site.spacing_mm, path, np.linspace(radius, radius / 2, 5))
    return np.asarray(_blur(share, site) * random.uniform(0.3, 0.85), np.float32)


def _vessels_left(random: np.random.Generator, site: Site, depth: Field, value: Field) -> Field:
    """Enhancing vessels that run into the tumour and fade, HU on top of the tissue."""
    reach = np.float32(random.uniform(2, 12))
    bright = np.clip(ndimage.gaussian_filter(site.before, 0.8) - value - 30, 0, 250)
    return np.asarray(bright * np.exp(-np.maximum(depth, 0) / reach) * site.lung, np.float32)
