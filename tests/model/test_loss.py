from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from tumorspread.errors import RecipeError
from tumorspread.model.loss import (
    LESION_MARGIN,
    LESION_SMOOTH,
    LossConfig,
    LossName,
    SegmentationLoss,
    lesion_loss,
)

P = torch.tensor([0.9, 0.2, 0.6, 0.1])
G = torch.tensor([1.0, 0.0, 1.0, 0.0])
LOGITS = torch.logit(P).reshape(1, 1, 2, 2)
MASK = G.reshape(1, 1, 2, 2)

BCE = -(math.log(0.9) + math.log(0.8) + math.log(0.6) + math.log(0.9)) / 4
DICE = 1 - 2 * (0.9 + 0.6) / ((0.9 + 0.2 + 0.6 + 0.1) + 2)
TVERSKY = 1 - 1.5 / (1.5 + 0.3 * (0.2 + 0.1) + 0.7 * (0.1 + 0.4))
FOCAL = -(0.1**2 * math.log(0.9) + 0.2**2 * math.log(0.8) + 0.4**2 * math.log(0.6) + 0.1**2 * math.log(0.9)) / 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bce", BCE),
        ("dice", DICE),
        ("dice_bce", DICE + BCE),
        ("tversky", TVERSKY),
        ("focal", FOCAL),
        ("dice_focal", DICE + FOCAL),
    ],
)
def test_each_loss_is_its_formula(name, expected):
    assert SegmentationLoss(LossConfig(name))(LOGITS, MASK).item() == pytest.approx(expected, abs=2e-5)


def test_weights_of_the_parts_and_of_tumour_voxels_are_applied():
    weighted = SegmentationLoss(LossConfig("dice_bce", bce_weight=0.5, positive_weight=3.0))(LOGITS, MASK).item()
    bce = -(3 * math.log(0.9) + math.log(0.8) + 3 * math.log(0.6) + math.log(0.9)) / 4
    assert weighted == pytest.approx(DICE + 0.5 * bce, abs=2e-5)


def test_coarser_levels_count_half_as_much_and_see_the_mask_shrunk_by_its_maximum():
    coarse = torch.tensor([[[[0.4]]]])
    together = SegmentationLoss(LossConfig("bce"))([LOGITS, coarse], MASK).item()
    expected = 2 / 3 * BCE + 1 / 3 * -math.log(torch.sigmoid(coarse).item())
    assert together == pytest.approx(expected, abs=2e-5)


def test_a_patch_without_tumour_does_not_swamp_a_batch():
    """Over the batch one false voxel costs little; a Dice of each patch would make it a loss of nearly 1."""
    logits, mask = torch.full((2, 1, 8, 8), -9.0), torch.zeros(2, 1, 8, 8)
    mask[0] = 1
    logits[0] = 9.0
    logits[1, 0, 0, 0] = 9.0
    assert SegmentationLoss(LossConfig("dice"))(logits, mask).item() < 0.02


@pytest.mark.parametrize("name", ["dice_bce", "dice_focal", "tversky"])
def test_it_is_finite_and_has_a_gradient_at_extreme_logits(name):
    logits = torch.tensor([[[[80.0, -80.0], [0.0, 80.0]]]], requires_grad=True)
    loss = SegmentationLoss(LossConfig(name))(logits, MASK)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("settings", [{"bce_weight": -1}, {"positive_weight": 0}, {"tversky_alpha": -0.1}])
def test_impossible_weights_are_refused(settings):
    with pytest.raises(RecipeError, match="loss"):
        LossConfig(**settings)


@pytest.mark.parametrize("name", get_args(LossName))
def test_what_is_ignored_costs_nothing_whatever_is_said_there(name):
    loss = SegmentationLoss(LossConfig(name=name, per_patch=True, smooth=3.0))
    torch.manual_seed(0)
    mask = (torch.rand(2, 1, 8, 8, 8) > 0.7).float()
    ignored = torch.zeros_like(mask, dtype=torch.bool)
    ignored[..., 4:] = True
    mask[ignored] = 0
    logits = torch.randn(2, 1, 8, 8, 8, requires_grad=True)
    value = loss(logits, mask, ignored)
    value.backward()
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).all()
    other = torch.where(ignored, logits + 7, logits)
    assert loss(other, mask, ignored).item() == pytest.approx(value.item())


def test_dice_by_patch_is_the_mean_of_formulas():
    logits = torch.full((2, 1, 4, 4, 4), 30.0)
    logits[:, :, 2:] = -30.0  # 32 voxels called tumour in each
    mask = torch.zeros(2, 1, 4, 4, 4)
    mask[0, :, :1] = 1  # 16 in the first patch, none in the second
    by_patch = SegmentationLoss(LossConfig(name="dice", per_patch=True, smooth=10.0))(logits, mask)
    wanted = ((1 - (2 * 16 + 10) / (48 + 10)) + (1 - 10 / (32 + 10))) / 2
    assert by_patch.item() == pytest.approx(wanted, abs=1e-5)


def two_lesions():
    """A mass and a nodule in one patch, and a patch without either."""
    mask = torch.zeros(2, 1, 26, 26, 26)
    mask[0, 0, 1:13, 1:13, 1:13] = 1
    mask[0, 0, 15:18, 15:18, 15:18] = 1
    return mask


def answer(mask, at=30.0):
    return torch.where(mask > 0, at, -at)


def empty_loss(voxels):
    """The loss of a lesion of so many voxels that is wholly missed, or wholly false."""
    return 1 - LESION_SMOOTH / (voxels + LESION_SMOOTH)


def test_a_missed_nodule_costs_as_much_as_a_missed_mass():
    mask = two_lesions()
    right = answer(mask)
    no_nodule, no_mass = right.clone(), right.clone()
    no_nodule[0, 0, 15:, 15:, 15:] = -30
    no_mass[0, 0, :13] = -30
    assert lesion_loss(right, mask).item() == pytest.approx(0, abs=1e-6)
    assert lesion_loss(no_nodule, mask).item() == pytest.approx(empty_loss(27))
    assert lesion_loss(no_mass, mask).item() == pytest.approx(empty_loss(12**3))


def test_a_lesion_is_judged_by_what_is_near_it_and_not_by_its_neighbour():
    mask = two_lesions()
    blurred = answer(mask)
    blurred[0, 0, 15:18, 15:18, 18] = 30
    expected = 1 - (2 * 27 + LESION_SMOOTH) / (27 + 36 + LESION_SMOOTH)
    assert lesion_loss(blurred, mask).item() == pytest.approx(expected, rel=1e-5)
    far = answer(mask)
    far[0, 0, 22:25, 22:25, 2:5] = 30
    assert lesion_loss(far, mask).item() == pytest.approx(empty_loss(27))


def test_one_more_false_piece_makes_nothing_cheaper():
    mask = two_lesions()
    missed = answer(mask)
    missed[0, 0, 15:, 15:, 15:] = -30
    with_false = missed.clone()
    with_false[1, 0, 5:8, 5:8, 5:8] = 30
    losses, gradients = [], []
    for logits in (missed, with_false):
        soft = (logits / 10).requires_grad_()
        loss = lesion_loss(soft, mask)
        gradients.append(torch.autograd.grad(loss, soft)[0][0, 0, 15:18, 15:18, 15:18])
        losses.append(loss.item())
    assert losses[1] > losses[0] + 0.9
    assert torch.equal(*gradients)
    assert (gradients[0] < 0).all()


def test_a_false_alarm_costs_as_much_as_a_missed_nodule_of_its_size_and_is_pushed_down():
    mask = torch.zeros(1, 1, 20, 20, 20)
    mask[0, 0, 2:5, 2:5, 2:5] = 1
    false = answer(mask)
    false[0, 0, 12:15, 12:15, 12:15] = 30
    assert lesion_loss(false, mask).item() == pytest.approx(empty_loss(27))
    assert lesion_loss(torch.full_like(mask, -30.0), mask).item() == pytest.approx(empty_loss(27))
    empty = torch.zeros_like(mask)
    assert lesion_loss(torch.full_like(mask, -30.0), empty).item() == 0
    logits = (0.1 * false).requires_grad_()
    (grad,) = torch.autograd.grad(lesion_loss(logits, empty), logits)
    assert (grad[0, 0, 12:15, 12:15, 12:15] > 0).all()
    assert (grad[0, 0, 17:] == 0).all()


def test_what_may_be_a_tumour_by_one_in_seven_is_a_false_lesion_and_by_one_in_twenty_none():
    """Vessels that the loss does not see come to rest just below where it begins to look."""
    empty = torch.zeros(1, 1, 20, 20, 20)
    for share, is_seen in ((1 / 7, True), (1 / 20, False)):
        logits = torch.full_like(empty, -30.0)
        logits[0, 0, 8:12, 8:12, 8:12] = torch.logit(torch.tensor(share))
        assert (lesion_loss(logits, empty).item() > 0) == is_seen


def test_what_grows_out_of_a_lesion_is_judged_by_the_dice_around_it_and_is_no_false_lesion():
    mask = torch.zeros(1, 1, 30, 14, 14)
    mask[0, 0, 2:5, 4:7, 4:7] = 1
    logits = answer(mask)
    logits[0, 0, 5:28, 5, 5] = 30
    expected = 1 - (2 * 27 + LESION_SMOOTH) / (27 + 27 + LESION_MARGIN + LESION_SMOOTH)
    assert lesion_loss(logits, mask).item() == pytest.approx(expected, rel=1e-5)


def test_slivers_at_the_border_do_not_count():
    mask = torch.zeros(1, 1, 20, 20, 20)
    mask[0, 0, :1, 5:8, 5:8] = 1
    nothing = torch.full_like(mask, -30.0)
    assert lesion_loss(nothing, mask).item() == 0
    assert lesion_loss(answer(mask), torch.zeros_like(mask)).item() == 0
    mask[0, 0, :2, 5:8, 5:8] = 1
    assert lesion_loss(nothing, mask).item() == pytest.approx(empty_loss(18))
    assert lesion_loss(answer(mask), torch.zeros_like(mask)).item() == pytest.approx(empty_loss(18))


def test_lesions_of_slices_are_judged_too():
    mask = torch.zeros(2, 1, 24, 24)
    mask[0, 0, 4:8, 4:8] = 1
    logits = torch.full_like(mask, -30.0)
    logits[1, 0, 10:14, 10:14] = 30
    assert lesion_loss(logits, mask).item() == pytest.approx(2 * empty_loss(16))


def test_the_weight_of_lesions_is_applied_and_ignored_voxels_cost_nothing():
    mask = two_lesions()
    logits = torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
    plain = SegmentationLoss(LossConfig())(logits, mask)
    weighted = SegmentationLoss(LossConfig(lesion_weight=2.0))(logits, mask)
    assert (weighted - plain).item() == pytest.approx(2 * lesion_loss(logits, mask).item(), rel=1e-4)
    beside = answer(mask)
    beside[0, 0, 15:18, 15:18, 18:] = 30
    ignored = torch.zeros(mask.shape, dtype=torch.bool)
    ignored[0, 0, :, :, 18:] = True
    loss = SegmentationLoss(LossConfig(lesion_weight=1.0))
    rare = answer(mask)
    rare[1, 0, 5:8, 5:8, 5:8] = 30
    assert lesion_loss(rare, mask, 0.25).item() == pytest.approx(empty_loss(27) / 4)
    assert loss(beside, mask, ignored).item() == pytest.approx(0, abs=1e-4)
    assert loss(beside, mask).item() > 0.05


def test_a_lesion_that_the_network_is_sure_to_be_none_still_pulls():
    mask = two_lesions()
    logits = answer(mask)
    logits[0, 0, 15:18, 15:18, 15:18] = -25
    slopes = []
    for bce in (0.0, 0.5):
        asked = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(lesion_loss(asked, mask, bce=bce), asked)
        slopes.append(gradient[0, 0, 15:18, 15:18, 15:18].sum().item())
    assert slopes[0] == pytest.approx(0, abs=1e-6)
    assert slopes[1] == pytest.approx(-0.5, abs=1e-6)
    assert (lesion_loss(logits, mask, bce=0.5) - lesion_loss(logits, mask)).item() == pytest.approx(0.5 * 25, rel=1e-4)


def test_a_false_lesion_pays_the_cross_entropy_of_its_piece_alone():
    mask = torch.zeros(1, 1, 20, 20, 20)
    false = torch.full_like(mask, -30.0)
    false[0, 0, 5:8, 5:8, 5:8] = 8
    extra = lesion_loss(false, mask, 0.5, bce=0.4) - lesion_loss(false, mask, 0.5)
    assert extra.item() == pytest.approx(0.5 * 0.4 * (8 + math.log1p(math.exp(-8))), rel=1e-4)
