"""How time and memory grow with the number of slices: one chest in 50 to 1,600 slices, and a plot.

The slices of a real scan are drawn closer together or further apart over the same chest, and `tumorspread bench` times
each, in a process of its own. Prints a table, then lines `name value`: the slope of a straight line and how much of
the growth it explains, and the peak at 2,000 slices.
Usage: python bench/growth.py SCAN [--out docs/growth.png] [--slices 50 100 ...]
"""

from __future__ import annotations

import argparse
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


def main(scan: Path, out: Path, counts: list[int]) -> None:
    """Measure, print, draw."""
    volume = read(scan)
    print(f"{'slices':>8}{'total s':>10}{'network s':>11}{'peak GiB':>10}")
    found = np.array([measure(volume, count) for count in counts])
    slices, total, network, peak = found.T
    lines = {}
    for name, values in {"total_s": total, "not_network_s": total - network, "peak_gib": peak}.items():
        slope, start = np.polyfit(slices, values, 1)
        rest = values - (slope * slices + start)
        print(f"{name}_per_100_slices {100 * slope:.3f}")
        print(f"{name}_line_r2 {1 - (rest**2).sum() / ((values - values.mean()) ** 2).sum():.4f}")
        lines[name] = (slope, start)
    write_picture(draw(found, lines), out)
    print(f"peak_gib_{MOST}_slices {measure(volume, MOST)[3]:.3f}")


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
    row = (float(count), figures["total_s"], figures["network_s"], figures["peak_gib"])
    print(f"{count:>8}{row[1]:>10.2f}{row[2]:>11.2f}{row[3]:>10.2f}", flush=True)
    return row


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
    asked = parser.parse_args()
    main(asked.scan, asked.out, asked.slices)
