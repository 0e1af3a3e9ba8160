"""One panel of a picture: a plane of the scan with outlines, letters and a scale bar.

Panels draw in mm, so that voxels with unequal edges keep their true shape. Colours are those of Okabe and Ito
(https://jfly.uni-koeln.de/color/), which colour-blind people can tell apart; a hatch or a line style always
says the same again.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image

from tumorspread.report.views import Frame, View, Window
from tumorspread.scan.volume import Triple

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
VERMILLION, PURPLE, BLUE, INK = "#D55E00", "#CC79A7", "#0072B2", "#222222"

TRUTH_COLOUR, PREDICTED_COLOUR = SKY, ORANGE
LESION_COLOURS = (ORANGE, SKY, YELLOW, GREEN, PURPLE, VERMILLION)
LESION_LINES: tuple[LineStyle, ...] = ("solid", "dashed", "dotted")
LineStyle = Literal["solid", "dashed", "dotted"]

DPI = 140
TITLE: dict[str, Any] = {"fontsize": 9.5, "color": INK, "pad": 4}
# Channels of a pixel that differ by no more than this are drawn as grey.
GREY_TOLERANCE = 6
# Above this share of coloured pixels a palette shows bands in shaded areas.
MOSTLY_GREY = 0.03
SCALE_BARS_CM = (0.5, 1, 2, 5, 10)


@dataclass(frozen=True)
class Agreement:
    """How voxels where truth and prediction agree or differ are drawn."""

    name: str
    colour: str
    hatch: str


BOTH = Agreement("true positive (both)", GREEN, "")
ONLY_PREDICTED = Agreement("false positive (prediction only)", ORANGE, "////")
ONLY_TRUTH = Agreement("false negative (truth only)", SKY, "....")


@dataclass(frozen=True)
class Panel:
    """Axes that show a plane of a canonical grid; every method takes the full plane (rows, columns).

    Attributes:
        axes: where to draw.
        view: which of the three planes.
        frame: the part that is shown.
        spacing_mm: of the canonical grid, (z, y, x).
    """

    axes: Axes
    view: View
    frame: Frame
    spacing_mm: Triple

    def show(self, plane: NDArray[Any], window: Window) -> None:
        """Draw the plane in grey and fix the limits; to be called first."""
        pixels, rows, columns = self._crop(plane)
        self.axes.imshow(
            pixels,
            cmap="gray",
            vmin=window.low,
            vmax=window.high,
            interpolation="hanning",
            **self._placing(rows, columns),
        )
        first, last = self.frame.low_mm[self.view.down], self.frame.high_mm[self.view.down]
        self.axes.set_xlim(self.frame.low_mm[self.view.across], self.frame.high_mm[self.view.across])
        self.axes.set_ylim(*((first, last) if self.view.head_up else (last, first)))
        self.axes.set_facecolor("black")
        self.axes.set(xticks=[], yticks=[])
        self.axes.spines[:].set_visible(False)

    def outline(self, plane: NDArray[np.bool_], colour: str, style: LineStyle = "solid", width: float = 1.5) -> None:
        """Draw the border of a mask half way between the centres of inner and outer pixels."""
        pixels, rows, columns = _filled(*self._crop(plane))
        if pixels.size:
            places = [np.concatenate([[c[0] - s], c, [c[-1] + s]]) for c, s in self._steps(rows, columns)]
            padded = np.pad(pixels.astype(np.float32), 1)
            self.axes.contour(
                places[1], places[0], padded, levels=[0.5], colors=colour, linestyles=style, linewidths=width
            )

    def fill(self, plane: NDArray[np.bool_], colour: str, alpha: float, hatch: str = "") -> None:
        """Tint the pixels of a mask to their edges, and hatch them."""
        pixels, rows, columns = self._crop(plane)
        if not pixels.any():
            return
        inside, *places = _filled(pixels, rows, columns)
        tint = np.zeros((*inside.shape, 4), np.uint8)
        tint[inside] = np.round(255 * np.array(to_rgba(colour, alpha)))
        self.axes.imshow(tint, interpolation="nearest", **self._placing(*places))
        if hatch and min(pixels.shape) > 1:
            drawn = self.axes.contourf(
                columns, rows, pixels.astype(np.float32), levels=[0.5, 1.5], colors="none", hatches=[hatch]
            )
            drawn.set_edgecolor(colour)
            drawn.set_linewidth(0)

    def segment(self, ends_zyx_mm: NDArray[np.float64], style: LineStyle, label: str) -> None:
        """Draw a straight line between two points (2, 3), named in the panel's legend."""
        down, across = ends_zyx_mm[:, self.view.down], ends_zyx_mm[:, self.view.across]
        halo = [withStroke(linewidth=3, foreground="black")]
        line: dict[str, Any] = {"color": "white", "marker": "o", "markersize": 3, "path_effects": halo}
        self.axes.plot(across, down, linestyle=style, linewidth=1.4, label=label, **line)

    def legend(self) -> None:
        """Name the labelled lines in the upper left corner."""
        box: dict[str, Any] = {
            "facecolor": "black",
            "edgecolor": "none",
            "framealpha": 0.65,
            "labelcolor": "white",
        }
        self.axes.legend(loc="upper left", fontsize=9, handlelength=3, **box)

    def number(self, point_zyx_mm: NDArray[np.float64], text: str, colour: str) -> None:
        """Write a label at the right of a point (z, y, x)."""
        self.axes.annotate(
            text,
            (point_zyx_mm[self.view.across], point_zyx_mm[self.view.down]),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=10,
            fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="black")],
        )

    def mark_frame(self, frame: Frame) -> None:
        """Draw the border of another frame: where the zoomed panels look."""
        corner = (frame.low_mm[self.view.across], frame.low_mm[self.view.down])
        width = frame.high_mm[self.view.across] - corner[0]
        height = frame.high_mm[self.view.down] - corner[1]
        self.axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=1))

    def annotate_sides(self) -> None:
        """Write the letters of the sides of the body at the edges, and a scale bar at the lower left."""
        places = ((0.015, 0.5), (0.985, 0.5), (0.5, 0.985), (0.5, 0.015))
        aligned = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
        for letter, place, (ha, va) in zip(self.view.letters, places, aligned, strict=True):
            self.write(letter, place, ha=ha, va=va, fontweight="bold", fontsize=9)
        self._draw_scale_bar()

    def write(self, text: str, place: tuple[float, float], **style: Any) -> None:
        """Write on the panel at a place given in shares of its width and height."""
        halo = [withStroke(linewidth=2.5, foreground="black")]
        self.axes.text(*place, text, transform=self.axes.transAxes, color="white", path_effects=halo, **style)

    def _draw_scale_bar(self) -> None:
        low, high = self.frame.low_mm[self.view.across], self.frame.high_mm[self.view.across]
        fitting = [cm for cm in SCALE_BARS_CM if cm * 10 <= 0.3 * (high - low)]
        length_cm = fitting[-1] if fitting else SCALE_BARS_CM[0]
        share = length_cm * 10 / (high - low)
        halo = [withStroke(linewidth=5, foreground="black")]
        self.axes.plot(
            [0.03, 0.03 + share],
            [0.035, 0.035],
            transform=self.axes.transAxes,
            color="white",
            linewidth=2.5,
            solid_capstyle="butt",
            path_effects=halo,
        )
        self.write(f"{length_cm:g} cm", (0.03, 0.05), ha="left", va="bottom", fontsize=7.5)

    def _crop(self, plane: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
        """The pixels within the frame and the places of their centres in mm, down and across."""
        spans = []
        for axis, count in ((self.view.down, plane.shape[0]), (self.view.across, plane.shape[1])):
            step = self.spacing_mm[axis]
            start = int(np.clip(np.floor(self.frame.low_mm[axis] / step), 0, count - 1))
            stop = int(np.clip(np.ceil(self.frame.high_mm[axis] / step) + 1, start + 1, count))
            spans.append(np.arange(start, stop))
        rows, columns = spans
        pixels = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        down_mm, across_mm = self.spacing_mm[self.view.down], self.spacing_mm[self.view.across]
        return pixels, np.asarray(rows * down_mm, float), np.asarray(columns * across_mm, float)

    def _steps(
        self, rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> tuple[tuple[NDArray[np.float64], float], tuple[NDArray[np.float64], float]]:
        return (rows, self.spacing_mm[self.view.down]), (columns, self.spacing_mm[self.view.across])

    def _placing(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> dict[str, Any]:
        """Where `imshow` puts the pixels: their outer edges in mm, the first row at the smallest place."""
        (first, last), (left, right) = ((c[0] - s / 2, c[-1] + s / 2) for c, s in self._steps(rows, columns))
        return {"extent": (left, right, first, last), "origin": "lower", "aspect": "equal"}


def agreement_planes(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> tuple[tuple[Agreement, NDArray[np.bool_]], ...]:
    """Where both masks, only the prediction and only the truth hold tumour, with how each is drawn."""
    return (BOTH, truth & predicted), (ONLY_PREDICTED, predicted & ~truth), (ONLY_TRUTH, truth & ~predicted)


def _filled(
    pixels: NDArray[np.bool_], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Those rows and columns of a mask alone between its first and last pixel; none of an empty one."""
    down, across = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    inside = [slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0) for hit in (down, across)]
    return pixels[inside[0], inside[1]], rows[inside[0]], columns[inside[1]]


def legend_patch(agreement: Agreement, text: str) -> Patch:
    """The entry of a legend for a kind of agreement."""
    return Patch(facecolor=to_rgba(agreement.colour, 0.55), edgecolor=INK, hatch=agreement.hatch, label=text)


def lesion_style(number: int) -> tuple[str, LineStyle]:
    """Colour and line of a lesion's outline by its id (from 1); lines change when the colours come again."""
    turn = (number - 1) // len(LESION_COLOURS)
    return LESION_COLOURS[(number - 1) % len(LESION_COLOURS)], LESION_LINES[turn % len(LESION_LINES)]


def to_png(figure: Figure) -> bytes:
    """The figure as PNG; a nearly grey one with a palette, at half the size, so that a report stays small."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    red, green, blue = np.moveaxis(pixels, 2, 0)
    # A seventh of the time of `ptp` along the last axis.
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    coloured = spread > GREY_TOLERANCE
    few = coloured.mean() < MOSTLY_GREY
    picture = _with_palette(pixels, coloured) if few else Image.fromarray(pixels)
    target = io.BytesIO()
    # Half the time of the default level for a twentieth more bytes.
    picture.save(target, "PNG", compress_level=4)
    return target.getvalue()


def _with_palette(pixels: NDArray[np.uint8], coloured: NDArray[np.bool_]) -> Image.Image:
    """Half of the palette are greys, two levels apart, which no eye sees; the other half fits the colours."""
    indices = pixels[..., 1] // 2
    palette = np.repeat(np.arange(128) * 255 // 127, 3).tolist()
    if coloured.any():
        tinted = Image.fromarray(pixels[coloured][None])
        # Off by 10 levels at most, where a median cut lost the legend's small patches by 79.
        fitted = tinted.quantize(128, method=Image.Quantize.MAXCOVERAGE)
        tints = tinted.quantize(palette=fitted, dither=Image.Dither.NONE)
        indices[coloured] = 128 + np.asarray(tints).ravel()
        palette += fitted.getpalette() or []
    picture = Image.fromarray(indices, "P")
    picture.putpalette(palette)
    return picture
