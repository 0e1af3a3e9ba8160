"""The greatest dimension over three planes, on boxes and balls."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tumorspread.measurement.lesions import measure_lesions
from tumorspread.measurement.parts import Lungs
from tumorspread.measurement.pieces import label_lesions
from tumorspread.measurement.staging import propose_stage
from tumorspread.scan.volume import Volume

NONE = Lungs(None, None, None)


def measured(mask, spacing=(1.0, 1.0, 1.0)):
    volume = Volume.upright(np.pad(mask, 2).astype(np.uint8), spacing)
    return measure_lesions(volume, label_lesions(volume), None, NONE)


def ball(radius_mm, spacing):
    grids = [np.arange(-radius_mm - s, radius_mm + 2 * s, s) for s in spacing]
    z, y, x = np.meshgrid(*grids, indexing="ij")
    return z**2 + y**2 + x**2 <= radius_mm**2


@pytest.mark.parametrize("size", sorted(set(permutations((13, 13, 76)))))
def test_a_rod_has_its_length_whichever_way_it_lies(size):
    (lesion,) = lesions = measured(np.ones(size, bool))
    # The half-level outline cuts the corners of a box by half a voxel each.
    assert lesion.longest_diameter_mm == pytest.approx(np.hypot(13, 76), abs=1.0)
    assert lesion.longest_diameter_plane == ("axial" if size[0] == 13 else "coronal")
    assert propose_stage(lesions).t == "T4"


def test_a_rod_from_head_to_foot_is_no_t1b():
    lesions = measured(np.ones((66, 13, 13), bool))
    stage = propose_stage(lesions)
    assert (stage.t, stage.size_plane) == ("T3", "coronal")
    assert stage.size_mm == lesions[0].longest_diameter_mm
    assert "in the coronal plane (axial 17" in stage.t_rule
    assert lesions[0].long_axis_mm == pytest.approx(np.hypot(13, 13), abs=1.0)


@pytest.mark.parametrize("slice_mm", [1.0, 2.5, 5.0])
@pytest.mark.parametrize("radius_mm", [9.0, 14.0, 19.0])
def test_thick_slices_do_not_make_a_ball_larger_but_leave_more_open(slice_mm, radius_mm):
    (lesion,) = measured(ball(radius_mm, (slice_mm, 0.8, 0.8)), (slice_mm, 0.8, 0.8))
    assert lesion.longest_diameter_mm == pytest.approx(2 * radius_mm, abs=1.0)
    assert abs(lesion.longest_diameter_mm - 2 * radius_mm) <= lesion.longest_diameter_mm_error
    assert lesion.longest_diameter_mm_error >= lesion.long_axis_mm_error


def test_an_excess_within_the_error_bar_widens_what_is_possible():
    spacing = (2.5, 0.8, 0.8)
    lesions = measured(ball(9.5, spacing), spacing)
    stage = propose_stage(lesions)
    assert (stage.t, stage.size_plane) == ("T1b", "axial")
    assert stage.t_possible == ("T1b", "T1c")


def test_one_voxel_is_as_long_as_its_longest_side():
    (lesion,) = measured(np.ones((1, 1, 1), bool), (5.0, 1.0, 1.0))
    assert lesion.longest_diameter_mm + lesion.longest_diameter_mm_error >= 5.0
