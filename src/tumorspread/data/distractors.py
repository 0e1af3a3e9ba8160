"""Hard negatives: what looks like a tumour in a chest and is none. Never part of a label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.data.places import Place, Spot, draw_spot
from tumorspread.data.site import Host, Site, close_site, open_site
from tumorspread.data.strands import bend, draw_sheet, draw_strand, grow_tree
from tumorspread.data.surroundings import add_fluid, block_airway

Field = NDArray[np.float32]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class DistractorConfig:
    """How probable each distractor is in a scan, 0 to 1.

    Attributes:
        consolidation: airless or hazy lung, often with open bronchi.
        atelectasis: bands above the diaphragm.
        cap: thickened pleura at the apex.
        fissure: a thickened fissure.
        effusion: a little fluid at the back.
        vessels: thick branching vessels.
        scar: thin lines, often up to the pleura.
        motion: breathing during the scan, at the diaphragm.
    """

    consolidation: float = 0.2
    atelectasis: float = 0.25
    cap: float = 0.15
    fissure: float = 0.15
    effusion: float = 0.15
    vessels: float = 0.3
    scar: float = 0.3
    motion: float = 0.1


def add_distractors(random: np.random.Generator, host: Host, config: DistractorConfig) -> tuple[str, ...]:
    """Add each distractor with its probability; the names of those that were added."""
    done = []
    for name, add in ADDERS.items():
        # One draw a name, whatever happens: another probability for one leaves the others' chance as it was.
        if random.random() < getattr(config, name):
            add(random, host)
            done.append(name)
    return tuple(done)


def _add_consolidation(random: np.random.Generator, host: Host) -> None:
    place: Place = "hilum" if random.random() < 0.5 else "vessel"
    spot = draw_spot(random, host.chest, place, 4.0)
    if spot is not None:
        block_airway(random, host, spot, random.uniform(2, 12), float(random.choice([0.15, 0.3, 0.6, 0.9, 1.0])))


def _add_atelectasis(random: np.random.Generator, host: Host) -> None:
    spot = draw_spot(random, host.chest, "diaphragm", 12.0)
    if spot is None:
        return
    for _ in range(int(random.integers(1, 3))):
        # Bands lie flat on the diaphragm, or rise from it a little.
        normal = spot.inward + random.normal(0, 0.35, 3)
        thick, radius = random.uniform(1.5, 5), random.uniform(14, 38)
        _add_sheet(random, host, spot, normal, (thick, radius), random.uniform(0.5, 1.0))


def _add_fissure(random: np.random.Generator, host: Host) -> None:
    spot = draw_spot(random, host.chest, "parenchyma", 25.0)
    if spot is not None:
        # Fissures run obliquely, from high at the back to low in front, or level on the right.
        level = random.random() < 0.3
        normal = np.array([1.0, 0.0, 0.0] if level else [0.6, 0.75, 0.0]) + random.normal(0, 0.15, 3)
        _add_sheet(random, host, spot, normal, (random.uniform(0.8, 2.5), random.uniform(30, 60)), 0.9)


def _add_sheet(
    random: np.random.Generator, host: Host, spot: Spot, normal: Points, size_mm: tuple[float, float], density: float
) -> None:
    site = open_site(random, host, spot.centre, size_mm[1] + 2)
    normal = normal / np.linalg.norm(normal)
    share = draw_sheet(random, site.axes, site.spacing_mm, normal, size_mm, size_mm[1] * random.uniform(0.02, 0.12))
    _mix_tissue(random, host, site, share * np.float32(density))


def _add_cap(random: np.random.Generator, host: Host) -> None:
    spot = draw_spot(random, host.chest, "apex", 2.0)
    if spot is None:
        return
    reach = random.uniform(15, 35)
    site = open_site(random, host, spot.centre, reach + 3)
    away = np.sqrt(sum(o * o for o in site.position()))
    level = random.uniform(2, 9) * np.clip(1 - away / reach, 0, 1) ** 0.5
    level = level * np.clip(1 + 0.5 * site.field(random, 8.0), 0, 2)
    share = np.clip(0.5 + (level - site.depth_mm) / max(1.0, min(site.spacing_mm)), 0, 1) * (level > 0.3)
    _mix_tissue(random, host, site, np.asarray(share, np.float32))


def _add_effusion(random: np.random.Generator, host: Host) -> None:
    surface = host.chest.surface
    # Fluid lies at the back and low: lying on the back is how people are scanned.
    behind = np.flatnonzero((surface.kind == "pleura") & (surface.inward[:, 1] < -0.6))
    if len(behind):
        low = behind[np.argsort(surface.points[behind, 0], kind="stable")[: max(1, len(behind) // 2)]]
        point = surface.points[int(random.choice(low))]
        add_fluid(random, host, point, random.uniform(3, 16), random.uniform(30, 60))


def _add_vessels(random: np.random.Generator, host: Host) -> None:
    for _ in range(int(random.integers(1, 4))):
        spot = draw_spot(random, host.chest, "vessel", 2.0)
        if spot is None:
            return
        site = open_site(random, host, spot.centre, 30.0)
        share = np.zeros(site.hu.shape, np.float32)
        start = np.zeros(3)
        radius = random.uniform(1.2, 3.2)
        for path, radii in grow_tree(random, start, spot.inward, random.uniform(8, 15), radius, 3):
            draw_strand(share, site.axes, site.spacing_mm, path, radii)
        _mix_tissue(random, host, site, share, host.chest.contrast * random.uniform(10, 100))


def _add_scar(random: np.random.Generator, host: Host) -> None:
    for _ in range(int(random.integers(1, 4))):
        spot = draw_spot(random, host.chest, "pleura" if random.random() < 0.6 else "parenchyma", 6.0)
        if spot is None:
            return
        site = open_site(random, host, spot.centre, 28.0)
        share = np.zeros(site.hu.shape, np.float32)
        heading = spot.inward + random.normal(0, 0.5, 3)
        stop = heading / np.linalg.norm(heading) * random.uniform(8, 24)
        path = bend(random, -spot.inward * 8, stop, 0.08)
        widths = np.linspace(random.uniform(0.8, 2.4), 0.3, len(path)) * random.uniform(0.7, 1.3, len(path))
        draw_strand(share, site.axes, site.spacing_mm, path, widths)
        _mix_tissue(random, host, site, share)


def _add_motion(random: np.random.Generator, host: Host) -> None:
    """Mean of the scan at several phases of the breath, near the diaphragm."""
    spot = draw_spot(random, host.chest, "diaphragm", 5.0)
    if spot is None:
        return
    site = open_site(random, host, spot.centre, 45.0)
    away = np.sqrt(sum(o * o for o in site.position()))
    weight = np.clip((42 - away) / 12, 0, 1)
    steps = random.uniform(3, 9) / site.spacing_mm[0] * np.array([-1.0, -0.5, 0.5, 1.0])
    phases = [ndimage.shift(site.hu, (s, 0, 0), order=1, mode="nearest") for s in steps]
    blurred = np.mean([site.hu, *phases], axis=0)
    # The mean of five phases has about half the noise; the rest is drawn anew.
    site.hu[...] = site.hu * (1 - weight) + weight * blurred + np.sqrt(np.minimum(1, 1.6 * weight) * 0.75) * site.noise
    close_site(host, site)


def _mix_tissue(random: np.random.Generator, host: Host, site: Site, share: Field, brighter_hu: float = 0.0) -> None:
    """Mix strands or layers of soft tissue into the lung of a site, and write it back."""
    sigma = [b / s for b, s in zip(site.blur_mm, site.spacing_mm, strict=True)]
    soft = ndimage.gaussian_filter(share, sigma, mode="nearest") * site.room(0.0)
    tissue = host.chest.muscle_hu + random.uniform(-30, 20) + brighter_hu
    site.mix(np.asarray(soft, np.float32), np.maximum(site.hu * (site.hu > -50), tissue))
    close_site(host, site)


ADDERS: dict[str, Callable[[np.random.Generator, Host], None]] = {
    "consolidation": _add_consolidation,
    "atelectasis": _add_atelectasis,
    "cap": _add_cap,
    "fissure": _add_fissure,
    "effusion": _add_effusion,
    "vessels": _add_vessels,
    "scar": _add_scar,
    "motion": _add_motion,
}
