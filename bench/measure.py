"""Measuring against its peers, on one case of 512 x 512 x 280 voxels with 20 lesions.

Dice, HD95 and NSD at 2 mm of one pair of masks: here, by MONAI's three calls, and by DeepMind's surface-distance;
all lesion measures; the lungs. Times are the best of some runs, in one process and on two threads, since only the
ratios mean something on a shared machine. Prints plain lines `name value`.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice
from monai.metrics.surface_dice import compute_surface_dice
from scipy import ndimage
from surface_distance import metrics as deepmind

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.measurement.lesions import measure_lesions
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.measurement.metrics import NSD_TOLERANCE_MM, compare_masks
from tumorspread.measurement.pieces import label_lesions
from tumorspread.measurement.place import locate_lesions
from tumorspread.measurement.spread import measure_spread, sum_burden
from tumorspread.measurement.staging import propose_stage
from tumorspread.scan.volume import Volume

SHAPE, SPACING_MM = (280, 512, 512), (1.25, 0.7, 0.7)
LESIONS, SEED = 20, 3


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(2)
    scan, truth = make_case()
    guess = perturbed(truth)
    ours_s, ours = best_of(3, lambda: compare_masks(guess, truth))
    monai_s, theirs = best_of(1, lambda: monai_metrics(guess, truth))
    deepmind_s, _ = best_of(1, lambda: deepmind_metrics(guess, truth))
    differences = [abs(a - b) for a, b in zip((ours.dice, ours.hd95_mm, ours.nsd_2mm), theirs, strict=True)]
    lungs_s, lungs = best_of(3, lambda: segment_lungs(scan))
    measure_s, lesions = best_of(3, lambda: measure_all(scan, truth, lungs))
    assert len(lesions) == LESIONS
    print(f"metrics_s {ours_s:.3f}")
    print(f"metrics_monai_s {monai_s:.3f}")
    print(f"metrics_surface_distance_s {deepmind_s:.3f}")
    print(f"measure_peak_over_scan {peak_bytes(lambda: measure_all(scan, truth, lungs)) / scan.voxels.nbytes:.2f}")
    print(f"metrics_speedup_vs_monai {monai_s / ours_s:.1f}")
    print(f"metrics_speedup_vs_surface_distance {deepmind_s / ours_s:.1f}")
    print(f"metrics_max_difference_vs_monai {max(differences):.2g}")
    print(f"measure_20_lesions_s {measure_s:.3f}")
    print(f"lungs_s {lungs_s:.3f}")


def make_case() -> tuple[Volume, Volume]:
    """A synthetic chest at full resolution, and a mask of 20 ellipsoids of 8 to 40 mm that do not touch."""
    phantom = make_phantom(SEED, PhantomConfig(spacing_mm=(5.0, 2.8, 2.8), extent_mm=(350.0, 358.4, 358.4)))
    rows = np.stack([cv2.resize(p.astype(np.float32), SHAPE[:0:-1]) for p in phantom.scan.voxels])
    voxels = np.empty(SHAPE, np.int16)
    rng = np.random.default_rng(SEED)
    for z, place in enumerate(np.linspace(0, len(rows) - 1, SHAPE[0])):
        low, part = int(place), place % 1
        plane = rows[low] if part == 0 else (1 - part) * rows[low] + part * rows[low + 1]
        voxels[z] = plane + rng.normal(0, 20, plane.shape)
    mask = draw_lesions(SHAPE, SPACING_MM, rng)
    return Volume.upright(voxels, SPACING_MM), Volume.upright(mask, SPACING_MM)


def draw_lesions(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A mask of 20 ellipsoids of 8 to 40 mm that do not touch."""
    mask = np.zeros(shape, np.uint8)
    spacing, placed = np.array(spacing_mm), 0
    while placed < LESIONS:
        radii = rng.uniform(4, 20, 3) / spacing
        centre = rng.uniform(0.2, 0.8, 3) * shape
        box = tuple(slice(int(c - r) - 3, int(c + r) + 4) for c, r in zip(centre, radii, strict=True))
        if mask[box].any():
            continue
        index = np.stack(np.meshgrid(*[np.arange(b.start, b.stop) for b in box], indexing="ij"), -1)
        mask[box] |= (((index - centre) / radii) ** 2).sum(-1) <= 1
        placed += 1
    return mask


def perturbed(truth: Volume) -> Volume:
    """A prediction that is a little off everywhere: shifted, with a ragged edge and one false lesion."""
    rng = np.random.default_rng(SEED)
    moved = np.roll(truth.voxels, (1, 2, -2), (0, 1, 2)).astype(bool)
    edge = ndimage.binary_dilation(moved) & ~moved
    guess = moved | (edge & (rng.random(edge.shape, np.float32) < 0.4))
    guess[20:26, 40:50, 40:50] = True
    return truth.with_voxels(guess.astype(np.uint8))


def measure_all(scan: Volume, mask: Volume, lungs: Any) -> Any:
    """Every measure of every lesion and of all together, from the mask on."""
    labels = label_lesions(mask)
    lesions = measure_lesions(scan, labels, lungs.labels, lungs.volumes)
    lesions = locate_lesions(lesions, labels, lungs.labels, lungs.volumes)
    sum_burden(lesions, lungs.volumes)
    measure_spread(lesions, lungs.volumes)
    propose_stage(lesions)
    return lesions


def monai_metrics(guess: Volume, truth: Volume) -> tuple[float, float, float]:
    """Dice, HD95 and NSD by MONAI."""
    one, other = (torch.from_numpy(v.voxels[None, None].astype(np.float32)) for v in (guess, truth))
    options = {"include_background": True, "spacing": list(truth.spacing_mm)}
    dice = compute_dice(one, other, include_background=True)
    hd95 = compute_hausdorff_distance(one, other, percentile=95, **options)
    nsd = compute_surface_dice(one, other, [NSD_TOLERANCE_MM], **options)
    return float(dice), float(hd95), float(nsd)


def deepmind_metrics(guess: Volume, truth: Volume) -> tuple[float, float, float]:
    """Dice, HD95 and NSD by surface-distance, whose definitions weigh by area and differ by some percent."""
    one, other = truth.voxels.astype(bool), guess.voxels.astype(bool)
    distances = deepmind.compute_surface_distances(one, other, truth.spacing_mm)
    return (
        deepmind.compute_dice_coefficient(one, other),
        deepmind.compute_robust_hausdorff(distances, 95),
        deepmind.compute_surface_dice_at_tolerance(distances, NSD_TOLERANCE_MM),
    )


def best_of(runs: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest run, and what it gave."""
    times, result = [], None
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most memory that the work held at once, beside what was there before."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    main()
