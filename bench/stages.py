"""All that is not the network, stage by stage, against the call that the field usually makes for it.

One real scan and 20 drawn lesions on its grid, all in one process and in turns, the best of some; seconds by the clock
and of the processor, since only the latter mean something on a machine that others use too. Before anything is timed,
what both sides give is compared where they should agree. Prints a table, then lines `name value`; --append adds a
section to a file.
Usage: python bench/stages.py SCAN [--turns 3] [--append FILE]
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from inference import processor
from measure import LESIONS, deepmind_metrics, draw_lesions, monai_metrics, perturbed
from monai.transforms import EnsureChannelFirst, LoadImage, SaveImage, Spacing
from scipy import ndimage
from skimage.segmentation import clear_border
from skimage.transform import resize

from tumorspread import Volume, read
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.measurement.metrics import compare_masks
from tumorspread.measurement.pieces import label_lesions
from tumorspread.measurement.room import distance_to_lungs
from tumorspread.model.preprocess import PreprocessConfig, Way, plan_way, prepare_scan
from tumorspread.model.weights import load_weights
from tumorspread.model.zoo import find_weights
from tumorspread.scan.nifti import write_nifti

Work = Callable[[], Any]
AIR_HU, SEED = -320, 3
# That of the usual few lines keeps the airways, and closes what it closes by other rules.
LEAST_LUNG_DICE = 0.9
# As `resample_data_or_seg` of nnU-Net calls it, in float64.
NNUNET = {"mode": "edge", "anti_aliasing": False}


@dataclass(frozen=True)
class Stage:
    """A stage, ours and the peers'.

    Attributes:
        name: of the stage.
        ours: our call.
        peers: calls of others, by what they are; the first is the one that the sum counts.
    """

    name: str
    ours: Work
    peers: dict[str, Work]


def main(scan: Path, turns: int) -> list[str]:
    """Measure and print; gives the printed lines."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [timed(stage, turns) for stage in stages(scan, Path(folder))]
    lines = [f"{'stage':<11}{'ours s':>8}{'cpu s':>7}   peer s   cpu s  ratio  peer"]
    for name, (wall, cpu), peers in rows:
        for place, (peer, (peer_wall, peer_cpu)) in enumerate(peers.items()):
            left = f"{name:<11}{wall:8.3f}{cpu:7.3f}" if place == 0 else " " * 26
            lines.append(f"{left} {peer_wall:8.3f}{peer_cpu:8.3f}{peer_cpu / cpu:7.1f}  {peer}")
    ours = np.sum([own for _, own, _ in rows], axis=0)
    theirs = np.sum([next(iter(peers.values())) for _, _, peers in rows], axis=0)
    lines += [f"stages_s {ours[0]:.3f}", f"stages_cpu_s {ours[1]:.3f}", f"stages_peers_s {theirs[0]:.3f}"]
    lines += [f"stages_speedup {theirs[0] / ours[0]:.1f}", f"stages_speedup_cpu {theirs[1] / ours[1]:.1f}"]
    print("\n".join(lines))
    return lines


def stages(scan: Path, folder: Path) -> Iterator[Stage]:
    """Each stage with its input at hand."""
    volume = read(scan)
    config = load_weights(find_weights("lung"))[1].preprocess
    yield from of_scan(scan, volume, config)
    way, sides = plan_way(volume, config), segment_lungs(volume).labels
    theirs = scipy_lungs(volume)
    share = 2 * np.count_nonzero(theirs & (sides > 0)) / (theirs.sum() + np.count_nonzero(sides))
    expect(share > LEAST_LUNG_DICE, f"the lungs (Dice {share:.3f})")
    del theirs
    usual: dict[str, Work] = {"scipy: threshold, label, closing": lambda: scipy_lungs(volume)}
    yield Stage("lungs", lambda: segment_lungs(volume), usual)
    yield distances(way.sample(way.turn.apply_array(sides)), way.target_spacing_mm)
    drawn = Volume(draw_lesions(volume.shape, volume.spacing_mm, np.random.default_rng(SEED)), volume.affine)
    yield from of_masks(drawn, volume, way, folder)


def of_scan(scan: Path, volume: Volume, config: PreprocessConfig) -> Iterator[Stage]:
    """The stages before the network."""
    image = EnsureChannelFirst()(LoadImage(image_only=True)(scan))
    expect(np.array_equal(volume.voxels, np.asarray(image)[0].transpose(2, 1, 0)), "the voxels read")
    reading: dict[str, Work] = {
        "MONAI LoadImage": lambda: LoadImage(image_only=True)(scan),
        "nibabel get_fdata": lambda: nib.load(scan).get_fdata(),
    }
    yield Stage("read", lambda: read(scan), reading)
    spline = partial(resize, output_shape=plan_way(volume, config).step.target, order=3, **NNUNET)
    space = Spacing(pixdim=config.spacing_mm[::-1], mode="bilinear")
    resampling: dict[str, Work] = {
        "nnU-Net's: skimage resize, order 3": lambda: spline(volume.voxels.astype(float)),
        "MONAI Spacing, linear": lambda: space(image),
    }
    yield Stage("resample", lambda: prepare_scan(volume, config), resampling)


def of_masks(drawn: Volume, volume: Volume, way: Way, folder: Path) -> Iterator[Stage]:
    """The stages after the network: the way back, pieces, metrics, files."""
    likely = np.ascontiguousarray(way.sample(way.turn.apply_array(drawn.voxels)), np.float32)
    logits = np.stack([-likely, likely]).astype(float)

    def nnunet_back() -> np.ndarray:
        return np.stack([resize(one, volume.shape, order=1, **NNUNET) for one in logits]).argmax(0)

    yield Stage("back", lambda: way.mask_back(likely, 0.5), {"nnU-Net's: skimage resize, order 1": nnunet_back})
    around = np.ones((3, 3, 3))
    expect(label_lesions(drawn).voxels.max() == ndimage.label(drawn.voxels, around)[1] == LESIONS, "the pieces")
    pieces: dict[str, Work] = {"scipy.ndimage.label": lambda: ndimage.label(drawn.voxels, around)}
    yield Stage("components", lambda: label_lesions(drawn), pieces)
    guess = perturbed(drawn)
    ours, theirs = compare_masks(guess, drawn), monai_metrics(guess, drawn)
    expect(np.allclose((ours.dice, ours.hd95_mm, ours.nsd_2mm), theirs, rtol=1e-4), "the metrics")
    metrics: dict[str, Work] = {
        "MONAI: Dice, HD95, NSD": lambda: monai_metrics(guess, drawn),
        "surface-distance: the same three": lambda: deepmind_metrics(guess, drawn),
    }
    yield Stage("metrics", lambda: compare_masks(guess, drawn), metrics)
    image = nib.Nifti1Image(drawn.voxels.transpose(2, 1, 0), np.eye(4))
    saver = SaveImage(folder, output_postfix="", output_dtype=np.uint8, separate_folder=False, print_log=False)
    writing: dict[str, Work] = {
        "nibabel, level 6": lambda: save_at_level(image, folder / "nibabel.nii.gz", 6),
        "nibabel save": lambda: nib.save(image, folder / "nibabel.nii.gz"),
        "MONAI SaveImage": lambda: saver(drawn.voxels[None].transpose(0, 3, 2, 1)),
    }
    yield Stage("write mask", lambda: write_nifti(drawn, folder / "ours.nii.gz"), writing)
    full = nib.Nifti1Image(volume.voxels.transpose(2, 1, 0), np.eye(4))
    writing = {
        "nibabel, level 6": lambda: save_at_level(full, folder / "nibabel.nii.gz", 6),
        "nibabel save": lambda: nib.save(full, folder / "nibabel.nii.gz"),
    }
    yield Stage("write CT", lambda: write_nifti(volume, folder / "ours.nii.gz"), writing)


def distances(sides: np.ndarray, spacing_mm: tuple[float, float, float]) -> Stage:
    """How far each voxel of the network's grid lies from the lungs; scipy is given the hulls."""
    far = distance_to_lungs(sides, spacing_mm)
    outside = far > 0
    theirs = ndimage.distance_transform_edt(outside, sampling=spacing_mm)
    expect(np.allclose(far, theirs, atol=1e-3), "the distances")
    work = partial(ndimage.distance_transform_edt, outside, sampling=spacing_mm)
    return Stage("distances", lambda: distance_to_lungs(sides, spacing_mm), {"scipy distance_transform_edt": work})


def scipy_lungs(volume: Volume) -> np.ndarray:
    """Lungs by the usual few lines at full resolution: air that touches no edge of a slice, two pieces, closed."""
    air = np.stack([clear_border(plane) for plane in volume.voxels < AIR_HU])
    labels, count = ndimage.label(air)
    sizes = ndimage.sum_labels(air, labels, range(1, count + 1))
    lungs = np.isin(labels, 1 + np.argsort(sizes)[-2:])
    closed = ndimage.binary_closing(lungs, iterations=5)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])


def save_at_level(image: nib.Nifti1Image, path: Path, level: int) -> None:
    """As `nibabel.save`, whose own level is 1 since its version 5; 6 is that of gzip and of most other tools."""
    with nib.openers.Opener(str(path), "wb", compresslevel=level) as stream:
        image.to_stream(stream)


def timed(stage: Stage, turns: int) -> tuple[str, tuple[float, float], dict[str, tuple[float, float]]]:
    """Seconds by the clock and of the processor, ours and the peers', the best of their turns."""
    works = {"": stage.ours, **stage.peers}
    best = dict.fromkeys(works, (np.inf, np.inf))
    for _ in range(turns):
        for name, work in works.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            now = (time.perf_counter() - wall, time.process_time() - cpu)
            best[name] = (min(best[name][0], now[0]), min(best[name][1], now[1]))
    return stage.name, best.pop(""), best


def expect(agrees: Any, what: str) -> None:
    """End the run where both sides do not agree: their times would mean nothing."""
    if not agrees:
        sys.exit(f"ours and the peers' differ: {what}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--append", type=Path)
    asked = parser.parse_args()
    found = main(asked.scan, asked.turns)
    if asked.append:
        head = f"\n## {datetime.date.today()}, {processor()}, all but the network, {asked.scan.name}\n"
        with asked.append.open("a", encoding="utf-8") as file:
            file.write("\n".join([head, "```", *found, "```\n"]))
