"""The gate of a DICOM series: is it one complete, regular stack of slices, and does it stand upright?

We judge it ourselves: ITK and GDCM load a missing slice with the spacing averaged (+2.6 % volume), a
duplicated one with the spacing halved and a tilted gantry as if upright, all without a word. Geometry: DICOM
PS3.3 C.7.6.2.1.1 (ImagePositionPatient, ImageOrientationPatient, equation C.7.6.2.1-1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import GeometryError
from tumorspread.scan.bundle import plain, plain_list
from tumorspread.scan.dicom_frames import Frame
from tumorspread.scan.volume import ORTHOGONAL_TOLERANCE

# A slice may lie this share of a voxel edge off the regular grid: positions are often rounded to 0.1 mm.
OFF_GRID_TOLERANCE = 0.1
# Slices nearer than this are at one place, mm.
SAME_PLACE_MM = 0.01
# Direction cosines and pixel spacings that differ less are rounding: 0.05 mm over 512 pixels.
SAME_NUMBER_TOLERANCE = 1e-4
# Gantries tilt by up to 30 degrees; a stack that leans more has wrong positions or orientations.
MAX_TILT_DEGREES = 45.0


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in the order of their normal, and the affine of the volume they make (see `Volume`).

    Attributes:
        frames: the slices.
        affine: of the upright stack that the first slice begins.
        lean_mm: how far each slice lies sideways of the one before, down and across its rows and columns: 0 in an
            upright stack, not so with a tilted gantry.
    """

    frames: tuple[Frame, ...]
    affine: NDArray[np.float64]
    lean_mm: tuple[float, float] = (0.0, 0.0)

    @property
    def step_mm(self) -> float:
        """Distance between neighbouring slices."""
        return float(np.linalg.norm(self.affine[:3, 0]))

    @property
    def tilt_degrees(self) -> float:
        """Angle between the normal of the slices and the line on which they lie; 0 in an upright stack."""
        return float(np.degrees(np.arctan2(np.hypot(*self.lean_mm), self.step_mm)))


def stack_frames(frames: Sequence[Frame]) -> Stack:
    """Order the slices of one series and find the grid they lie on.

    Raises:
        GeometryError: fewer than two slices; slices of different size, orientation, pixel spacing or frame of
            reference; two at one place; a missing one; varying distances; some shifted sideways.
    """
    if len(frames) < 2:
        names = plain_list(frame.file for frame in frames) or "none"
        raise GeometryError(
            f"{len(frames)} slice ({names}); the distance between slices is unknown, expected 2 slices or more of one "
            "series: give its folder"
        )
    _check_alike(frames)
    across, down = np.reshape(frames[0].orientation, (2, 3))
    _check_directions(frames[0], across, down)
    normal = np.cross(across, down)
    # Cosines of a tilted gantry, rounded to four digits, make one that is too long by up to 1e-4.
    normal /= np.linalg.norm(normal)
    ordered = sorted(frames, key=lambda frame: float(np.dot(frame.position_mm, normal)))
    places = np.array([frame.position_mm for frame in ordered])
    along = (places - places[0]) @ normal
    _check_steps(ordered, along)
    drift = _drift(ordered, places - places[0] - np.outer(along, normal), along) / (len(ordered) - 1)
    affine = np.eye(4)
    affine[:3, 0] = normal * along[-1] / (len(ordered) - 1)
    affine[:3, 1] = down * ordered[0].pixel_spacing_mm[0]
    affine[:3, 2] = across * ordered[0].pixel_spacing_mm[1]
    affine[:3, 3] = places[0]
    stack = Stack(tuple(ordered), affine, (float(drift @ down), float(drift @ across)))
    if stack.tilt_degrees > MAX_TILT_DEGREES:
        raise GeometryError(
            f"the slices lean by {stack.tilt_degrees:.1f} degrees against their stack, from {_label(ordered[0])} to "
            f"{_label(ordered[-1])}; no gantry tilts so far: positions or orientations are wrong, export it again"
        )
    return stack


def extent_mm(frames: Sequence[Frame]) -> float:
    """Largest distance between the positions of two slices, from the corner of their bounding box."""
    places = np.array([frame.position_mm for frame in frames])
    return float(np.linalg.norm(np.ptp(places, axis=0)))


def _check_alike(frames: Sequence[Frame]) -> None:
    traits: dict[str, list[tuple[float | str, ...]]] = {
        "size": [f.size for f in frames],
        "orientation": [f.orientation for f in frames],
        "pixel spacing": [f.pixel_spacing_mm for f in frames],
    }
    for trait, values in traits.items():
        usual = Counter(values).most_common(1)[0][0]
        apart = np.abs(np.array(values, np.float64) - np.array(usual, np.float64)).max(axis=1)
        odd = [(f, v) for f, v, d in zip(frames, values, apart, strict=True) if d > SAME_NUMBER_TOLERANCE]
        if odd:
            shown = f"{list(odd[0][1])} where the others have {list(usual)}"
            raise GeometryError(
                f"slices of different {trait} in one series: {plain_list(f.file for f, _ in odd)} with "
                f"{shown}; give one acquisition alone"
            )
    usual_reference = Counter(f.frame_of_reference for f in frames).most_common(1)[0][0]
    strays = [f.file for f in frames if f.frame_of_reference != usual_reference]
    if strays:
        raise GeometryError(
            f"slices of several frames of reference, so not one scan: {plain_list(strays)} differ; give one alone"
        )


def _check_directions(frame: Frame, across: NDArray[np.float64], down: NDArray[np.float64]) -> None:
    lengths = np.linalg.norm([across, down], axis=1)
    skew = abs(float(across @ down))
    if np.abs(lengths - 1).max() > ORTHOGONAL_TOLERANCE or skew > ORTHOGONAL_TOLERANCE:
        raise GeometryError(
            f"{plain(frame.file)}: ImageOrientationPatient {list(frame.orientation)} is not two unit vectors "
            "at right angles; the scan's orientation is unknown, export it again"
        )
    if min(frame.pixel_spacing_mm) <= 0:
        raise GeometryError(
            f"{plain(frame.file)}: PixelSpacing {list(frame.pixel_spacing_mm)}; expected above 0 mm, "
            "export the scan again"
        )


def _check_steps(frames: Sequence[Frame], along: NDArray[np.float64]) -> None:
    steps = np.diff(along)
    same = np.flatnonzero(steps < SAME_PLACE_MM)
    if same.size:
        pair = plain_list(_label(frames[i]) for i in (same[0], same[0] + 1))
        raise GeometryError(
            f"{same.size} place{'s hold' if same.size > 1 else ' holds'} more than one slice, first {pair}; "
            f"several phases or reconstructions, or copies: give one alone"
        )
    typical = float(np.sort(steps)[(len(steps) - 1) // 2])
    gaps = np.flatnonzero(steps > 1.5 * typical)
    if gaps.size and gaps.size <= max(1, len(steps) // 4):
        raise GeometryError(_missing(frames, steps, typical, gaps))
    regular = np.linspace(0, along[-1], len(along))
    if np.ptp(along - regular) / 2 > OFF_GRID_TOLERANCE * along[-1] / (len(along) - 1):
        worst = int(np.abs(steps - typical).argmax())
        raise GeometryError(
            f"the distance between slices varies from {steps.min():.3f} to {steps.max():.3f} mm, "
            f"oddest between {_label(frames[worst])} and {_label(frames[worst + 1])}; expected one distance, "
            "export the original series"
        )


def _missing(frames: Sequence[Frame], steps: NDArray[np.float64], typical: float, gaps: NDArray[np.int_]) -> str:
    counts = np.maximum(1, np.rint(steps[gaps] / typical).astype(int) - 1)
    widest = int(gaps[steps[gaps].argmax()])
    low, high = frames[: widest + 1], frames[widest + 1 :]
    where = f"between {_label(low[-1])} and {_label(high[0])}"
    if gaps.size > 1:
        where += f" and in {gaps.size - 1} other place" + ("s" if gaps.size > 2 else "")
    smaller = min(low, high, key=len)
    text = f"{counts.sum()} of the slices, {typical:.2f} mm apart, are missing {where}"
    if gaps.size == 1 and len(smaller) * 4 <= len(frames):
        text += f"; the smaller part is {len(smaller)}: {plain_list(f.file for f in smaller)}"
    return text + "; export the whole series, or only the part to be read"


def _drift(frames: Sequence[Frame], sideways: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the last slice lies sideways of the first, where all others lie on the line between them."""
    tolerance = OFF_GRID_TOLERANCE * min(frames[0].pixel_spacing_mm)
    if np.linalg.norm(sideways, axis=1).max() <= tolerance:
        return np.zeros(3)
    drift = np.outer(along / along[-1], sideways[-1])
    if np.linalg.norm(sideways - drift, axis=1).max() <= tolerance:
        return np.asarray(sideways[-1])
    centre = np.median(sideways, axis=0)
    worst = int(np.linalg.norm(sideways - centre, axis=1).argmax())
    shift = float(np.linalg.norm(sideways[worst] - centre))
    raise GeometryError(
        f"{_label(frames[worst])} is shifted sideways by {shift:.1f} mm against the rest; give one scan alone"
    )


def _label(frame: Frame) -> str:
    """The file, with the frame's number where it holds several, and where along z it lies."""
    number = f" frame {frame.index + 1}" if frame.index else ""
    return f"{plain(frame.file)}{number} (z {frame.position_mm[2]:.2f} mm)"
