"""A real lung tumour: what the weights that come with the package find, beside what an oncologist drew.

Fetches the sample patient, so it needs a network. Usage: python examples/real_tumour.py NEW_FOLDER [WEIGHTS]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from commands import run_command, try_command
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tumorspread import Volume, read, read_mask
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.metrics import compare_masks
from tumorspread.report.folder import write_picture
from tumorspread.report.panel import DPI, INK, PREDICTED_COLOUR, TITLE, TRUTH_COLOUR, Panel, to_png
from tumorspread.report.tables import DASH, quantity, rounded
from tumorspread.report.views import AXIAL, LUNG, Frame, bounding_box, canonical, file_slice

PLACES = (0.25, 0.5, 0.75)
OURS, THEIRS = "tumorspread", "oncologist"


@dataclass(frozen=True)
class RealTumour:
    """What came out: files to look at, and the figures by name."""

    files: tuple[Path, ...]
    figures: dict[str, float]


def show_real_tumour(folder: Path, weights: str = "lung") -> RealTumour | None:
    """Find, measure and picture the tumour of the sample patient; None where he cannot be fetched."""
    sample, model, oncologist = folder / "sample", folder / "model", folder / "oncologist"
    if try_command(f"data fetch sample -o {sample}"):
        print("\nThe real tumour was left out, since the sample patient could not be fetched.", flush=True)
        return None
    run_command(f"analyse {sample}/ct -o {model} --weights {weights}")
    run_command(f"measure {sample}/ct {sample}/rtstruct.dcm -o {oncologist}")
    found, drawn = (Findings.from_json((place / "findings.json").read_text()) for place in (model, oncologist))
    scan = read(sample / "ct")
    ours, theirs = (read_mask(place / "mask.nii.gz", scan) for place in (model, oncologist))
    dice = compare_masks(ours, theirs).dice or 0.0
    print_table(found, drawn)
    print(f"{'Dice of both':<24}{dice:>12.3f}")
    print(f"\nThe sample is licensed for non-commercial use alone: {sample / 'LICENCE.txt'}")
    picture = outlines_figure(scan, ours, theirs, f"Sample patient, lung window · Dice {dice:.2f}")
    write_picture(picture, folder / "beside.png")
    figures = {
        "sample_dice": dice,
        "sample_volume_ml": found.burden.volume_ml,
        "sample_volume_oncologist_ml": drawn.burden.volume_ml,
    }
    return RealTumour((folder / "beside.png", model / "report.html", oncologist / "report.html"), figures)


def print_table(found: Findings, drawn: Findings) -> None:
    print(f"\n{'A real tumour':<24}{OURS:>12}{THEIRS:>12}")
    columns = [cells(found), cells(drawn)]
    for name in columns[0]:
        print(f"{name:<24}{columns[0][name]:>12}{columns[1][name]:>12}")


def cells(findings: Findings) -> dict[str, str]:
    """What the table says about one mask, by row; of the measures those of the largest lesion."""
    largest = findings.lesions[0] if findings.lesions else None
    return {
        "lesions": str(findings.burden.count),
        "volume of all, mL": rounded(findings.burden.volume_ml),
        "largest: volume, mL": rounded(largest and largest.volume_ml),
        "largest: long axis, mm": rounded(largest and largest.long_axis_mm),
        "largest: short axis, mm": rounded(largest and largest.short_axis_mm),
        "largest: lung": (largest and largest.side) or DASH,
    }


def outlines_figure(scan: Volume, ours: Volume, theirs: Volume, title: str) -> bytes:
    """Axial slices a quarter, half and three quarters through the oncologist's tumour, with both outlines."""
    turned, (found, drawn) = canonical(scan, ours, theirs)
    height, *plane = bounding_box(drawn)
    frame = Frame.around((slice(height.start, height.start + 1), *plane), turned.spacing_mm)
    figure = Figure(figsize=(11, 4.5), dpi=DPI, layout="constrained")
    for axes, place in zip(figure.subplots(1, len(PLACES)), PLACES, strict=True):
        index = round(height.start + place * (height.stop - 1 - height.start))
        panel = Panel(axes, AXIAL, frame, turned.spacing_mm)
        panel.show(turned.voxels[index], LUNG)
        panel.outline(drawn[index], TRUTH_COLOUR, "dashed", width=2.0)
        panel.outline(found[index], PREDICTED_COLOUR)
        panel.annotate_sides()
        axes.set_title(f"axial, slice {file_slice(scan, turned, index)}", **TITLE)
    figure.suptitle(title, fontsize=11.5, fontweight="bold", color=INK)
    entries = [
        Line2D([], [], color=colour, linestyle=style, linewidth=2, label=f"{name}: {volume(mask)}")
        for name, mask, colour, style in (
            (THEIRS, theirs, TRUTH_COLOUR, "dashed"),
            (OURS, ours, PREDICTED_COLOUR, "solid"),
        )
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=2, frameon=False, fontsize=9.5)
    return to_png(figure)


def volume(mask: Volume) -> str:
    return quantity(float(np.count_nonzero(mask.voxels)) * mask.voxel_ml, "mL")


if __name__ == "__main__":
    shown = show_real_tumour(Path(sys.argv[1]), *sys.argv[2:3])
    for name, value in shown.figures.items() if shown else ():
        print(f"{name} {value:.4g}")
