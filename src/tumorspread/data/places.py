"""Where in a chest tumours grow: places drawn from the coarse outline of the lungs and their vessels.

All of it runs on a grid of about 3 mm. The surface of a lung is told by its outward normal: towards the other lung
it is mediastinum, towards the feet diaphragm, towards the head apex, and the rest lies at the ribs. That holds on
crops and single lungs too, where no hull of both lungs can be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.measurement.lungs import LEFT, RIGHT
from tumorspread.scan.volume import Triple

Place = Literal["parenchyma", "vessel", "fissure", "pleura", "apex", "diaphragm", "mediastinum", "hilum"]
Points = NDArray[np.float64]

GRID_MM = 3.0
VESSEL_HU = -500.0
# How much of the unit normal must point up, down or to the midline.
APEX, DIAPHRAGM, MEDIAL = 0.6, -0.6, 0.5
BLOOD_HU, CONTRAST_HU = 45.0, 150.0
MUSCLE_HU = 50.0


@dataclass(frozen=True, eq=False)
class Surface:
    """Points on the lungs' surface: index on the scan's grid (n, 3), inward unit normals (n, 3), kind, side."""

    points: Points
    inward: Points
    kind: NDArray[np.str_]
    side: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Chest:
    """What the choice of a place needs; axes turned to (head, back, left).

    Attributes:
        spacing_mm: of the scan's grid.
        step: voxels of the scan in one of the coarse grid, by axis.
        lungs: coarse labels, 1 left, 2 right.
        depth_mm: coarse, distance to the lung's surface, 0 outside.
        vessels: (n, 3) coarse indices of tissue inside the lungs.
        surface: of both lungs.
        volumes_ml: of each lung, by label.
        muscle_hu: of the host.
        contrast: 0 without contrast medium in the blood, 1 with much.
    """

    spacing_mm: Triple
    step: tuple[int, int, int]
    lungs: NDArray[np.uint8]
    depth_mm: NDArray[np.float32]
    vessels: NDArray[np.intp]
    surface: Surface
    volumes_ml: dict[int, float]
    muscle_hu: float
    contrast: float

    def to_fine(self, coarse: NDArray[np.number]) -> Points:
        """Index on the scan's grid of coarse indices."""
        return np.asarray(coarse * np.array(self.step) + np.array(self.step) // 2, float)

    def bounds(self, side: int | None, margin_mm: float) -> tuple[Points, Points]:
        """First and last index on the scan's grid of the box around a lung, or both, with a margin."""
        lung = self.lungs > 0 if side is None else self.lungs == side
        ends = [np.flatnonzero(lung.any(axis=others))[[0, -1]] for others in ((1, 2), (0, 2), (0, 1))]
        margin = margin_mm / np.array(self.spacing_mm)
        first, last = np.array(ends).T
        return self.to_fine(first) - margin, self.to_fine(last + 1) + margin

    def to_coarse(self, fine: Points) -> tuple[int, ...]:
        """Coarse index of the voxel that holds a point, kept within the grid."""
        index = np.clip(np.round(fine).astype(int) // np.array(self.step), 0, np.array(self.lungs.shape) - 1)
        return tuple(int(i) for i in index)


@dataclass(frozen=True, eq=False)
class Spot:
    """Where a tumour grows.

    Attributes:
        centre: index (z, y, x) on the scan's grid.
        inward: unit vector (z, y, x) in mm into the lung from the surface it grows at, or else away from the hilum.
        place: what it is near.
        side: label of the lung.
        to_hilum: unit vector (z, y, x) in mm towards the lung's hilum; any direction where it is not on the scan.
    """

    centre: Points
    inward: Points
    place: Place
    side: int
    to_hilum: Points


def look_at_chest(hu: NDArray[np.number], lungs: NDArray[np.uint8], spacing_mm: Triple) -> Chest:
    """The coarse maps of a chest.

    Args:
        hu: (z, y, x), axes turned to (head, back, left).
        lungs: 1 left, 2 right, on the same grid; not all 0.
        spacing_mm: along (z, y, x).
    """
    z, y, x = (max(1, round(GRID_MM / s)) for s in spacing_mm)
    pick = np.s_[z // 2 :: z, y // 2 :: y, x // 2 :: x]
    labels, values = np.ascontiguousarray(lungs[pick]), np.asarray(hu[pick], np.float32)
    coarse_mm = (z * spacing_mm[0], y * spacing_mm[1], x * spacing_mm[2])
    depth = edt.edt(labels, anisotropy=coarse_mm)
    vessels = np.argwhere((values > VESSEL_HU) & (depth > 2 * GRID_MM))
    volumes = {side: float((labels == side).sum() * np.prod(coarse_mm) / 1000) for side in (LEFT, RIGHT)}
    chest = (spacing_mm, (z, y, x), labels, depth, vessels, _surface(labels, vessels, (z, y, x), coarse_mm), volumes)
    return Chest(*chest, *_tissue(values, labels))


def _surface(
    labels: NDArray[np.uint8], vessels: NDArray[np.intp], step: tuple[int, int, int], coarse_mm: Triple
) -> Surface:
    lung = labels > 0
    eroded = ndimage.binary_erosion(lung, border_value=1)
    index = np.argwhere(lung & ~eroded)
    sigma = [6.0 / s for s in coarse_mm]
    soft = ndimage.gaussian_filter(lung.astype(np.float32), sigma, mode="nearest", truncate=3)
    last = np.array(labels.shape) - 1
    gradient = np.zeros(index.shape)
    for axis, one in enumerate(np.eye(3, dtype=int)):
        ahead, behind = np.minimum(index + one, last), np.maximum(index - one, 0)
        gradient[:, axis] = (soft[tuple(ahead.T)] - soft[tuple(behind.T)]) / coarse_mm[axis]
    inward = gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-6)
    side = labels[tuple(index.T)]
    # The patient's left runs along +x: the inner face of the left lung looks to -x, that of the right one to +x.
    medial = np.where(side == LEFT, inward[:, 2], -inward[:, 2])
    kind = np.full(len(index), "pleura", "<U11")
    kind[medial > MEDIAL] = "mediastinum"
    kind[-inward[:, 0] > APEX] = "apex"
    kind[-inward[:, 0] < DIAPHRAGM] = "diaphragm"
    kind[_is_hilar(index, kind, labels.shape, vessels, coarse_mm)] = "hilum"
    fine = index * np.array(step) + np.array(step) // 2
    return Surface(fine.astype(float), inward, kind, side)


def _is_hilar(
    index: NDArray[np.intp],
    kind: NDArray[np.str_],
    shape: tuple[int, ...],
    vessels: NDArray[np.intp],
    coarse_mm: Triple,
) -> NDArray[np.bool_]:
    """The quarter of the mediastinal surface around which most vessels run."""
    density = np.zeros(shape, np.float32)
    density[tuple(vessels.T)] = 1
    density = ndimage.gaussian_filter(density, [10.0 / s for s in coarse_mm], truncate=2.5)
    here = density[tuple(index.T)]
    medial = kind == "mediastinum"
    if not medial.any() or not len(vessels):
        return np.zeros(len(index), bool)
    return np.asarray(medial & (here >= np.quantile(here[medial], 0.75)))


def _tissue(values: NDArray[np.float32], labels: NDArray[np.uint8]) -> tuple[float, float]:
    """HU of muscle, and how much contrast medium the blood holds, 0 to 1."""
    soft = values[(values > 0) & (values < 110) & (labels == 0)]
    muscle = float(np.median(soft)) if len(soft) > 100 else MUSCLE_HU
    columns = [np.nonzero(labels == side)[2] for side in (RIGHT, LEFT)]
    if not all(len(c) for c in columns):
        return muscle, 0.0
    low, high = sorted(int(np.mean(c)) for c in columns)
    slices = np.flatnonzero((labels > 0).any(axis=(1, 2)))
    between = values[slices[len(slices) // 3] : slices[-len(slices) // 6] + 1, :, low : high + 1]
    blood = between[(between > 0) & (between < 450)]
    top = float(np.quantile(blood, 0.75)) if len(blood) > 100 else BLOOD_HU
    return muscle, float(np.clip((top - 2 * BLOOD_HU) / (CONTRAST_HU - BLOOD_HU), 0, 1))


def draw_spot(random: np.random.Generator, chest: Chest, place: Place, radius_mm: float) -> Spot | None:
    """A spot for a tumour of some radius; None where the chest has no such place."""
    if place in ("parenchyma", "fissure"):
        return _inner_spot(random, chest, place, radius_mm)
    if place == "vessel":
        return _vessel_spot(random, chest, radius_mm)
    at = np.flatnonzero(chest.surface.kind == place)
    if not len(at):
        return None
    pick = int(random.choice(at))
    inward = chest.surface.inward[pick]
    # From a cap on the pleura to a ball that just touches; what grows at the hilum lies mostly in the lung.
    depth = radius_mm * random.uniform(0.15, 0.95) if radius_mm < 20 else radius_mm * random.uniform(0.35, 0.9)
    centre = chest.surface.points[pick] + inward * depth / chest.spacing_mm
    side = int(chest.surface.side[pick])
    return _spot(random, chest, centre, inward, place, side) if _is_in(chest, centre, side) else None


def _is_in(chest: Chest, centre: Points, side: int) -> bool:
    """Whether a point lies on the scan and in the given lung."""
    size = np.array(chest.lungs.shape) * np.array(chest.step)
    inside = bool((centre >= 0).all() and (centre < size).all())
    return inside and int(chest.lungs[chest.to_coarse(centre)]) == side


def _inner_spot(random: np.random.Generator, chest: Chest, place: Place, radius_mm: float) -> Spot | None:
    deep = np.argwhere(chest.depth_mm > radius_mm + 2)
    if not len(deep):
        # Too large to lie free: the deepest percent of the lungs is as free as it gets.
        depths = chest.depth_mm[chest.lungs > 0]
        deep = np.argwhere(chest.depth_mm >= max(float(np.quantile(depths, 0.99)), 1.0)) if len(depths) else deep
    if not len(deep):
        return None
    index = deep[int(random.integers(len(deep)))]
    side = int(chest.lungs[tuple(index)])
    return _spot(random, chest, _jitter(random, chest, index), None, place, side)


def _vessel_spot(random: np.random.Generator, chest: Chest, radius_mm: float) -> Spot | None:
    depths = chest.depth_mm[tuple(chest.vessels.T)]
    deep = chest.vessels[depths > min(radius_mm, float(depths.max()) * 0.8)] if len(depths) else chest.vessels
    if not len(deep):
        return None
    index = deep[int(random.integers(len(deep)))]
    aside = random.standard_normal(3)
    aside *= radius_mm * random.uniform(0, 0.9) / float(np.linalg.norm(aside)) / np.array(chest.spacing_mm)
    centre, side = chest.to_fine(index) + aside, int(chest.lungs[tuple(index)])
    return _spot(random, chest, centre, None, "vessel", side) if _is_in(chest, centre, side) else None


def _jitter(random: np.random.Generator, chest: Chest, index: NDArray[np.intp]) -> Points:
    """A point anywhere in a coarse voxel: spots on a lattice would share their partial volume."""
    return np.asarray(chest.to_fine(index) + random.uniform(-0.5, 0.5, 3) * np.array(chest.step))


def _spot(
    random: np.random.Generator, chest: Chest, centre: Points, inward: Points | None, place: Place, side: int
) -> Spot:
    """A spot with its direction to the hilum, which also runs against `inward` where no surface gives it."""
    surface = chest.surface
    hilum = surface.points[(surface.kind == "hilum") & (surface.side == side)]
    way = (hilum.mean(axis=0) - centre) * chest.spacing_mm if len(hilum) else random.standard_normal(3)
    to_hilum = way / max(float(np.linalg.norm(way)), 1e-6)
    return Spot(centre, -to_hilum if inward is None else inward, place, side, to_hilum)
