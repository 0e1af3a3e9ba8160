"""One real scan through tumorspread, MONAI and nnU-Net, with the same weights and spacing: seconds, memory, masks.

Each program runs in a process of its own (`peers.py`), one after the other, its network loaded and the scan's file in
the system's cache. Two spacings: that of the weights, and the scan's own, at which the field's nets are run. The last
lines are `name value`; --append adds a section to docs/benchmarks.md.
Usage: python bench/inference.py SCAN --peers PYTHON [--weights W] [--spacing own weights] [--int8] [--monai-default]
       [--same-tiles] [--append FILE]
PYTHON is that of a virtual environment with tumorspread and nnunetv2 (`make bench-inference` makes it).
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tumorspread.measurement.lungs import segment_lungs
from tumorspread.model.detect import find_lungs
from tumorspread.model.preprocess import plan_way
from tumorspread.model.weights import load_weights
from tumorspread.model.zoo import find_weights
from tumorspread.scan.read import read, read_mask

PEERS = Path(__file__).with_name("peers.py")


def run(python: str, program: str, scan: Path, weights: Path, spacing: str, precision: str = "") -> dict:
    """One program's figures and mask."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / scan.name
        argv = [python, "-W", "ignore", str(PEERS), program, str(scan), str(weights), str(out), "--spacing", spacing]
        done = subprocess.run(
            [*argv, *(["--precision", precision] if precision else [])], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{program} failed:\n{done.stderr[-3000:]}")
        figures = json.loads(done.stdout.splitlines()[-1])
        figures["mask"] = read_mask(out, read(scan)).voxels > 0
    figures["total"] = sum(figures["seconds"].values())
    shown = "  ".join(f"{name} {seconds:.1f}" for name, seconds in figures["seconds"].items())
    line = (
        f"{program + ' ' + precision:14} {figures['total']:8.1f} s {figures['peak_gib']:6.2f} GiB {figures['tiles']:5}"
    )
    figures["line"] = f"{line} tiles  {shown}"
    print(figures["line"], flush=True)
    return figures


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks; 1 where both are empty."""
    size = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / size if size else 1.0


def reach_of_lungs(scan: Path, weights: Path) -> np.ndarray:
    """Where the weights have learned anything, on the scan's grid: elsewhere the peers' masks hold noise."""
    volume = read(scan)
    way = plan_way(volume, load_weights(weights)[1].preprocess)
    lungs = find_lungs(segment_lungs(volume).labels, way)
    if lungs is None:
        sys.exit(f"{scan.name}: no lungs were found")
    return way.mask_back(lungs.near.astype(np.float32), 0.5).voxels


def compare(
    scan: Path,
    weights: Path,
    spacing: str,
    python: str,
    precisions: list[str],
    peers: tuple[str, ...],
    same_tiles: bool,
) -> tuple[dict[str, float], list[str]]:
    """Figures at one spacing, and the lines of the table."""
    print(f"\n{scan.name} at the spacing of the {'scan' if spacing == 'own' else 'weights'}")
    ours = {p: run(sys.executable, "ours", scan, weights, spacing, p) for p in precisions}
    near = reach_of_lungs(scan, weights)
    theirs = {name: run(python, name, scan, weights, spacing) for name in peers}
    found = {}
    for name, peer in theirs.items():
        for precision, own in ours.items():
            found[f"speedup_vs_{name}_{precision}"] = peer["total"] / own["total"]
        found[f"dice_vs_{name}"] = dice(ours[precisions[0]]["mask"] & near, peer["mask"] & near)
    # Their tiles, our engine: what the places of the tiles do is the same in both.
    for name in ("monai", "nnunet") if same_tiles else ():
        theirs[f"ours_in_{name}"] = same = run(python, f"ours_in_{name}", scan, weights, spacing, precisions[0])
        found[f"dice_vs_{name}_same_tiles"] = dice(same["mask"] & near, theirs[name]["mask"] & near)
    # How far the peers themselves agree: the answer changes with the place of the tiles.
    found["dice_nnunet_vs_monai"] = dice(theirs["nnunet"]["mask"] & near, theirs["monai"]["mask"] & near)
    peak = min(theirs[name]["peak_gib"] for name in peers)
    found["peak_memory_ratio"] = max(own["peak_gib"] for own in ours.values()) / peak
    return found, [one["line"] for one in (*ours.values(), *theirs.values())]


def main() -> None:
    """Run all and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--peers", required=True, help="Python of the environment of the peers")
    parser.add_argument("--weights", default="lung")
    parser.add_argument("--spacing", nargs="+", choices=("own", "weights"), default=["weights", "own"])
    parser.add_argument("--int8", action="store_true", help="also int8; make its model with `tumorspread quantise`")
    parser.add_argument("--monai-default", action="store_true", help="also MONAI with tiles that overlap by a quarter")
    parser.add_argument("--same-tiles", action="store_true", help="also the peers' roads and tiles with our engine")
    parser.add_argument("--append", type=Path)
    asked = parser.parse_args()
    weights = find_weights(asked.weights)
    precisions = ["bf16", *(["int8"] if asked.int8 else [])]
    peers = ("monai", *(["monai_default"] if asked.monai_default else []), "nnunet")
    text = [f"\n## {datetime.date.today()}, {processor()}\n"]
    for spacing in asked.spacing:
        figures, lines = compare(asked.scan, weights, spacing, asked.peers, precisions, peers, asked.same_tiles)
        printed = [f"{name} {value:.3f}" for name, value in figures.items()]
        print("\n".join(printed))
        head = f"{asked.scan.name}, {weights.name}, spacing of the {'scan' if spacing == 'own' else 'weights'}:\n"
        text += [head, "```", *lines, *printed, "```\n"]
    if asked.append:
        with asked.append.open("a", encoding="utf-8") as file:
            file.write("\n".join(text))


def processor() -> str:
    """The machine's name for a table: its processor and the number of its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


if __name__ == "__main__":
    main()
