"""The gate on bare frames: any upright stack gives its grid back, any bent one is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tumorspread.errors import GeometryError
from tumorspread.scan.dicom_frames import Frame
from tumorspread.scan.dicom_gate import stack_frames

SIZE, PIXEL_MM = (20, 30), (0.9, 0.6)


def frames_along(rotation: np.ndarray, places_mm: list[float]) -> list[Frame]:
    """Slices at the given distances along the normal of a rotated stack that starts at (10, -20, 30) mm."""
    across, down, normal = rotation
    return [
        Frame(
            file=f"{number}.dcm",
            index=0,
            frame_of_reference="1.2",
            size=SIZE,
            orientation=(*across, *down),
            position_mm=tuple(np.array([10.0, -20, 30]) + place * normal),
            pixel_spacing_mm=PIXEL_MM,
            rescale=(1.0, 0.0),
            thickness_mm=None,
        )
        for number, place in enumerate(places_mm)
    ]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 40),
    step=st.floats(0.3, 10),
    shuffle=st.randoms(use_true_random=False),
)
def test_any_upright_stack_in_any_order_gives_the_grid_it_was_made_of(seed, count, step, shuffle):
    rotation = Rotation.random(rng=seed).as_matrix()
    frames = frames_along(rotation, [step * i for i in range(count)])
    mixed = frames[:]
    shuffle.shuffle(mixed)
    stack = stack_frames(mixed)
    assert [f.file for f in stack.frames] == [f.file for f in frames]
    expected = np.eye(4)
    expected[:3, :3] = np.stack([rotation[2] * step, rotation[1] * PIXEL_MM[0], rotation[0] * PIXEL_MM[1]], axis=1)
    expected[:3, 3] = (10, -20, 30)
    assert np.allclose(stack.affine, expected, atol=1e-9)
    assert stack.step_mm == pytest.approx(step)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(5, 40), data=st.data())
def test_any_missing_inner_slice_is_counted_and_its_neighbours_named(seed, count, data):
    lost = data.draw(st.integers(1, count - 2))
    frames = frames_along(Rotation.random(rng=seed).as_matrix(), [1.25 * i for i in range(count)])
    pattern = rf"1 of the slices, 1.25 mm apart, are missing between {lost - 1}.dcm .* and {lost + 1}.dcm"
    with pytest.raises(GeometryError, match=pattern):
        stack_frames(frames[:lost] + frames[lost + 1 :])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), degrees=st.floats(0.5, 40))
def test_any_tilt_is_measured_and_the_stack_stays_square_to_its_slices(seed, degrees):
    rotation = Rotation.random(rng=seed).as_matrix()
    frames = frames_along(rotation, [2.0 * i for i in range(20)])
    drift = np.tan(np.radians(degrees)) * 2.0
    stack = stack_frames(tilt(frames, drift * rotation[1]))
    assert stack.tilt_degrees == pytest.approx(degrees, abs=1e-6)
    assert stack.lean_mm == pytest.approx((drift, 0), abs=1e-9)
    assert np.allclose(stack.affine, stack_frames(frames).affine, atol=1e-9)


def test_an_upright_stack_does_not_lean():
    stack = stack_frames(frames_along(np.eye(3), [2.0 * i for i in range(20)]))
    assert (stack.lean_mm, stack.tilt_degrees) == ((0, 0), 0)


def test_a_lean_that_no_gantry_has_is_refused():
    frames = frames_along(np.eye(3), [2.0 * i for i in range(20)])
    with pytest.raises(GeometryError, match=r"lean by 50.2 degrees.*0.dcm.*19.dcm.*export it again"):
        stack_frames(tilt(frames, np.array([0, 2.4, 0])))


def test_cosines_rounded_to_four_digits_give_the_distance_of_the_slices():
    """The normal of these is 1.00004 long."""
    across, down = (1.0, 0, 0), (0, 0.9272, -0.3746)
    normal = np.cross(across, down) / np.linalg.norm(np.cross(across, down))
    frames = frames_along(np.array([across, down, normal]), [3.0 * i for i in range(10)])
    assert stack_frames(frames).step_mm == pytest.approx(3, rel=1e-9)


def tilt(frames: list[Frame], drift: np.ndarray) -> list[Frame]:
    return [replace(f, position_mm=tuple(f.position_mm + i * drift)) for i, f in enumerate(frames)]


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_no_fault():
    frames = frames_along(np.eye(3), [round(0.625 * i, 1) for i in range(200)])
    assert stack_frames(frames).step_mm == pytest.approx(0.625, rel=1e-3)


def test_several_gaps_are_counted_together():
    frames = frames_along(np.eye(3), [i for i in range(40) if i not in (5, 6, 20, 33)])
    with pytest.raises(GeometryError, match=r"4 of the slices, 1.00 mm apart.*4.dcm.*and in 2 other places"):
        stack_frames(frames)


def test_two_phases_at_the_same_places_are_refused_as_doubles():
    frames = frames_along(np.eye(3), [float(i) for i in range(10)] * 2)
    with pytest.raises(GeometryError, match=r"10 places hold more than one slice"):
        stack_frames(frames)


def test_no_slices_and_one_slice_are_refused():
    for count in (0, 1):
        with pytest.raises(GeometryError, match="distance between slices is unknown"):
            stack_frames(frames_along(np.eye(3), [0.0] * count))
