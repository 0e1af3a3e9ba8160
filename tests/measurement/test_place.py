"""Where lesions lie, in lungs of boxes whose distances are formulas; and how far they lie apart."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial import cKDTree
from tests.measurement.conftest import LUNGS, SHAPE, SPACING, balls, box_lungs, lobe_map, points_mm

from tumorspread.measurement.gaps import nearest_lesions
from tumorspread.measurement.lesions import measure_lesions
from tumorspread.measurement.lobes import LOBES
from tumorspread.measurement.parts import Lungs
from tumorspread.measurement.pieces import label_lesions
from tumorspread.measurement.place import locate_lesions
from tumorspread.measurement.zones import lung_parts
from tumorspread.scan.volume import Reorientation, Volume

ORIENTATIONS = [
    Reorientation(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)
]


def located(mask, sides=None, lungs=LUNGS, lobes=None):
    volume = mask if isinstance(mask, Volume) else Volume.upright(mask, SPACING)
    labels = label_lesions(volume)
    sides = box_lungs() if sides is None else sides
    return locate_lesions(measure_lesions(volume, labels, sides, lungs), labels, sides, lungs, lobes)


@pytest.mark.parametrize("centre_x", [115.0 - 60, 125.0 - 60])
@pytest.mark.parametrize("radius", [5.0, 9.0])
def test_distances_to_pleura_and_mediastinum_are_those_of_the_formula(centre_x, radius):
    (lesion,) = located(balls(((100.0, 75.0, centre_x), radius)))
    to_ribs, to_medial = centre_x - 20 - radius, 95 - centre_x - radius
    assert lesion.side == "right"
    # To within a voxel, though the kinds of surface are told on a grid of 2.5 mm.
    assert lesion.distance_to_pleura_mm == pytest.approx(to_ribs, abs=1.25)
    assert lesion.distance_to_mediastinum_mm == pytest.approx(to_medial, abs=1.25)
    assert lesion.distance_to_pleura_mm_error == lesion.distance_to_mediastinum_mm_error == 2.5
    assert lesion.pleural_contact_cm2 == 0


def test_a_lesion_near_the_ribs_is_outer_and_one_in_the_middle_is_inner():
    outer, inner = located(balls(((100.0, 75.0, 36.0), 9.0), ((100.0, 75.0, 190.0), 8.0)))
    assert (outer.region, inner.region) == ("outer", "inner")
    assert (outer.side, inner.side) == ("right", "left")


def test_a_lesion_on_the_ribs_has_the_area_of_its_contact():
    z, y, x = points_mm()
    mask = ((abs(z - 100) < 10) & (abs(y - 75) < 10) & (x > 20) & (x < 40)).astype(np.uint8)
    (lesion,) = located(mask)
    assert lesion.distance_to_pleura_mm == 0
    # One of the six faces of a cube of 20 mm, as much smaller as its mesh is than they.
    assert lesion.pleural_contact_cm2 == pytest.approx(lesion.surface_cm2 / 6)
    assert lesion.surface_cm2 == pytest.approx(6 * 20 * 20 / 100, rel=0.05)
    assert lesion.distance_to_mediastinum_mm == pytest.approx(95 - 40)


def test_a_lesion_at_the_mediastinum_touches_that_and_not_the_pleura():
    z, y, x = points_mm()
    mask = ((abs(z - 100) < 10) & (abs(y - 75) < 10) & (x > 75) & (x < 95)).astype(np.uint8)
    (lesion,) = located(mask)
    assert (lesion.distance_to_mediastinum_mm, lesion.pleural_contact_cm2) == (0, 0)
    assert lesion.distance_to_pleura_mm == pytest.approx(min(75 - 20, 75 - 10 - 15), abs=2.6)


def test_a_lesion_that_leaves_the_lung_counts_the_faces_outside():
    z, y, x = points_mm()
    mask = ((abs(z - 100) < 10) & (abs(y - 75) < 10) & (x > 10) & (x < 40)).astype(np.uint8)
    (lesion,) = located(mask)
    assert lesion.distance_to_pleura_mm == 0
    # One end of 20 x 20 mm and four sides of 10 x 20 mm lie outside.
    all_faces = 2 * 400 + 4 * 20 * 30
    assert lesion.pleural_contact_cm2 == pytest.approx(lesion.surface_cm2 * (400 + 4 * 200) / all_faces)


def test_a_ball_outside_the_lung_all_around_touches_with_its_whole_surface_and_no_more():
    z, y, x = points_mm()
    sides = box_lungs()
    ball = balls(((100.0, 75.0, 57.0), 9.0))
    sides[(z - 100) ** 2 + (y - 75) ** 2 + (x - 57) ** 2 <= 12**2] = 0
    sides[80 // 2, 75, 57] = 2
    sides[40, 60, 52 - 8 : 52] = 2  # a strand of lung from the hole's rim to the ball
    (lesion,) = located(ball, sides)
    assert lesion.flags == ()
    assert lesion.pleural_contact_cm2 == pytest.approx(lesion.surface_cm2, rel=0.02)
    assert lesion.pleural_contact_cm2 <= lesion.surface_cm2


def outside(gap_mm):
    """A cube of 10 mm whose face lies so far beyond the ribs of the right lung, which begins at 20 mm."""
    z, y, x = points_mm()
    return ((abs(z - 100) < 5) & (abs(y - 75) < 5) & (x > 10 - gap_mm) & (x < 20 - gap_mm)).astype(np.uint8)


@pytest.mark.parametrize("gap_mm", [0, 1.25])
def test_a_mass_beyond_the_lung_that_touches_it_is_counted_to_it(gap_mm):
    (lesion,) = located(outside(gap_mm))
    assert (lesion.side, lesion.flags, lesion.zone) == ("right", (), "middle")
    assert lesion.lung_share_percent == pytest.approx(100 * 1 / 1350, rel=0.01)
    assert lesion.distance_to_pleura_mm == 0
    assert 0 < lesion.pleural_contact_cm2 <= lesion.surface_cm2


@pytest.mark.parametrize("gap_mm", [2.5, 8.75])
def test_a_lesion_outside_the_lungs_has_no_place_in_them(gap_mm):
    (lesion,) = located(outside(gap_mm))
    assert lesion.flags == ("outside_lungs",)
    names = ("side", "lung_share_percent", "zone", "region", "lobe", "distance_to_pleura_mm", "pleural_contact_cm2")
    for name in (*names, "distance_to_mediastinum_mm", "distance_to_pleura_mm_error"):
        assert getattr(lesion, name) is None
        assert "outside the lungs" in lesion.reasons[name]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_mass_that_is_in_part_outside_is_counted_to_its_lung(share):
    z, y, x = points_mm()
    mask = ((abs(z - 100) < 15) & (abs(y - 75) < 15) & (x > 20 - 15 * share) & (x < 35 - 15 * share)).astype(np.uint8)
    (lesion,) = located(mask)
    assert (lesion.side, lesion.flags, lesion.distance_to_pleura_mm) == ("right", (), 0)


@pytest.mark.parametrize("side", [1, 2])
def test_with_one_lung_ribs_and_mediastinum_are_not_told_apart(side):
    sides = box_lungs() * (box_lungs() == side)
    lungs = Lungs(1350.0 if side == 1 else None, 1350.0 if side == 2 else None, 1350.0)
    (lesion,) = located(balls(((100.0, 75.0, 165.0 if side == 1 else 85.0), 5.0)), sides.astype(np.uint8), lungs)
    assert (lesion.side, lesion.zone) == ("left" if side == 1 else "right", "middle")
    for name in ("region", "pleural_contact_cm2", "distance_to_pleura_mm", "distance_to_mediastinum_mm"):
        assert getattr(lesion, name) is None
        assert "one lung alone" in lesion.reasons[name]


def test_a_ring_around_a_hole_of_the_lung_has_its_centre_at_a_surface():
    z, y, x = points_mm()
    sides = box_lungs()
    sides[(abs(y - 75) < 3) & (abs(x - 57) < 3)] = 0
    from_axis = np.hypot(y - 75, x - 57)
    ring = ((abs(z - 100) < 5) & (from_axis > 8) & (from_axis < 14)).astype(np.uint8)
    (lesion,) = located(ring, sides)
    assert lesion.region == "outer"
    assert lesion.distance_to_pleura_mm == pytest.approx(8 - 3, abs=1.25)


def test_the_edge_of_the_scan_is_no_pleura():
    cut = slice(12, 48)  # from 30 mm, inside the lungs, to 120 mm
    volume = Volume.upright(balls(((45.0, 75.0, 60.0), 6.0))[cut], SPACING)
    (lesion,) = located(volume, np.ascontiguousarray(box_lungs()[cut]))
    assert lesion.distance_to_pleura_mm == pytest.approx(60 - 6 - 20, abs=1.25)
    assert lesion.distance_to_mediastinum_mm == pytest.approx(95 - 60 - 6, abs=1.25)


def test_the_diaphragm_is_pleura_though_it_lies_between_the_lungs():
    """A dome under the right lung, all around which lung reaches deeper."""
    z, y, x = points_mm()
    sides = box_lungs()
    dome = ((z - 25) / 50) ** 2 + ((y - 75) / 40) ** 2 + ((x - 57) / 30) ** 2 <= 1
    sides[dome] = 0
    mask = ((abs(z - 84) < 5) & (abs(y - 75) < 5) & (abs(x - 57) < 5)).astype(np.uint8)
    (lesion,) = located(mask, sides)
    assert lesion.distance_to_pleura_mm == pytest.approx(79 - 75, abs=2.6)
    assert lesion.distance_to_mediastinum_mm > 20


@pytest.mark.parametrize(
    ("z_mm", "zone"), [(40, "lower"), (70, "lower"), (80, "middle"), (120, "middle"), (130, "upper")]
)
def test_zones_are_thirds_of_the_height(z_mm, zone):
    (lesion,) = located(balls(((z_mm, 75.0, 60.0), 4.0)))
    assert lesion.zone == zone


def test_zones_have_a_third_of_the_lung_each():
    sides = box_lungs()
    parts = lung_parts(sides, None, np.prod(SPACING) / 1000)
    assert [part.name for part in parts] == [
        f"{s}_{z}" for s in ("left", "right") for z in ("upper", "middle", "lower")
    ]
    assert [part.volume_ml for part in parts] == pytest.approx([450.0] * 6)


def test_lungs_that_the_scan_cuts_have_no_zones():
    sides = box_lungs()[12:]
    volume = Volume.upright(balls(((100.0, 75.0, 60.0), 6.0))[12:], SPACING)
    (lesion,) = located(volume, sides)
    assert lesion.zone is None
    assert "whole height" in lesion.reasons["zone"]
    assert lung_parts(sides, None, 1.0) == ()


def test_without_lungs_all_is_none_for_the_reason_of_the_lungs():
    none = Lungs(None, None, None, dict.fromkeys(("left_ml", "right_ml", "total_ml"), "no chest"))
    volume = Volume.upright(balls(((100.0, 75.0, 60.0), 6.0)), SPACING)
    labels = label_lesions(volume)
    (lesion,) = locate_lesions(measure_lesions(volume, labels, None, none), labels, None, none)
    names = ["zone", "region", "lobe", "pleural_contact_cm2"]
    names += [f"distance_to_{what}_mm{end}" for what in ("pleura", "mediastinum") for end in ("", "_error")]
    assert all(getattr(lesion, name) is None and lesion.reasons[name] == "no chest" for name in names)


def test_the_places_are_the_same_in_all_48_ways_to_store_the_scan():
    mask = Volume.upright(balls(((100.0, 75.0, 36.0), 9.0), ((60.0, 40.0, 190.0), 8.0)), SPACING)
    sides = mask.with_voxels(box_lungs())
    first = located(mask, sides.voxels)
    assert len(ORIENTATIONS) == 48
    for turn in ORIENTATIONS:
        again = located(turn.apply(mask), np.ascontiguousarray(turn.apply_array(sides.voxels)))
        for one, other in zip(first, again, strict=True):
            assert (one.zone, one.region, one.side) == (other.zone, other.region, other.side)
            for name in ("distance_to_pleura_mm", "distance_to_mediastinum_mm", "nearest_lesion_mm"):
                assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-6)


def test_the_gap_between_two_boxes_is_what_lies_between_their_faces():
    mask = np.zeros(SHAPE, np.uint8)
    mask[30:40, 40:50, 40:50] = 1
    mask[30:40, 40:50, 58:60] = 1
    one, other = located(mask)
    assert (one.nearest_lesion_id, other.nearest_lesion_id) == (2, 1)
    assert one.nearest_lesion_mm == other.nearest_lesion_mm == pytest.approx(8 * 1.25)


def test_an_only_lesion_has_no_nearest():
    (lesion,) = located(balls(((100.0, 75.0, 60.0), 6.0)))
    assert (lesion.nearest_lesion_id, lesion.nearest_lesion_mm) == (None, None)
    assert "no other lesion" in lesion.reasons["nearest_lesion_mm"]


def test_nearest_lesions_are_those_of_a_search_over_all_pairs():
    rng = np.random.default_rng(4)
    mask = np.zeros((40, 60, 60), np.uint8)
    for _ in range(25):
        z, y, x = (int(rng.integers(0, n - 6)) for n in mask.shape)
        mask[z : z + rng.integers(1, 6), y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = 1
    labels = label_lesions(Volume.upright(mask, SPACING)).voxels
    count = int(labels.max())
    boxes = {n: tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(labels == n)) for n in range(1, count + 1)}
    points = [np.argwhere(labels == n) * SPACING for n in range(1, count + 1)]
    found = nearest_lesions(labels, boxes, SPACING)
    for n, own in enumerate(points):
        apart = [np.inf if m == n else cKDTree(other).query(own)[0].min() for m, other in enumerate(points)]
        assert apart[found[n + 1][0] - 1] == pytest.approx(min(apart))
        assert 0 <= found[n + 1][1] < min(apart)


def test_a_lesion_lies_in_the_lobe_that_holds_most_of_it():
    lobes = lobe_map()
    mask = balls(((150.0, 75.0, 60.0), 9.0), ((100.0, 40.0, 60.0), 8.0), ((50.0, 75.0, 190.0), 7.0))
    assert [n.lobe for n in located(mask, lobes=lobes)] == ["right_upper", "right_middle", "left_lower"]
    assert [p.name for p in lung_parts(box_lungs(), lobes, 1.0) if p.kind == "lobe"] == list(LOBES)
