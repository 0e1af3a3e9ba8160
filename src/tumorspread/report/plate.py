"""A small picture of one plane of a scan, drawn by OpenCV: grey values, outlines, axes, letters and a scale bar.

`Panel` draws the same by matplotlib with charts beside it. Here a picture takes ten milliseconds instead of eighty, so
that a report of twenty lesions is there in seconds, and the same pixels come out on every machine: the font is the one
that matplotlib carries.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

from tumorspread.report.panel import SCALE_BARS_CM, LineStyle
from tumorspread.report.views import Frame, View, Window
from tumorspread.scan.volume import Triple

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
# OpenCV takes places in sixteenths of a pixel.
BITS = 4
# Of a line: pixels drawn and left out, in turn.
DASHES: dict[LineStyle, tuple[float, float]] = {"dashed": (9, 6), "dotted": (2, 5)}
# At 78 no eye sees a difference to the original, which would be five times as large. WebP would halve it again, but
# take five times as long, and a PDF would hold it unpacked.
QUALITY = 78


@dataclass(frozen=True, eq=False)
class Plate:
    """A picture in the making; every method draws on `pixels` and takes the full plane (rows, columns).

    Attributes:
        pixels: (height, width, RGB); black where the frame leaves the scan.
        view: which of the three planes.
        frame: the part that is shown.
        spacing_mm: of the canonical grid, (z, y, x).
        scale: pixels a millimetre.
    """

    pixels: Pixels
    view: View
    frame: Frame
    spacing_mm: Triple
    scale: float

    @classmethod
    def blank(cls, view: View, frame: Frame, spacing_mm: Triple, scale: float) -> Plate:
        """A black one of the frame's size."""
        height, width = (
            max(1, round((frame.high_mm[axis] - frame.low_mm[axis]) * scale)) for axis in (view.down, view.across)
        )
        return cls(np.zeros((height, width, 3), np.uint8), view, frame, spacing_mm, scale)

    def show(self, plane: NDArray[Any], window: Window) -> None:
        """Draw the plane in grey, linear between its voxels; to be called first.

        A cubic spline is smoother, but draws dark rims around dense nodules that are not there.
        """
        values = self._warp(plane.astype(np.float32), cv2.INTER_LINEAR, window.low)
        # In place: of a picture as large as the overview each copy would take as long as the drawing.
        values -= window.low
        values *= 255 / (window.high - window.low)
        np.clip(np.rint(values, out=values), 0, 255, out=values)
        cv2.cvtColor(values.astype(np.uint8), cv2.COLOR_GRAY2RGB, dst=self.pixels)

    def fill(self, plane: NDArray[np.bool_], colour: str, alpha: float, hatch: str = "") -> None:
        """Tint the pixels of a mask, and hatch them: `/` diagonal lines, `.` dots."""
        inside = self._warp(plane.astype(np.uint8), cv2.INTER_NEAREST, 0) > 0
        rgb = np.array(_rgb(colour), np.float32)
        self.pixels[inside] = np.rint((1 - alpha) * self.pixels[inside] + alpha * rgb)
        if hatch:
            down, across = np.ogrid[: inside.shape[0], : inside.shape[1]]
            pattern = (down + across) % 9 < 2 if hatch[0] == "/" else (down % 7 < 2) & (across % 7 < 2)
            self.pixels[inside & pattern] = rgb

    def outline(
        self, plane: NDArray[np.bool_], colour: str, style: LineStyle = "solid", width: int = 2, *, rim: bool = True
    ) -> None:
        """Draw the border of a mask half way between the centres of inner and outer pixels, with a dark `rim`."""
        for contour in _contours(plane):
            self._line(self._place(contour * self._steps()), _rgb(colour), width, style, rim=rim)

    def segment(self, ends_zyx_mm: NDArray[np.float64], style: LineStyle) -> None:
        """Draw a straight line between two points (2, 3), with a bar across each end."""
        ends = self._place(ends_zyx_mm[:, [self.view.down, self.view.across]])
        along = (ends[1] - ends[0]) / max(float(np.linalg.norm(ends[1] - ends[0])), 1e-6)
        bar = 5 * np.array([[-along[1], along[0]], [along[1], -along[0]]])
        for end in ends:
            self._line(end + bar, WHITE, 2, "solid")
        self._line(ends, WHITE, 2, style)

    def write(self, text: str, place: tuple[float, float], anchor: str, size: int = 15, colour: str = "white") -> None:
        """Write at a place in pixels (across, down), within the picture; `anchor` as Pillow has it, such as `mm`."""
        font = _font(size)
        left, top, right, bottom = font.getbbox(text, anchor=anchor, stroke_width=2)
        height, width, _ = self.pixels.shape
        # What would leave the picture is moved in.
        place = (
            float(np.clip(place[0], 2 - left, max(2 - left, width - 2 - right))),
            float(np.clip(place[1], 2 - top, max(2 - top, height - 2 - bottom))),
        )
        # The letters alone: a copy of the whole picture takes a hundred times as long.
        low_x, high_x = (int(np.clip(place[0] + edge, 0, width)) for edge in (left - 2, right + 2))
        low_y, high_y = (int(np.clip(place[1] + edge, 0, height)) for edge in (top - 2, bottom + 2))
        part = self.pixels[low_y:high_y, low_x:high_x]
        if part.size:
            image = Image.fromarray(part)
            at = place[0] - low_x, place[1] - low_y
            ImageDraw.Draw(image).text(at, text, _rgb(colour), font, anchor, stroke_width=2, stroke_fill=BLACK)
            part[:] = np.asarray(image)

    def annotate_sides(self) -> None:
        """Write the letters of the sides of the body at the edges, and a scale bar at the lower left."""
        height, width = self.pixels.shape[:2]
        left, right, top, bottom = self.view.letters
        for letter, place, anchor in (
            (left, (6, height / 2), "lm"), (right, (width - 6, height / 2), "rm"),
            (top, (width / 2, 5), "mt"), (bottom, (width / 2, height - 5), "mb"),
        ):  # fmt: skip
            self.write(letter, place, anchor, 16)
        fitting = [cm for cm in SCALE_BARS_CM if cm * 10 * self.scale <= 0.3 * width]
        length_cm = fitting[-1] if fitting else SCALE_BARS_CM[0]
        ends = np.array([[8.0, height - 9.0], [8.0 + length_cm * 10 * self.scale, height - 9.0]])
        self._line(ends, WHITE, 3, "solid")
        self.write(f"{length_cm:g} cm", (8, height - 15), "lb", 13)

    def mark_frame(self, frame: Frame) -> None:
        """Draw the border of another frame: where the zoomed pictures look."""
        low, high = (self.place_of(np.array(corner)) for corner in (frame.low_mm, frame.high_mm))
        square = np.array([low, [high[0], low[1]], high, [low[0], high[1]], low])
        self._line(square, WHITE, 1, "solid")

    def place_of(self, point_zyx_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where a point lies in the picture, pixels (across, down)."""
        placed: NDArray[np.float64] = self._place(point_zyx_mm[None, [self.view.down, self.view.across]])[0]
        return placed

    def packed(self) -> bytes:
        """As JPEG, with the colour of every pixel: outlines are two pixels wide."""
        target = io.BytesIO()
        Image.fromarray(self.pixels).save(target, "JPEG", quality=QUALITY, subsampling=0)
        return target.getvalue()

    def _steps(self) -> NDArray[np.float64]:
        return np.array([self.spacing_mm[self.view.down], self.spacing_mm[self.view.across]])

    def _place(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels (across, down), counted from the corner of the picture, of points (down, across) in mm."""
        down, across = points_mm[:, 0], points_mm[:, 1]
        low, high = self.frame.low_mm, self.frame.high_mm
        rows = high[self.view.down] - down if self.view.head_up else down - low[self.view.down]
        return np.asarray(np.column_stack([across - low[self.view.across], rows]) * self.scale)

    def _warp(self, plane: NDArray[Any], interpolation: int, outside: float) -> NDArray[Any]:
        """The plane resampled to the picture: each pixel's centre is looked up in it. Inverse of `_place`."""
        down_mm, across_mm = self._steps()
        low, high = self.frame.low_mm, self.frame.high_mm
        half = 0.5 / self.scale
        if self.view.head_up:
            first, step = high[self.view.down] - half, -1 / self.scale
        else:
            first, step = low[self.view.down] + half, 1 / self.scale
        matrix = np.array(
            [
                [1 / (self.scale * across_mm), 0, (low[self.view.across] + half) / across_mm],
                [0, step / down_mm, first / down_mm],
            ]
        )
        size = self.pixels.shape[1], self.pixels.shape[0]
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(
                np.ascontiguousarray(plane), matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT,
                borderValue=outside,
            )
        )  # fmt: skip

    def _line(
        self, points: NDArray[np.float64], colour: Colour, width: int, style: LineStyle, *, rim: bool = True
    ) -> None:
        """A line through points (across, down), with a dark rim so that it is seen on white tissue too."""
        # OpenCV counts from the centre of the first pixel.
        pieces = [points] if style == "solid" else _dashes(points, *DASHES[style])
        drawn = [np.rint((piece - 0.5) * 2**BITS).astype(np.int32) for piece in pieces]
        for tint, thickness in ((BLACK, width + 2), (colour, width))[not rim :]:
            cv2.polylines(self.pixels, drawn, False, tint, thickness, cv2.LINE_AA, BITS)


def _contours(plane: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The half-level contours of a mask, in indices (down, across)."""
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not rows.size:
        return []
    inside = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner = np.array([rows[0] - 1, columns[0] - 1])
    return [contour + corner for contour in find_contours(np.pad(inside, 1).astype(np.float32), 0.5)]


def _dashes(points: NDArray[np.float64], drawn: float, left_out: float) -> list[NDArray[np.float64]]:
    """The pieces of a line that a dashed one keeps."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    along = np.linspace(0.0, lengths[-1], max(2, round(lengths[-1]) + 1))
    fine = np.column_stack([np.interp(along, lengths, points[:, axis]) for axis in (0, 1)])
    is_drawn = along % (drawn + left_out) <= drawn
    changes = np.flatnonzero(np.diff(is_drawn)) + 1
    return [piece for piece in np.split(fine, changes)[int(not is_drawn[0]) :: 2] if len(piece)]


def _rgb(colour: str) -> Colour:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf", size)
