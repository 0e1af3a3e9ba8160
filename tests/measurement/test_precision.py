"""Solids of known size, however the scan was stored and however coarse its voxels: values and error bars.

Balls, ellipsoids, tori and dumb-bells in 48 orientations of the axes and 5 spacings, each at a place of its own
between the voxels; the truth is a formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest

from tumorspread.measurement.lesions import measure_lesions
from tumorspread.measurement.parts import Lungs
from tumorspread.measurement.pieces import label_lesions
from tumorspread.measurement.precision import axis_error_mm, volume_error_ml
from tumorspread.scan.volume import Volume

SPACINGS = ((0.5, 0.5, 0.5), (1.0, 0.7, 0.7), (2.5, 0.8, 0.8), (3.0, 3.0, 3.0), (5.0, 0.9, 0.9))
ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)]
NO_LUNGS = Lungs(None, None, None, dict.fromkeys(("left_ml", "right_ml", "total_ml"), "a phantom"))
TILT = np.linalg.qr(np.array([[0.8, 0.3, 0.5], [-0.5, 0.7, 0.2], [-0.3, -0.4, 0.9]]))[0]


@dataclass(frozen=True)
class Solid:
    """A solid about the origin of the world, 1 mm thick where it is thinnest; lengths grow with its scale."""

    holds: Callable[[np.ndarray], np.ndarray]  # whether points (..., 3), LPS mm, lie inside
    volume: float
    long_axis: float
    short_axis: float
    reach: float


def ball():
    return Solid(lambda p: (p**2).sum(-1) <= 0.25, np.pi / 6, 1.0, 1.0, 0.5)


def ellipsoid():
    """Radii 0.5, 0.7 and 0.95 at an angle: an axial section through the middle is an ellipse with known axes."""
    form = TILT @ np.diag(np.array([0.5, 0.7, 0.95]) ** -2.0) @ TILT.T
    short, long = 2 / np.sqrt(np.linalg.eigvalsh(form[:2, :2])[::-1])
    inside = lambda p: np.einsum("...i,ij,...j->...", p, form, p) <= 1  # noqa: E731
    return Solid(inside, 4 / 3 * np.pi * 0.5 * 0.7 * 0.95, long, short, 0.95)


def torus(axis):
    """A tube of radius 0.5 about a circle of radius 1.1 whose axis is `axis` of the world."""
    plane = [a for a in range(3) if a != axis]
    inside = lambda p: (np.hypot(p[..., plane[0]], p[..., plane[1]]) - 1.1) ** 2 + p[..., axis] ** 2 <= 0.25  # noqa: E731
    # Lying, its hull is a disc; standing, two discs of the tube.
    return Solid(inside, 2 * np.pi**2 * 1.1 * 0.25, 3.2, 3.2 if axis == 2 else 1.0, 1.6)


def dumb_bell(axis):
    """Two balls of diameter 2, 3 apart, and a rod of diameter 1 between them along `axis` of the world."""
    across = [a for a in range(3) if a != axis]

    def inside(p):
        balls = [((p - 1.5 * s * np.eye(3)[axis]) ** 2).sum(-1) <= 1 for s in (1, -1)]
        rod = (p[..., across[0]] ** 2 + p[..., across[1]] ** 2 <= 0.25) & (np.abs(p[..., axis]) <= 1.5)
        return balls[0] | balls[1] | rod

    cap = 1 - np.sqrt(0.75)
    volume = 8 / 3 * np.pi - 2 * np.pi * cap**2 * (3 - cap) / 3 + np.pi * 0.25 * (3 - 2 * np.sqrt(0.75))
    return Solid(inside, volume, 2.0 if axis == 2 else 5.0, 2.0, 2.5)


SOLIDS = {
    "ball": ball(),
    "ellipsoid": ellipsoid(),
    "lying torus": torus(2),
    "standing torus": torus(0),
    "dumb-bell across": dumb_bell(0),
    "dumb-bell upright": dumb_bell(2),
}


def mask_of(solid, scale, spacing, orientation, rng):
    """The voxels whose centres lie in the solid, on a grid with these axes, shifted by part of a voxel."""
    axes, flips = orientation
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for column, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        matrix[axis, column] = flip * spacing[column]
    half = [int(np.ceil(scale * solid.reach / s)) + 2 for s in spacing]
    shift = rng.uniform(-0.5, 0.5, 3)
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(half) + shift)
    index = np.stack(np.meshgrid(*[np.arange(2 * n + 1) for n in half], indexing="ij"), -1)
    points = index @ matrix[:3, :3].T + matrix[:3, 3]
    return Volume(solid.holds(points / scale).astype(np.uint8), matrix)


@cache
def measured(name, voxels_across):
    """For every orientation and spacing: (lesion, its truth, its in-plane pixel); lesions that no voxel hit are out."""
    solid, rng, found = SOLIDS[name], np.random.default_rng(11), []
    for spacing, orientation in product(SPACINGS, ORIENTATIONS):
        # By the coarsest spacing where the solid is to be fine, by the geometric mean where it may be coarse.
        unit = max(spacing) if voxels_across >= 8 else float(np.prod(spacing)) ** (1 / 3)
        scale = voxels_across * unit
        if np.prod([2 * scale * solid.reach / s + 5 for s in spacing]) > 1e6:
            continue  # so many voxels show nothing that fewer do not, and take minutes
        mask = mask_of(solid, scale, spacing, orientation, rng)
        lesions = measure_lesions(mask, label_lesions(mask), None, NO_LUNGS)
        if lesions:
            head = orientation[0].index(2)
            pixel = max(s for i, s in enumerate(spacing) if i != head)
            truth = (scale**3 * solid.volume / 1000, scale * solid.long_axis, scale * solid.short_axis)
            found.append((lesions, truth, pixel))
    return found


@pytest.mark.parametrize("name", SOLIDS)
def test_what_is_8_voxels_thick_is_measured_within_a_pixel_and_2_percent_but_for_few(name):
    found = measured(name, 8.0)
    assert len(found) >= 96
    errors = []
    for lesions, (volume_ml, long_mm, short_mm), pixel_mm in found:
        assert len(lesions) == 1
        (lesion,) = lesions
        assert lesion.long_axis_mm == pytest.approx(long_mm, abs=pixel_mm)
        assert lesion.short_axis_mm == pytest.approx(short_mm, abs=pixel_mm)
        errors.append(abs(lesion.volume_ml / volume_ml - 1))
    # What the grid makes of so small a solid, by the place of its centre between the voxels: a ball of 268 voxels has
    # 251 to 285. Nothing made of the mask undoes it (its mesh is within 2 % in 56 % of the balls, the count in 93 %);
    # the error bar says so.
    assert np.mean(np.array(errors) <= 0.02) >= 0.91
    assert max(errors) <= 0.065


def test_what_is_8_voxels_thick_has_its_volume_within_2_percent_in_95_percent_and_no_bias():
    cases = [case for name in SOLIDS for case in measured(name, 8.0)]
    ratios = np.array([lesions[0].volume_ml / truth[0] - 1 for lesions, truth, _ in cases])
    assert len(ratios) > 1000
    assert np.mean(np.abs(ratios) <= 0.02) >= 0.95
    assert abs(ratios.mean()) <= 0.001


@pytest.mark.parametrize("name", ["ball", "ellipsoid", "dumb-bell across"])
def test_what_is_16_voxels_thick_is_measured_within_2_percent_always(name):
    found = measured(name, 16.0)
    assert len(found) >= 48
    for lesions, (volume_ml, *_), _ in found:
        assert lesions[0].volume_ml == pytest.approx(volume_ml, rel=0.02)
        assert lesions[0].mesh_volume_ml == pytest.approx(volume_ml, rel=0.03)


def covered(lesion, truth):
    return [
        abs(lesion.volume_ml - truth[0]) <= lesion.volume_ml_error,
        abs(lesion.long_axis_mm - truth[1]) <= lesion.long_axis_mm_error,
        abs(lesion.short_axis_mm - truth[2]) <= lesion.short_axis_mm_error,
    ]


@pytest.mark.parametrize("measure", [0, 1, 2], ids=["volume", "long axis", "short axis"])
def test_the_error_bars_hold_the_truth_in_95_percent_of_all_cases_and_of_the_coarse_ones(measure):
    shares = {}
    for across in (1.3, 1.8, 2.5, 4.0, 8.0):
        # Of what fell into pieces on a coarse grid, each piece is a lesion, and there is no truth for it.
        whole = [(case[0][0], case[1]) for name in SOLIDS for case in measured(name, across) if len(case[0]) == 1]
        shares[across] = np.mean([covered(lesion, truth)[measure] for lesion, truth in whole])
        assert len(whole) > 500
    assert min(shares.values()) >= 0.95, shares


def test_the_error_bars_are_no_wider_than_they_must_be():
    for lesions, (volume_ml, long_mm, _), pixel_mm in measured("ball", 9.0):
        assert lesions[0].volume_ml_error < 0.08 * volume_ml
        assert lesions[0].long_axis_mm_error < 1.2 * pixel_mm + 0.02 * long_mm


def test_a_coarse_lesion_is_flagged_and_a_fine_one_is_not():
    assert all("too_coarse" not in lesions[0].flags for lesions, _, _ in measured("ball", 9.0))
    assert all("too_coarse" in lesions[0].flags for lesions, _, _ in measured("ball", 1.3))


def test_the_bars_of_a_cube_are_those_of_their_formulas():
    # 24 squares of faces; the first and last slice along each axis have 4 voxels.
    assert volume_error_ml(np.ones((2, 2, 2), bool), 0.5) == pytest.approx(0.5 * np.sqrt(0.09 * 24 + 0.25 * 6 * 16))
    assert axis_error_mm(10, 0.5, 2, 1.0) == pytest.approx(np.sqrt(0.55**2 + 2.5**2 + 0.5**2))
