"""Shapes of tumours: real outlines, and made ones for those who have no folder of outlines.

A shape is a field of depth below its surface, in units of the radius of the ball of its volume. It therefore has no
size of its own, can be turned and scaled without stairs from thick slices, and grows or shrinks by a threshold.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tumorspread.errors import DatasetError
from tumorspread.scan.resampling import resample_planes
from tumorspread.scan.volume import Shape as GridShape
from tumorspread.scan.volume import Triple

Field = NDArray[np.float32]
Kind = Literal["real", "round", "lobulated", "spiculated"]

# Samples a radius: the finest detail of an outline that is kept is a twelfth of the radius.
SAMPLES = 12
MARGIN_RADII = 0.6
FAR_RADII = -0.6
# An outline of few voxels has corners: it is smoothed by 0.7 of its voxel, but by no more than this many samples.
SMOOTHEST = 4.0
# An outline keeps its character when its diameter changes by up to this factor.
LARGEST_CHANGE = 3.0
# Hooks and worms among the outlines are slips of a reader's pencil, or vessels.
LONGEST, TRIES = 2.2, 8


@dataclass(frozen=True, eq=False)
class TumourShape:
    """A tumour without size.

    Attributes:
        depth: (z, y, x), depth below the surface in equivalent radii, negative outside; `SAMPLES` voxels a radius.
        kind: where it comes from.
    """

    depth: Field
    kind: Kind

    @property
    def middle(self) -> tuple[float, float, float]:
        """Index of the centre of mass."""
        z, y, x = ndimage.center_of_mass(self.depth > 0)
        return float(z), float(y), float(x)

    @property
    def reach(self) -> float:
        """Distance from the middle to the farthest point of the surface, in radii."""
        inside = np.argwhere(self.depth > 0) - self.middle
        return float(np.linalg.norm(inside, axis=1).max()) / SAMPLES

    def sample(self, axes: Sequence[NDArray[np.float64]], radius_mm: float, turn: NDArray[np.float64]) -> Field:
        """Depth in mm on a grid.

        Args:
            axes: positions along (z, y, x) in mm, evenly spaced, the shape's centre of mass at 0.
            radius_mm: radius of the ball of the wanted volume.
            turn: (3, 3) rotation, mirror and mild stretch of volume 1, from the shape to the grid.
        """
        back = np.linalg.inv(turn) * (SAMPLES / radius_mm)
        steps = np.array([a[1] - a[0] if len(a) > 1 else 1.0 for a in axes])
        start = np.array([a[0] for a in axes])
        middle = np.array(self.middle)
        size = tuple(len(a) for a in axes)
        out = np.empty(size, np.float32)
        ndimage.affine_transform(
            self.depth, back * steps, back @ start + middle, size, out, order=1, mode="constant", cval=FAR_RADII
        )
        return np.asarray(out * np.float32(radius_mm))


@dataclass(frozen=True, eq=False)
class ShapeLibrary:
    """Outlines of real tumours as packed bits; a shape is made when it is asked for.

    Attributes:
        masks: bits of each outline, cut to its bounding box.
        sizes: (n, 3) shape of each box.
        spacings_mm: (n, 3).
        diameters_mm: (n,) equivalent diameter of each.
    """

    masks: tuple[NDArray[np.uint8], ...]
    sizes: NDArray[np.int64]
    spacings_mm: NDArray[np.float64]
    diameters_mm: NDArray[np.float64]

    @classmethod
    def read(cls, folder: Path) -> ShapeLibrary:
        """Every `NAME.csv` of the folder with its `NAME.npz`.

        Args:
            folder: each csv has columns name, z, y, x, spacing_z_mm, spacing_y_mm, spacing_x_mm, volume_ml; each
                npz holds the packed bits of the masks by name.

        Raises:
            DatasetError: there is no such pair, or a row has no mask or a missing column.
        """
        tables = [t for t in sorted(folder.glob("*.csv")) if t.with_suffix(".npz").is_file()]
        if not tables:
            raise DatasetError(f"{folder} holds no pair of NAME.csv and NAME.npz with outlines of tumours")
        masks: list[NDArray[np.uint8]] = []
        numbers: list[list[float]] = []
        columns = ("z", "y", "x", "spacing_z_mm", "spacing_y_mm", "spacing_x_mm", "volume_ml")
        for table in tables:
            with np.load(table.with_suffix(".npz")) as bits, table.open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines):
                    try:
                        masks.append(bits[row["name"]])
                        numbers.append([float(row[c]) for c in columns])
                    except (KeyError, ValueError) as error:
                        raise DatasetError(f"{table}: row {row} does not name a mask and its size ({error})") from None
        values = np.array(numbers)
        diameters = np.cbrt(6 * 1000 * values[:, 6] / np.pi)
        return cls(tuple(masks), values[:, :3].astype(np.int64), values[:, 3:6], diameters)

    def draw(self, random: np.random.Generator, diameter_mm: float) -> TumourShape:
        """A shape of a tumour whose own size is not too far from the wanted one."""
        change = np.abs(np.log(self.diameters_mm / diameter_mm))
        near = np.flatnonzero(change < np.log(LARGEST_CHANGE))
        # Of very small or large ones there are few: then the dozen that comes nearest.
        chosen = near if len(near) >= 12 else np.argsort(change, kind="stable")[:12]
        for _ in range(TRIES):
            shape = self.shape(int(random.choice(chosen)))
            if shape.reach < LONGEST:
                break
        return shape

    def shape(self, index: int) -> TumourShape:
        """The shape of one outline."""
        size = tuple(int(n) for n in self.sizes[index])
        mask = np.unpackbits(self.masks[index], count=int(np.prod(size))).reshape(size).astype(bool)
        z, y, x = (float(s) for s in self.spacings_mm[index])
        return TumourShape(_field(mask, (z, y, x)), "real")


def make_shape(random: np.random.Generator, kind: Kind) -> TumourShape:
    """A shape by formula: an ellipsoid, with low-order bumps unless it is to be round."""
    reach = int(SAMPLES * 1.9)
    line = np.arange(-reach, reach + 1, dtype=np.float32) / SAMPLES
    radii = np.exp(random.normal(0, 0.12, 3)).astype(np.float32)
    z, y, x = (line / r for r in radii)
    depth = 1 - np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    bumps = {"round": 0.03, "lobulated": 0.2, "spiculated": 0.12, "real": 0.1}[kind]
    step = (1.0 / SAMPLES,) * 3
    size = (len(line),) * 3
    depth += np.float32(bumps) * smooth_field(random, size, step, random.uniform(0.6, 1.1))
    depth += np.float32(bumps * 0.3) * smooth_field(random, size, step, 0.3)
    mask = depth > 0
    pieces = ndimage.label(mask)[0]
    return TumourShape(_field(pieces == pieces[(reach,) * 3], (1.0, 1.0, 1.0)), kind)


def draw_turn(random: np.random.Generator, stretch: float = 0.12) -> NDArray[np.float64]:
    """A random rotation or reflection with a mild stretch of volume 1, (3, 3)."""
    turn, upper = np.linalg.qr(random.standard_normal((3, 3)))
    factors = np.exp(random.normal(0, stretch, 3))
    return np.asarray(turn * np.sign(np.diag(upper)) @ np.diag(factors / np.cbrt(factors.prod())))


def smooth_field(random: np.random.Generator, shape: GridShape, spacing_mm: Triple, scale_mm: float) -> Field:
    """A random field of mean 0 and standard deviation 1 (in expectation) that varies over about `scale_mm`."""
    coarse = tuple(max(1, round(n * s / (0.5 * scale_mm))) + 4 for n, s in zip(shape, spacing_mm, strict=True))
    white = random.standard_normal(coarse, dtype=np.float32)
    soft = ndimage.gaussian_filter(white, 1.0)[2:-2, 2:-2, 2:-2]
    # A Gaussian of sigma 1 in three axes leaves 1 / (2 sqrt(pi))^1.5 of the standard deviation of white noise.
    soft *= np.float32((2 * np.sqrt(np.pi)) ** 1.5)
    return np.stack(list(resample_planes(soft, shape)))


def _field(mask: NDArray[np.bool_], spacing_mm: Triple) -> Field:
    """The depth of a mask on an even grid, smoothed as far as its slices are thick, in equivalent radii."""
    radius = float(np.cbrt(mask.sum() * np.prod(spacing_mm) * 3 / (4 * np.pi)))
    pad = [int(np.ceil(MARGIN_RADII * radius / s)) + 1 for s in spacing_mm]
    padded = np.pad(mask, [(p, p) for p in pad])
    signed = edt.edt(padded, anisotropy=spacing_mm) - edt.edt(~padded, anisotropy=spacing_mm)
    even = tuple(max(4, round(n * s / radius * SAMPLES)) for n, s in zip(padded.shape, spacing_mm, strict=True))
    field = np.stack(list(resample_planes(signed.astype(np.float32), (even[0], even[1], even[2]))))
    field = ndimage.gaussian_filter(field, [min(SMOOTHEST, max(0.8, 0.7 * s / radius * SAMPLES)) for s in spacing_mm])
    # Smoothing shrinks what is thin: the level that keeps the volume becomes the surface.
    wanted = min(round(4 / 3 * np.pi * SAMPLES**3), field.size)
    field -= np.partition(field, -wanted, axis=None)[-wanted]
    return np.asarray(np.maximum(field / np.float32(radius), FAR_RADII), np.float32)
