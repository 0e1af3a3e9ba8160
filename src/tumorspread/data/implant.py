"""Synthetic tumours put into a real chest CT, with what looks like them: training cases with an exact outline.

Real annotated scans are few; tumours of every size, place and texture in real chests teach a network to find real
ones (SynTumor, Hu et al. 2023, arXiv:2303.10869). The order is that of the work: look at the host, add what is no
tumour, then one tumour after the other, the largest first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from tumorspread.data.distractors import DistractorConfig, add_distractors
from tumorspread.data.host_noise import measure_noise
from tumorspread.data.places import Place, Spot, draw_spot, look_at_chest
from tumorspread.data.shapes import Kind, ShapeLibrary, TumourShape, make_shape
from tumorspread.data.site import Host, close_site, open_site
from tumorspread.data.surroundings import add_fluid, block_airway, push_lung
from tumorspread.data.tumour import Texture, TumourPlan, draw_tumour
from tumorspread.errors import DatasetError
from tumorspread.scan.volume import Reorientation, Triple, Volume

PLACES: tuple[Place, ...] = get_args(Place)
TEXTURES: tuple[Texture, ...] = get_args(Texture)
MADE_KINDS: tuple[Kind, ...] = ("round", "lobulated", "spiculated")
# Above this a tumour is a mass (Fleischner Society, doi:10.1148/radiol.2462070712): it pushes, blocks, draws fluid.
MASS_MM = 30.0
# A tumour takes at most this share of its lung.
LARGEST_SHARE = 0.5
TRIES = 12


@dataclass(frozen=True)
class ImplantConfig:
    """What is implanted. Probabilities lie in 0..1; weights are relative.

    Attributes:
        lesions: fewest and most a scan.
        diameter_mm: smallest and largest equivalent diameter, drawn evenly on a logarithmic scale.
        masses: most tumours above 30 mm a scan.
        place_weights: of parenchyma, vessel, fissure, pleura, apex, diaphragm, mediastinum, hilum.
        mass_place_weights: the same for tumours above 30 mm.
        texture_weights: of solid, part-solid, ground-glass, necrotic, cavitary, calcified.
        edge_mm: sharpest and least defined edge of a solid tumour.
        invasion_mm: least and most growth into fat around the lung.
        real_shape_p: probability of a real shape where a library is given.
        lucency_p: probability of open bronchi in a solid tumour above 12 mm.
        halo_p: probability of haze around a tumour of 30 mm and more; in proportion less around a smaller one.
        push_p: probability that a mass presses the lung away.
        obstruction_p: probability of haze or collapse beyond a mass, where it is central; half as much elsewhere.
        fluid_p: probability of a rim of fluid at a mass.
        distractors: what is no tumour.
    """

    lesions: tuple[int, int] = (1, 6)
    diameter_mm: tuple[float, float] = (3.0, 120.0)
    masses: int = 2
    place_weights: tuple[float, ...] = (0.3, 0.16, 0.06, 0.2, 0.04, 0.06, 0.08, 0.1)
    mass_place_weights: tuple[float, ...] = (0.12, 0.0, 0.0, 0.29, 0.1, 0.06, 0.21, 0.22)
    texture_weights: tuple[float, ...] = (0.55, 0.09, 0.1, 0.12, 0.07, 0.07)
    edge_mm: tuple[float, float] = (0.8, 5.0)
    invasion_mm: tuple[float, float] = (0.0, 5.0)
    real_shape_p: float = 0.7
    halo_p: float = 0.5
    lucency_p: float = 0.2
    push_p: float = 0.6
    obstruction_p: float = 0.6
    fluid_p: float = 0.2
    distractors: DistractorConfig = field(default_factory=DistractorConfig)


@dataclass(frozen=True)
class ImplantedLesion:
    """One implanted tumour.

    Attributes:
        kind: of its shape.
        diameter_mm: equivalent diameter of its outline as it lies in the mask.
        place: what it grows at.
        texture: what it is made of.
        centre_mm: LPS, mean of its outline.
    """

    kind: Kind
    diameter_mm: float
    place: Place
    texture: Texture
    centre_mm: Triple


@dataclass(frozen=True, eq=False)
class Implanted:
    """A scan (HU, the host's type of number) with tumours, their mask (uint8, 0 or 1) and what they are."""

    scan: Volume
    mask: Volume
    lesions: tuple[ImplantedLesion, ...]
    distractors: tuple[str, ...]


def implant(
    scan: Volume,
    lungs: NDArray[np.uint8],
    random: np.random.Generator,
    config: ImplantConfig = ImplantConfig(),
    shapes: ShapeLibrary | None = None,
    *,
    keep_clear: NDArray[np.bool_] | None = None,
) -> Implanted:
    """Put synthetic tumours and distractors into a scan.

    Args:
        scan: CT in HU, any axes and spacing.
        lungs: 1 in the left lung, 2 in the right, on the scan's grid.
        random: the same state gives the same result.
        config: what is implanted.
        shapes: real outlines; without them all shapes are made by formula.
        keep_clear: where no tumour's centre may lie (a lesion stands there unannotated), on the scan's grid.

    Raises:
        DatasetError: the lungs are empty or on another grid.
    """
    if lungs.shape != scan.shape or not lungs.any():
        found = "empty" if lungs.shape == scan.shape else f"of shape {lungs.shape}"
        raise DatasetError(f"implants need lungs on the scan's grid {scan.shape}; these are {found}")
    turn = Reorientation.to_canonical(scan)
    whole = np.issubdtype(scan.voxels.dtype, np.integer)
    voxels = np.array(scan.voxels, np.int16 if whole else np.float32, order="C")
    mask = np.zeros(scan.shape, np.uint8)
    upright = turn.apply(scan.with_voxels(voxels))
    sides = turn.apply_array(lungs)
    chest = look_at_chest(upright.voxels, sides, upright.spacing_mm)
    noise = measure_noise(upright.voxels, upright.spacing_mm)
    host = Host(upright.voxels, sides, upright.spacing_mm, noise, chest)
    distractors = add_distractors(random, host, config.distractors)
    taken = _Taken(upright, np.zeros(0, bool) if keep_clear is None else turn.apply_array(keep_clear))
    lesions = []
    for diameter in _draw_diameters(random, config):
        lesion = _implant_one(random, host, taken, turn.apply_array(mask), diameter, (config, shapes))
        if lesion is not None:
            lesions.append(lesion)
    return Implanted(scan.with_voxels(voxels), scan.with_voxels(mask), tuple(lesions), distractors)


class _Taken:
    """Where tumours lie already, as balls, and where none may lie."""

    def __init__(self, grid: Volume, forbidden: NDArray[np.bool_]) -> None:
        self.grid = grid
        self.forbidden = forbidden
        self.balls: list[tuple[NDArray[np.float64], float]] = []

    def is_free(self, centre: NDArray[np.float64], radius_mm: float) -> bool:
        """Whether a ball of this radius around an index keeps clear of all others."""
        if self.forbidden.size:
            index = np.clip(np.round(centre).astype(int), 0, np.array(self.grid.shape) - 1)
            if self.forbidden[tuple(index)]:
                return False
        gaps = [np.linalg.norm((centre - c) * self.grid.spacing_mm) - r for c, r in self.balls]
        return bool(min(gaps, default=np.inf) > radius_mm + 4)


def _draw_diameters(random: np.random.Generator, config: ImplantConfig) -> list[float]:
    """Largest first: it is the hardest to find room for."""
    count = int(random.integers(config.lesions[0], config.lesions[1] + 1))
    low, high = np.log(config.diameter_mm)
    diameters = np.exp(random.uniform(low, high, count))
    large = np.flatnonzero(diameters > MASS_MM)[config.masses :]
    top = max(config.diameter_mm[0], min(MASS_MM, config.diameter_mm[1]))
    diameters[large] = np.exp(random.uniform(np.log(config.diameter_mm[0]), np.log(top), len(large)))
    return [float(d) for d in np.sort(diameters)[::-1]]


def _implant_one(
    random: np.random.Generator,
    host: Host,
    taken: _Taken,
    mask: NDArray[np.uint8],
    diameter_mm: float,
    settings: tuple[ImplantConfig, ShapeLibrary | None],
) -> ImplantedLesion | None:
    """One tumour with what it does to the lung around it; None where there is no room for it."""
    config, shapes = settings
    placed = _find_spot(random, host, taken, diameter_mm, config)
    if placed is None:
        return None
    spot, diameter_mm = placed
    shape = _draw_shape(random, shapes, diameter_mm, config)
    plan = _plan(random, host, config, shape.kind, spot.place, diameter_mm)
    if diameter_mm > MASS_MM:
        _disturb(random, host, spot, plan, config)
    site = open_site(random, host, spot.centre, plan.radius_mm * (shape.reach + 0.5) + 8, spot.side)
    if diameter_mm > MASS_MM / 2 and random.random() < config.push_p:
        push_lung(random, site, plan.radius_mm * 0.9)
    label = draw_tumour(random, site, shape, plan, spot)
    if label is None:
        return None
    close_site(host, site)
    mask[site.box] |= label
    taken.balls.append((spot.centre, plan.radius_mm))
    start = [b.start for b in site.box]
    x, y, z = (float(v) for v in taken.grid.to_world(np.argwhere(label).mean(axis=0) + start))
    volume_mm3 = float(label.sum()) * float(np.prod(host.spacing_mm))
    return ImplantedLesion(plan.kind, float(np.cbrt(6 * volume_mm3 / np.pi)), spot.place, plan.texture, (x, y, z))


def _find_spot(
    random: np.random.Generator, host: Host, taken: _Taken, diameter_mm: float, config: ImplantConfig
) -> tuple[Spot, float] | None:
    """A spot that is still free, and the diameter, smaller where the lung is too small."""
    weights = np.array(config.mass_place_weights if diameter_mm > MASS_MM else config.place_weights)
    largest_ml = LARGEST_SHARE * max(host.chest.volumes_ml.values())
    diameter_mm = min(diameter_mm, float(np.cbrt(6000 * largest_ml / np.pi)))
    for _ in range(TRIES):
        place = PLACES[int(random.choice(len(PLACES), p=weights / weights.sum()))]
        spot = draw_spot(random, host.chest, place, diameter_mm / 2)
        if spot is not None and taken.is_free(spot.centre, diameter_mm / 2):
            fits_ml = LARGEST_SHARE * host.chest.volumes_ml[spot.side]
            return spot, min(diameter_mm, float(np.cbrt(6000 * fits_ml / np.pi)))
    return None


def _draw_shape(
    random: np.random.Generator, shapes: ShapeLibrary | None, diameter_mm: float, config: ImplantConfig
) -> TumourShape:
    if shapes is not None and random.random() < config.real_shape_p:
        return shapes.draw(random, diameter_mm)
    return make_shape(random, MADE_KINDS[int(random.choice(3, p=(0.3, 0.4, 0.3)))])


def _plan(
    random: np.random.Generator, host: Host, config: ImplantConfig, kind: Kind, place: Place, diameter_mm: float
) -> TumourPlan:
    """Texture and the rest, with the tissue's HU taken from the host's muscle and blood."""
    weights = np.array(config.texture_weights, float)
    # Core, cavity and specks need room to be seen; masses are hardly ever pure ground glass.
    weights[[3, 4, 5]] *= diameter_mm > 9
    weights[[1, 2]] *= (diameter_mm > 5) * (1.0 if diameter_mm < MASS_MM else 0.2) * (diameter_mm < 1.5 * MASS_MM)
    weights[3] *= 2.5 if diameter_mm > MASS_MM else 1
    texture = TEXTURES[int(random.choice(len(TEXTURES), p=weights / weights.sum()))]
    soft = texture in ("ground_glass", "part_solid")
    low, high = config.edge_mm
    edge = float(np.exp(random.uniform(np.log(low), np.log(max(low, min(high, diameter_mm / 3))))))
    edge = max(edge, min(diameter_mm / 3, random.uniform(2.0, 7.0))) if soft else edge
    chest = host.chest
    tissue = chest.muscle_hu + random.uniform(-28, 12) + chest.contrast * random.uniform(0, 45)
    tissue = float(np.clip(tissue, 0, 110))
    glass = random.uniform(-700, -400)
    invasion = random.uniform(*config.invasion_mm)
    halo = config.halo_p * min(1.0, diameter_mm / MASS_MM)
    return TumourPlan(diameter_mm, kind, place, texture, edge, invasion, tissue, glass, halo, config.lucency_p)


def _disturb(random: np.random.Generator, host: Host, spot: Spot, plan: TumourPlan, config: ImplantConfig) -> None:
    """Blocked airways beyond a mass, and fluid at the nearest wall."""
    central = spot.place in ("hilum", "mediastinum")
    if random.random() < config.obstruction_p * (1.0 if central else 0.5):
        density = float(random.choice([0.1, 0.2, 0.35, 0.7, 0.95], p=[0.2, 0.25, 0.2, 0.15, 0.2]))
        block_airway(random, host, spot, plan.radius_mm, density)
    if random.random() < config.fluid_p:
        wall = host.chest.surface.points[host.chest.surface.kind == "pleura"]
        if len(wall):
            away = np.linalg.norm((wall - spot.centre) * host.spacing_mm, axis=1)
            point = wall[int(away.argmin())]
            add_fluid(random, host, point, random.uniform(2, 9), plan.radius_mm * 1.5 + 15)
