"""What held-out scans say about weights: where to cut, how likely a piece is a tumour, what each point costs.

The network was not taught to say how sure it is. Scans of patients it has not seen, with their outlines, show how often
it is right at what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import RecipeError
from tumorspread.measurement.metrics import FOUND_SHARE
from tumorspread.measurement.pieces import DUST_MM3
from tumorspread.measurement.room import Room
from tumorspread.model.candidates import Detection, Point, find_pieces, fit_detection
from tumorspread.model.detect import LungSpace

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
# False lesions a scan that each operating point may cost.
BUDGETS: dict[Point, float] = {"sensitive": 2.0, "balanced": 0.9, "specific": 0.125}
LARGE_MM = 10.0


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a network says about one scan, beside the truth, on the network's grid.

    Attributes:
        probability: (z, y, x), 0..1, 0 beyond reach of the lungs.
        truth: bool, tumour.
        room: where pieces may be; None where no lungs were found.
        voxel_mm3: volume of a voxel.
    """

    probability: NDArray[np.float32]
    truth: NDArray[np.bool_]
    room: Room | None
    voxel_mm3: float


@dataclass(frozen=True)
class Calibration:
    """What was fitted.

    Attributes:
        threshold: voxels above it are tumour.
        detection: how likely pieces are, and the operating points with what they cost.
        dice: mean over the scans with tumour at that threshold, false pieces left out.
        tumours: number of true lesions.
    """

    threshold: float
    detection: Detection
    dice: float
    tumours: int

    def costs(self, point: int) -> tuple[str, str]:
        """Recall of tumours of 10 mm and more, and false lesions a scan, of an operating point, as text."""
        recall, false = self.detection.recall, self.detection.false_positives
        return (
            "none" if recall is None else f"{recall[point]:.3f}",
            "none" if false is None else f"{false[point]:.3f}",
        )


def hold_out(
    probability: NDArray[np.float32],
    truth: NDArray[np.bool_],
    lungs: LungSpace | None,
    voxel_mm3: float,
) -> HeldOut:
    """The scan in the box around what matters, so that many fit into memory.

    Args:
        probability: on the network's grid; not changed.
        truth: on the same grid.
        lungs: there; None where none were found.
        voxel_mm3: volume of a voxel.
    """
    if lungs is None:
        return HeldOut(probability, truth, None, voxel_mm3)
    seen = np.where(lungs.near, probability, 0)
    z, y, x = np.nonzero((seen > min(THRESHOLDS)) | truth)
    box = tuple(slice(int(a.min()), int(a.max()) + 1) if len(a) else slice(0, 1) for a in (z, y, x))
    return HeldOut(seen[box].copy(), truth[box].copy(), lungs.room.crop(box), voxel_mm3)


def calibrate(scans: Sequence[HeldOut]) -> Calibration:
    """Choose the threshold by Dice, fit the probabilities of pieces at it, and set the operating points.

    Raises:
        RecipeError: no tumour was found, or nothing but tumours: there is nothing to tell apart.
    """
    ill = [scan for scan in scans if scan.truth.any()]
    if not ill:
        raise RecipeError(f"none of the {len(scans)} scans holds a tumour; a calibration needs both")
    dices = {cut: np.array([_dice_of_true(scan, cut) for scan in ill]) for cut in THRESHOLDS}
    threshold = choose_threshold(dices)
    judged = [judge(scan, threshold) for scan in scans]
    scores = np.concatenate([found.scores for found in judged])
    is_tumour = np.concatenate([found.is_tumour for found in judged])
    slope, offset = fit_detection(scores, is_tumour)
    likely = np.array([Detection(slope, offset).probability(float(score)) for score in scores])
    detection = _set_points(Detection(slope, offset, scans=len(scans)), likely[~is_tumour])
    tumours = sum(len(found.sizes_mm) for found in judged)
    recall = _recalls(judged, detection)
    return Calibration(threshold, replace(detection, recall=recall), float(dices[threshold].mean()), tumours)


def choose_threshold(dices: Mapping[float, NDArray[np.float64]]) -> float:
    """The threshold nearest to a half of those whose mean Dice is within a standard error of the best.

    Over scans of synthetic tumours the curve is flat, and its top is chance; a real edge is softer than theirs, so that
    a threshold far from a half costs more there than is seen here. Breiman et al. 1984, Classification and Regression
    Trees, section 3.4.3: the rule of one standard error.

    Args:
        dices: by threshold, the Dice of each scan, the same scans in the same order.
    """
    best = max(dices, key=lambda cut: float(dices[cut].mean()))
    of_best = dices[best]
    error = float(of_best.std(ddof=1) / np.sqrt(len(of_best))) if len(of_best) > 1 else 0.0
    near = [cut for cut, found in dices.items() if float(found.mean()) >= float(of_best.mean()) - error]
    return min(near, key=lambda cut: abs(cut - 0.5))


def _set_points(fitted: Detection, likely_of_false: NDArray[np.float64]) -> Detection:
    """The operating points within their budgets, and what they cost."""
    least = {point: _least(likely_of_false, budget * fitted.scans) for point, budget in BUDGETS.items()}
    sensitive, balanced, specific = (float((likely_of_false >= p).sum() / fitted.scans) for p in least.values())
    return replace(
        fitted,
        sensitive=least["sensitive"],
        balanced=least["balanced"],
        specific=least["specific"],
        false_positives=(sensitive, balanced, specific),
    )


@dataclass(frozen=True, eq=False)
class Judged:
    """The pieces of one scan and its tumours, as numbers.

    Attributes:
        scores: of each piece.
        is_tumour: whether it lies on a tumour.
        sizes_mm: diameter of the ball that has each tumour's volume.
        by_piece: the share of tumour t (row) that piece p (column) covers.
    """

    scores: NDArray[np.float64]
    is_tumour: NDArray[np.bool_]
    sizes_mm: NDArray[np.float64]
    by_piece: NDArray[np.float64]


def judge(scan: HeldOut, threshold: float) -> Judged:
    """The pieces of a scan at a threshold, and which tumours they cover."""
    labels, pieces = find_pieces(scan.probability, threshold, scan.room)
    counts = [n for n, p in enumerate(pieces, 1) if p.is_inside and p.voxels * scan.voxel_mm3 >= DUST_MM3]
    tumours, number = cc3d.connected_components(np.ascontiguousarray(scan.truth), return_N=True)
    pairs = np.zeros((number + 1, len(pieces) + 1))
    np.add.at(pairs, (tumours.ravel(), labels.ravel()), 1)
    voxels = pairs[1:].sum(axis=1)
    return Judged(
        np.array([pieces[n - 1].score for n in counts], np.float64),
        pairs[1:, counts].sum(axis=0) > 0,
        np.cbrt(6 / np.pi * voxels * scan.voxel_mm3),
        pairs[1:, counts] / voxels[:, None],
    )


def _dice_of_true(scan: HeldOut, threshold: float) -> float:
    """Dice of the pieces that lie on tumour."""
    labels, pieces = find_pieces(scan.probability, threshold, scan.room)
    is_right = np.zeros(len(pieces) + 1, bool)
    is_right[np.unique(labels[scan.truth])] = True
    is_right &= np.array([False, *(piece.is_inside for piece in pieces)])
    found = is_right[labels]
    total = np.count_nonzero(found) + np.count_nonzero(scan.truth)
    return float(2 * np.count_nonzero(found & scan.truth) / total)


def _least(likely_of_false: NDArray[np.float64], budget: float) -> float:
    """The lowest probability, to a hundredth, at which no more than `budget` false pieces count."""
    steps = np.arange(1, 100) / 100
    within = [(likely_of_false >= step).sum() <= budget for step in steps]
    return float(steps[int(np.argmax(within))]) if any(within) else 0.99


def _recalls(judged: Sequence[Judged], detection: Detection) -> tuple[float, float, float] | None:
    """The share of the tumours of 10 mm and more that is found at each point; None where there are none."""
    large = [one.sizes_mm >= LARGE_MM for one in judged]
    if not any(which.any() for which in large):
        return None
    shares = []
    for point in BUDGETS:
        found = []
        for one, which in zip(judged, large, strict=True):
            likely = [detection.probability(float(score)) for score in one.scores]
            kept = np.array([p >= detection.least(point) for p in likely], bool)
            found.append(one.by_piece[which][:, kept].sum(axis=1) >= FOUND_SHARE)
        shares.append(float(np.concatenate(found).mean()))
    return shares[0], shares[1], shares[2]
