"""From probabilities to lesions: which connected pieces are kept, and how likely each is a tumour.

A voxel's probability says where an outline runs; whether the whole is a tumour is another question. So a piece gets a
score, the score becomes a probability by a calibration that was fitted on held-out scans (Platt scaling), and an
operating point says from which probability on it counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from tumorspread.errors import RecipeError
from tumorspread.measurement.room import Room
from tumorspread.model.parting import part_from_below

Point = Literal["sensitive", "balanced", "specific"]
POINTS: tuple[Point, ...] = get_args(Point)

# The score is the mean over the most certain voxels: one voxel alone is noise, the mean of all falls with size.
TOP_VOXELS = 12
# Nearer to 0 or 1 a logit says nothing more.
LEAST = 1e-4
# A higher score never means a less likely tumour.
FLATTEST = 1e-3


@dataclass(frozen=True)
class Detection:
    """How pieces become lesions; stored in the weights.

    Attributes:
        slope, offset: probability = sigmoid(slope * logit(score) + offset).
        sensitive, balanced, specific: probability from which a piece is a lesion at each operating point.
        scans: held-out scans that this was fitted on.
        false_positives: false lesions a scan at each point, as measured there: sensitive, balanced, specific.
        recall: share of the lesions of 10 mm and more that were found, likewise; None where there were none.
        fitted: with which weights and on what; the figures above are theirs.
    """

    slope: float = 1.0
    offset: float = 0.0
    sensitive: float = 0.2
    balanced: float = 0.5
    specific: float = 0.8
    scans: int = 0
    false_positives: tuple[float, float, float] | None = None
    recall: tuple[float, float, float] | None = None
    fitted: str = ""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not 0 <= self.sensitive <= self.balanced <= self.specific <= 1 or self.slope <= 0:
            raise RecipeError("detection: expected 0 <= sensitive <= balanced <= specific <= 1 and a slope above 0")

    def probability(self, score: float) -> float:
        """The probability that a piece of this score is a tumour."""
        clipped = min(max(score, LEAST), 1 - LEAST)
        logit = self.slope * float(np.log(clipped / (1 - clipped))) + self.offset
        return float(1 / (1 + np.exp(-logit)))

    def least(self, point: Point) -> float:
        """The probability from which a piece is kept at an operating point."""
        return float(getattr(self, point))


@dataclass(frozen=True, eq=False)
class Candidate:
    """One connected piece.

    Attributes:
        voxels: number of voxels on the network's grid.
        score: mean probability of its most certain voxels.
        probability: that it is a tumour.
        is_inside: whether it lies where lung tumours may be, and is no bone.
        is_kept: whether it lies there and its probability reaches the operating point.
        hangs_below: whether it is large and hardly has lung beneath.
        is_bone: whether it is as dense as bone, calcium or metal.
    """

    voxels: int
    score: float
    probability: float
    is_inside: bool
    is_kept: bool
    hangs_below: bool
    is_bone: bool


def pick_lesions(
    probability: NDArray[np.float32],
    threshold: float,
    detection: Detection,
    point: Point = "balanced",
    room: Room | None = None,
) -> tuple[NDArray[np.float32], tuple[Candidate, ...]]:
    """Judge the connected pieces of `probability > threshold`.

    Args:
        probability: of each voxel, (z, y, x), 0..1.
        threshold: voxels above it belong to a piece (26-connected).
        detection: calibration and operating points.
        point: which of them.
        room: where lung tumours may be; None for anywhere. A piece is kept or dropped whole.

    Returns:
        For each voxel the probability of its piece, 0 outside the pieces that are kept; and all pieces, the most likely
        first.
    """
    labels, pieces = find_pieces(probability, threshold, room)
    of_piece = np.zeros(len(pieces) + 1, np.float32)
    found = []
    for number, piece in enumerate(pieces, 1):
        likely = detection.probability(piece.score)
        kept = piece.is_inside and likely >= detection.least(point)
        of_piece[number] = likely if kept else 0.0
        found.append(Candidate(**vars(piece), probability=likely, is_kept=kept))
    return of_piece[labels], tuple(sorted(found, key=lambda one: -one.probability))


@dataclass(frozen=True)
class Piece:
    """One piece before it is judged.

    Attributes:
        voxels: number of voxels.
        score: mean probability of its most certain voxels.
        is_inside: whether it lies in the room.
        hangs_below: whether it is large and hardly has lung beneath, so that it may hold liver or spleen.
        is_bone: whether it is as dense as bone, calcium or metal.
    """

    voxels: int
    score: float
    is_inside: bool
    hangs_below: bool
    is_bone: bool


def find_pieces(
    probability: NDArray[np.float32], threshold: float, room: Room | None = None
) -> tuple[NDArray[np.integer], tuple[Piece, ...]]:
    """The pieces of `probability > threshold`: their label map, and piece n - 1 for label n.

    Args:
        probability: of each voxel, (z, y, x), 0..1.
        threshold: voxels above it belong to a piece (26-connected). Of one that the room does not hold a part may be
            a piece of its own: see `part_from_below`.
        room: where lung tumours may be; None for anywhere.
    """
    labels, count = cc3d.connected_components(np.ascontiguousarray(probability > threshold), return_N=True)
    inside = np.flatnonzero(labels)
    owners = labels.reshape(-1)[inside]
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(2, count + 1))
    places: list[NDArray[np.integer]] = list(np.split(inside[order], starts)) if count else []
    pieces = [_piece(probability, place, room) for place in places]
    for number, (piece, place) in enumerate(list(zip(pieces, places, strict=True))):
        if room is None or piece.is_inside or not piece.hangs_below:
            continue
        part = part_from_below(place, probability, room)
        if part is not None:
            labels = labels.astype(np.uint32, copy=False)
            labels.reshape(-1)[part] = len(pieces) + 1
            pieces[number] = _piece(probability, np.setdiff1d(place, part, assume_unique=True), room)
            pieces.append(_piece(probability, part, room))
    return labels, tuple(pieces)


def _piece(probability: NDArray[np.float32], place: NDArray[np.integer], room: Room | None) -> Piece:
    score = float(np.sort(probability.reshape(-1)[place])[-TOP_VOXELS:].mean())
    if room is None:
        return Piece(len(place), score, is_inside=True, hangs_below=False, is_bone=False)
    return Piece(len(place), score, room.holds(place), room.hangs_below(place), room.is_bone(place))


def fit_detection(scores: NDArray[np.float64], is_tumour: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset by Platt scaling (Platt 1999): maximum likelihood with the targets drawn in from 0 and 1.

    Args:
        scores: of pieces on held-out scans, 0..1.
        is_tumour: whether each is a tumour.

    Raises:
        RecipeError: no tumour, or nothing but tumours: there is nothing to tell apart. Or the fit does not settle.
    """
    positive, negative = int(is_tumour.sum()), int((~is_tumour).sum())
    if not positive or not negative:
        raise RecipeError(f"{positive} tumours and {negative} others: a calibration needs both")
    clipped = np.clip(scores, LEAST, 1 - LEAST)
    x = np.log(clipped / (1 - clipped))
    wanted = np.where(is_tumour, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def cost(at: NDArray[np.float64]) -> float:
        z = at[0] * x + at[1]
        return float(np.logaddexp(0, z).sum() - (wanted * z).sum())

    def slopes(at: NDArray[np.float64]) -> NDArray[np.float64]:
        wrong = 1 / (1 + np.exp(-(at[0] * x + at[1]))) - wanted
        return np.array([(wrong * x).sum(), wrong.sum()])

    start = np.array([FLATTEST, np.log((positive + 1) / (negative + 1))])
    done = optimize.minimize(cost, start, jac=slopes, bounds=[(FLATTEST, None), (None, None)], method="L-BFGS-B")
    if not done.success:
        raise RecipeError(f"the calibration does not settle ({done.message}); it takes more scans")
    return float(done.x[0]), float(done.x[1])


def expected_calibration_error(probability: NDArray[np.float64], is_tumour: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean distance between stated and observed share over bins of equal width, weighted by their pieces.

    Naeini et al. 2015, AAAI 29. 0 for no piece.
    """
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        abs(float(probability[place == b].mean()) - float(is_tumour[place == b].mean())) * float((place == b).mean())
        for b in np.unique(place)
    ]
    return float(sum(gaps))
