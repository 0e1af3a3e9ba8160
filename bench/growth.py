"""How time and memory grow with the number of slices: one chest in 50 to 1,600 slices, and a plot.

The slices of a real scan are drawn closer together or further apart over the same chest, and `tumorspread bench` times
each, in a process of its own. Prints a table, then lines `name value`: the slope of a straight line and how much of
the growth it explains, and the peak at 2,000 slices. --append adds a section to a file.
Usage: python bench/growth.py SCAN [--out docs/growth.png] [--slices 50 100 ...] [--append FILE]
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from inference import processor
from matplotlib.figure import Figure

from tumorspread import Volume, read
from tumorspread.report.folder import write_picture
from tumorspread.report.panel import to_png
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.resampling import Resampling

SLICES = (50, 100, 200, 400, 800, 1600)
MOST = 2000


def main(scan: Path, out: Path, counts: list[int]) -> list[str]:
    """Measure, print, draw; gives the printed lines."""
    volume, shown = read(scan), [f"{'slices':>8}{'total s':>10}{'network s':>11}{'peak GiB':>10}"]
    print(shown[0])
    rows = []
    for count in [*counts, MOST]:
        rows.append(measure(volume, count))
        shown.append("{:8.0f}{:10.2f}{:11.2f}{:10.2f}".format(*rows[-1]))
        print(shown[-1], flush=True)
    found = np.array(rows[:-1])
    slices, total, network, peak = found.T
    lines, figures = {}, []
    for name, values in {"total_s": total, "not_network_s": total - network, "peak_gib": peak}.items():
        slope, start = np.polyfit(slices, values, 1)
        rest = values - (slope * slices + start)
        figures.append(f"{name}_per_100_slices {100 * slope:.3f}")
        figures.append(f"{name}_line_r2 {1 - (rest**2).sum() / ((values - values.mean()) ** 2).sum():.4f}")
        lines[name] = (slope, start)
    write_picture(draw(found, lines), out)
    figures.append(f"peak_gib_{MOST}_slices {rows[-1][3]:.3f}")
    print("\n".join(figures))
    return [*shown, *figures]


def measure(volume: Volume, count: int) -> tuple[float, float, float, float]:
    """Slices, seconds in all and of the network, GiB at the most."""
    step = Resampling(volume.shape, (count, *volume.shape[1:]))
    thick = step.apply(volume)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scan.nii.gz"
        write_nifti(thick.with_voxels(np.round(thick.voxels).astype(np.int16)), file)
        del thick
        argv = [sys.executable, "-m", "tumorspread", "bench", str(file), "--repeat", "2", "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{count} slices: {done.stderr.strip()}")
    figures = json.loads(done.stdout)
    return float(count), figures["total_s"], figures["network_s"], figures["peak_gib"]


def draw(found: np.ndarray, lines: dict[str, tuple[float, float]]) -> bytes:
    """Two panels: seconds and GiB over slices, with their straight lines."""
    slices, total, network, peak = found.T
    figure = Figure(figsize=(9, 3.8), dpi=110, layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    ends = np.array([0, slices.max()])
    for axes, values, name, label in (
        (seconds, total, "total_s", "from file to report"),
        (seconds, total - network, "not_network_s", "all but the network"),
        (memory, peak, "peak_gib", "most memory"),
    ):
        (line,) = axes.plot(ends, lines[name][0] * ends + lines[name][1], linewidth=1)
        axes.plot(slices, values, "o", color=line.get_color(), label=label)
    seconds.plot(slices, network, "s", color="grey", label="network", markersize=4)
    for axes, title in ((seconds, "seconds"), (memory, "GiB")):
        axes.set(xlabel="slices of 512 x 512", title=title, ylim=(0, None), xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(f"tumorspread analyse, {processor()}", fontsize=10)
    return to_png(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/growth.png"))
    parser.add_argument("--slices", type=int, nargs="+", default=list(SLICES))
    parser.add_argument("--append", type=Path)
    asked = parser.parse_args()
    section = main(asked.scan, asked.out, asked.slices)
    if asked.append:
        head = f"\n## {datetime.date.today()}, {processor()}, growth, {asked.scan.name}\n"
        with asked.append.open("a", encoding="utf-8") as file:
            file.write("\n".join([head, "```", *section, "```\n"]))
