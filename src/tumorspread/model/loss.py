"""Segmentation losses on logits; the sigmoid is applied here.

Dice: Milletari et al. 2016 (doi:10.1109/3DV.2016.79), taken over the whole batch, that of all processes, so
that a patch without tumour does not turn one wrong voxel into a loss of 1, unless `per_patch` says otherwise.
Focal: Lin et al. 2017 (doi:10.1109/ICCV.2017.324). Tversky: Salehi et al. 2017 (doi:10.1007/978-3-319-67389-9_44).
Dice of each lesion by itself: after the blob loss, Kofler et al. 2023 (doi:10.1007/978-3-031-34048-2_58).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import cc3d
import numpy as np
import torch
from monai.losses import DiceLoss, FocalLoss
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tumorspread.errors import RecipeError
from tumorspread.model.processes import count_processes, sum_over_processes

# A logit that costs nothing where the mask is 0, in any of the losses.
SURELY_NOT = -30.0
# Voxels added to both sides of Tversky's fraction.
TVERSKY_SMOOTH = 1e-5
# How far around a lesion its own Dice looks, in voxels, and the voxels added to both sides of that fraction.
LESION_MARGIN, LESION_SMOOTH = 4, 1.0
# From which probability on a piece that touches no lesion is a false one.
FALSE_FROM = 0.1
# A piece at the border of a patch with fewer voxels does not count.
SLIVER = 10

LossName = Literal["dice_bce", "dice", "bce", "focal", "dice_focal", "tversky"]


@dataclass(frozen=True)
class LossConfig:
    """Which loss.

    Attributes:
        name: `dice_bce` (default), `dice`, `bce`, `focal`, `dice_focal` or `tversky`.
        bce_weight: weight of the cross-entropy (or focal) part beside Dice.
        positive_weight: weight of a tumour voxel in the cross-entropy; above 1 favours recall.
        focal_gamma: focusing exponent of the focal loss.
        tversky_alpha: weight of false positives.
        tversky_beta: weight of false negatives.
        per_patch: take Dice over each patch by itself, so that a nodule weighs as much as the mass beside it.
        smooth: voxels added to both sides of the fraction in Dice: how many wrong voxels a patch without tumour
            may have before it counts as wholly wrong.
        lesion_weight: what each lesion of a batch costs that is missed: a nodule of 30 voxels as much as the mass in
            the same patch; see `lesion_loss`. The batch is that of all processes.
        false_share: what a false lesion costs, as a share of a missed one: below 1 favours recall.
        lesion_bce: weight of the cross-entropy of each lesion beside its Dice. Dice forgets a lesion that the network
            is sure to be none: there its gradient vanishes.
    """

    name: LossName = "dice_bce"
    bce_weight: float = 1.0
    positive_weight: float = 1.0
    focal_gamma: float = 2.0
    tversky_alpha: float = 0.3
    tversky_beta: float = 0.7
    per_patch: bool = False
    smooth: float = 1e-5
    lesion_weight: float = 0.0
    false_share: float = 1.0
    lesion_bce: float = 0.0

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        parts = (self.bce_weight, self.lesion_weight, self.false_share, self.lesion_bce)
        if min(*parts, self.tversky_alpha, self.tversky_beta, self.focal_gamma) < 0:
            raise RecipeError("loss: weights and exponents must not be negative")
        if self.smooth <= 0:
            raise RecipeError(f"loss.smooth {self.smooth}: expected a number above 0")
        if self.positive_weight <= 0:
            raise RecipeError(f"loss.positive_weight {self.positive_weight}: expected a number above 0")


class SegmentationLoss(nn.Module):
    """Loss of logits (n, 1, *space), or of a list of them from fine to coarse, against a mask in {0, 1}.

    Coarser levels count half as much as the next finer one, and the weights sum to 1. The mean of the losses of several
    processes is the loss of all their patches; each must call it as often as the others.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        smooth = {"smooth_nr": config.smooth, "smooth_dr": config.smooth}
        self.dice = DiceLoss(sigmoid=True, **smooth)
        self.focal = FocalLoss(gamma=config.focal_gamma)

    def forward(self, logits: Tensor | list[Tensor], mask: Tensor, ignored: Tensor | None = None) -> Tensor:
        """Mean loss, a scalar; voxels that are `ignored` (bool, as the mask) cost nothing."""
        levels = logits if isinstance(logits, list) else [logits]
        shares = [0.5**i for i in range(len(levels))]
        total = torch.zeros((), device=mask.device)
        for share, level in zip(shares, levels, strict=True):
            wanted, found = _shrink(mask, level), level.float()
            if ignored is not None:
                found = found.masked_fill((_shrink(ignored, level) > 0) & (wanted == 0), SURELY_NOT)
            total = total + share / sum(shares) * self._single(found, wanted)
            if level is levels[0] and self.config.lesion_weight:
                parts = (self.config.false_share, self.config.lesion_bce)
                # A sum over lesions, of which the mean over processes is taken.
                total = total + self.config.lesion_weight * count_processes() * lesion_loss(found, wanted, *parts)
        return total

    def _single(self, logits: Tensor, mask: Tensor) -> Tensor:
        name, weight = self.config.name, self.config.bce_weight
        total = torch.zeros((), device=mask.device)
        if name in ("dice", "dice_bce", "dice_focal"):
            total = total + (self.dice(logits, mask) if self.config.per_patch else self._batch_dice(logits, mask))
        if name in ("bce", "dice_bce"):
            positive = torch.tensor(self.config.positive_weight, device=mask.device)
            total = total + (weight if name == "dice_bce" else 1.0) * functional.binary_cross_entropy_with_logits(
                logits, mask, pos_weight=positive
            )
        if name in ("focal", "dice_focal"):
            total = total + (weight if name == "dice_focal" else 1.0) * self.focal(logits, mask)
        if name == "tversky":
            total = total + self._tversky(logits, mask)
        return total

    def _batch_dice(self, logits: Tensor, mask: Tensor) -> Tensor:
        found, smooth = torch.sigmoid(logits), self.config.smooth
        both, marked, wanted = _sums(found * mask, found, mask)
        loss: Tensor = 1 - (2 * both + smooth) / (marked + wanted + smooth)
        return loss

    def _tversky(self, logits: Tensor, mask: Tensor) -> Tensor:
        found, config = torch.sigmoid(logits), self.config
        both, false, missed = _sums(found * mask, found * (1 - mask), (1 - found) * mask)
        marked = both + config.tversky_alpha * false + config.tversky_beta * missed
        loss: Tensor = 1 - (both + TVERSKY_SMOOTH) / (marked + TVERSKY_SMOOTH)
        return loss


def lesion_loss(logits: Tensor, mask: Tensor, false_share: float = 1.0, bce: float = 0.0) -> Tensor:
    """One minus the Dice of each lesion by itself, the sum over all, true and false; 0 where there is none.

    A true lesion is judged by what is found up to `LESION_MARGIN` around its box; voxels that touch, by a corner too,
    are one lesion. A false one, that is a connected piece above `FALSE_FROM` which touches no true one, has nothing to
    overlap with: one false alarm costs `false_share` of a miss of its size. A sum and not a mean, in which one more
    false piece would make all others cheaper. Slivers at the border of the patch do not count: what they belong to is
    not seen.

    Args:
        logits: (n, 1, *space).
        mask: the same shape, 0 or 1.
        false_share: what a false lesion costs, as a share of a missed one.
        bce: weight of the mean cross-entropy over the voxels of each lesion, true or false.
    """
    total = logits.new_zeros(())
    for logit, truth in zip(logits[:, 0], mask[:, 0], strict=True):
        probability = torch.sigmoid(logit)
        labels = cc3d.connected_components(truth.detach().cpu().numpy().astype(np.uint8))
        for number, box in _pieces(labels):
            near = tuple(slice(max(0, b.start - LESION_MARGIN), b.stop + LESION_MARGIN) for b in box)
            own = torch.from_numpy(labels[near] == number).to(probability.device)
            found = probability[near].masked_fill((truth[near] > 0) & ~own, 0)
            overlap = 2 * found[own].sum() + LESION_SMOOTH
            total = total + 1 - overlap / (found.sum() + own.sum() + LESION_SMOOTH)
            total = total + bce * functional.softplus(-logit[near][own]).mean()
        total = total + false_share * _false_lesions(logit, labels > 0, bce)
    return total


def _sums(*parts: Tensor) -> Tensor:
    """The sum of each over the patches of all processes."""
    return sum_over_processes(torch.stack([part.sum() for part in parts]))


def _false_lesions(logit: Tensor, is_tumour: NDArray[np.bool_], bce: float) -> Tensor:
    """The loss of the pieces that touch no true lesion, their sum."""
    probability = torch.sigmoid(logit)
    found = probability.detach().cpu().numpy() > FALSE_FROM
    # Dice around a lesion sees what grows out of it; a mass in haze would be cut short by counting that twice.
    labels, count = cc3d.connected_components(found | is_tumour, return_N=True)
    counted = np.zeros(count + 1, bool)
    counted[[number for number, _ in _pieces(labels)]] = True
    counted[labels[is_tumour]] = False
    where = torch.from_numpy(labels.astype(np.int64)).to(probability.device).flatten()
    nothing, kept = logit.new_zeros(count + 1), torch.from_numpy(counted).to(logit.device)
    sums = nothing.index_add(0, where, probability.flatten())[kept]
    costs = nothing.index_add(0, where, functional.softplus(logit).flatten())[kept]
    voxels = torch.bincount(where, minlength=count + 1)[kept]
    return (1 - LESION_SMOOTH / (sums + LESION_SMOOTH) + bce * costs / voxels).sum()


def _pieces(labels: NDArray[np.integer]) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Number and box of each piece that is no sliver at the border."""
    found = cc3d.statistics(labels)
    for number in range(1, len(found["voxel_counts"])):
        box = found["bounding_boxes"][number]
        at_border = any(b.start == 0 or b.stop == edge for b, edge in zip(box, labels.shape, strict=True))
        if found["voxel_counts"][number] >= SLIVER or not at_border:
            yield number, box


def _shrink(mask: Tensor, level: Tensor) -> Tensor:
    mask = mask.to(level.dtype if level.dtype == torch.float64 else torch.float32)
    if mask.shape == level.shape:
        return mask
    factor = mask.shape[-1] // level.shape[-1]
    pool = functional.max_pool2d if mask.ndim == 4 else functional.max_pool3d
    return pool(mask, factor)
