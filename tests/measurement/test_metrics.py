"""Metrics against formulas of boxes and spheres, and against MONAI and DeepMind's surface-distance."""

from __future__ import annotations

from dataclasses import fields, replace
from math import sqrt

import numpy as np
import pytest
import surface_distance
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import gaussian_filter

from tumorspread.errors import MaskError
from tumorspread.measurement.metrics import compare_masks
from tumorspread.scan.volume import Reorientation, Volume

SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (1.2, 0.9, 2.1)]


def volume(voxels, spacing=(1.0, 1.0, 1.0)):
    z, y, x = spacing
    return Volume(np.asarray(voxels), np.array([[0, 0, x, -9], [0, y, 0, 4], [z, 0, 0, 7], [0, 0, 0, 1.0]]))


def box(start, stop, shape=(20, 24, 28)):
    voxels = np.zeros(shape, np.uint8)
    voxels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 1
    return voxels


def blobs(seed, shape=(24, 30, 28)):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(2, *shape)), (0, 2, 2, 2))
    shared = gaussian_filter(np.random.default_rng(seed + 99).normal(size=shape), 3) * 3
    return [(n + shared > np.quantile(n + shared, 0.9)).astype(np.uint8) for n in noise]


def one_hot(voxels):
    mask = torch.from_numpy(voxels.astype(np.float32))
    return torch.stack([1 - mask, mask])[None]


def monai_metrics(predicted, reference, spacing):
    hd95 = compute_hausdorff_distance(one_hot(predicted), one_hot(reference), percentile=95, spacing=spacing)
    nsd = compute_surface_dice(one_hot(predicted), one_hot(reference), [2.0], spacing=spacing)
    return float(hd95), float(nsd)


def test_two_overlapping_boxes_score_what_their_sizes_say():
    predicted, reference = box((2, 2, 2), (8, 12, 12)), box((4, 2, 2), (10, 12, 14))
    scores = compare_masks(volume(predicted, (2.0, 1.0, 0.5)), volume(reference, (2.0, 1.0, 0.5)))
    found, truth, both, size = 6 * 10 * 10, 6 * 10 * 12, 4 * 10 * 10, 20 * 24 * 28
    assert scores.dice == pytest.approx(2 * both / (found + truth))
    assert scores.iou == pytest.approx(both / (found + truth - both))
    assert scores.precision == pytest.approx(both / found)
    assert scores.recall == pytest.approx(both / truth)
    assert scores.accuracy == pytest.approx(1 - (found + truth - 2 * both) / size)
    assert scores.specificity == pytest.approx(1 - (found - both) / (size - truth))
    assert scores.volume_ml == pytest.approx(0.6)
    assert scores.reference_volume_ml == pytest.approx(0.72)
    assert scores.volume_error_ml == pytest.approx(-0.12)
    assert scores.volume_error_percent == pytest.approx(-100 / 6)
    assert (scores.lesions_reference, scores.lesions_found, scores.false_positives) == (1, 1, 0)
    assert scores.reasons == {}


def test_a_mask_compared_with_itself_is_perfect():
    mask = volume(blobs(0)[0], (3.0, 0.8, 0.8))
    scores = compare_masks(mask, mask)
    perfect = (scores.dice, scores.iou, scores.accuracy, scores.precision, scores.recall, scores.specificity)
    assert (*perfect, scores.nsd_2mm) == (1.0,) * 7
    assert (scores.hd95_mm, scores.volume_error_ml, scores.volume_error_percent) == (0.0, 0.0, 0.0)
    assert scores.lesions_found == scores.lesions_reference > 0
    assert scores.false_positives == 0


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_surface_metrics_of_random_blobs_are_those_of_monai(seed, spacing):
    predicted, reference = blobs(seed)
    # The blobs reach the faces of the image, where surfaces are closed.
    assert predicted[0].any() or predicted[:, 0].any() or predicted[:, :, 0].any()
    scores = compare_masks(volume(predicted, spacing), volume(reference, spacing))
    hd95, nsd = monai_metrics(predicted, reference, spacing)
    assert scores.hd95_mm == pytest.approx(hd95, abs=1e-3)
    assert scores.nsd_2mm == pytest.approx(nsd, abs=1e-3)


@pytest.mark.parametrize(
    ("predicted", "reference"),
    [
        (box((0, 0, 0), (20, 24, 5)), box((0, 0, 0), (20, 24, 9))),
        (box((0, 3, 3), (1, 9, 9)), box((0, 4, 4), (2, 9, 9))),
        (box((5, 5, 5), (6, 6, 6)), box((9, 9, 9), (10, 10, 10))),
        (box((0, 0, 0), (20, 24, 28)), box((8, 8, 8), (12, 12, 12))),
    ],
    ids=["slab on three faces", "one slice on the first face", "single voxels", "the whole image"],
)
def test_surface_metrics_at_the_border_are_those_of_monai(predicted, reference):
    spacing = (2.5, 0.9, 1.1)
    scores = compare_masks(volume(predicted, spacing), volume(reference, spacing))
    hd95, nsd = monai_metrics(predicted, reference, spacing)
    assert scores.hd95_mm == pytest.approx(hd95, abs=1e-3)
    assert scores.nsd_2mm == pytest.approx(nsd, abs=1e-3)


def test_surface_metrics_of_spheres_lie_near_those_weighted_by_area():
    z, y, x = np.ogrid[-30:31, -30:31, -30:31]
    inner, outer = z**2 + y**2 + x**2 <= 18**2, z**2 + y**2 + (x - 3) ** 2 <= 20**2
    scores = compare_masks(volume(inner), volume(outer))
    distances = surface_distance.compute_surface_distances(outer, inner, (1, 1, 1))
    nsd = surface_distance.compute_surface_dice_at_tolerance(distances, 2.0)
    assert scores.nsd_2mm == pytest.approx(nsd, abs=0.05)
    assert scores.hd95_mm == pytest.approx(surface_distance.compute_robust_hausdorff(distances, 95), abs=0.5)
    assert scores.dice == pytest.approx(surface_distance.compute_dice_coefficient(outer, inner))


def test_single_voxels_lie_as_far_apart_as_their_centres():
    scores = compare_masks(
        volume(box((5, 5, 5), (6, 6, 6)), (5.0, 0.8, 0.6)),
        volume(box((7, 8, 9), (8, 9, 10)), (5.0, 0.8, 0.6)),
    )
    assert scores.hd95_mm == pytest.approx(sqrt(10.0**2 + 2.4**2 + 2.4**2))
    assert scores.nsd_2mm == 0.0


def test_a_surface_exactly_at_the_tolerance_agrees():
    # 1.2 ** 2 + 1.6 ** 2 is 4 in the reals and more in floats.
    scores = compare_masks(
        volume(box((5, 5, 5), (6, 6, 6)), (1.2, 1.6, 1.0)), volume(box((6, 6, 5), (7, 7, 6)), (1.2, 1.6, 1.0))
    )
    assert scores.nsd_2mm == 1.0


def test_turning_both_masks_changes_nothing():
    predicted, reference = (volume(mask, (3.0, 0.9, 0.7)) for mask in blobs(5))
    turn = Reorientation((2, 0, 1), (True, False, True))
    straight = compare_masks(predicted, reference)
    turned = compare_masks(turn.apply(predicted), turn.apply(reference))
    for name in (f.name for f in fields(straight) if f.name != "reasons"):
        assert getattr(turned, name) == pytest.approx(getattr(straight, name)), name


def test_exchanging_the_masks_exchanges_precision_and_recall():
    first, second = (volume(mask) for mask in blobs(6))
    there, back = compare_masks(first, second), compare_masks(second, first)
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert (there.dice, there.iou, there.nsd_2mm, there.hd95_mm) == (
        back.dice,
        back.iou,
        back.nsd_2mm,
        back.hd95_mm,
    )
    assert there.volume_error_ml == -back.volume_error_ml


def test_two_empty_masks_have_no_scores_but_a_reason():
    empty = volume(np.zeros((4, 5, 6), np.uint8))
    scores = compare_masks(empty, empty)
    missing = ("dice", "iou", "precision", "recall", "nsd_2mm", "hd95_mm", "volume_error_percent")
    assert [getattr(scores, name) for name in missing] == [None] * len(missing)
    assert scores.reasons == dict.fromkeys(missing, "both masks are empty")
    assert (scores.accuracy, scores.specificity, scores.volume_ml) == (1.0, 1.0, 0.0)
    assert (scores.lesions_reference, scores.lesions_found, scores.false_positives) == (0, 0, 0)


def test_a_missed_tumour_scores_zero_and_has_no_distance():
    truth = volume(box((3, 3, 3), (6, 6, 6)))
    scores = compare_masks(truth.with_voxels(np.zeros_like(truth.voxels)), truth)
    assert (scores.dice, scores.iou, scores.recall, scores.volume_error_percent) == (0.0, 0.0, 0.0, -100.0)
    missing = ("precision", "nsd_2mm", "hd95_mm")
    assert [getattr(scores, name) for name in missing] == [None] * 3
    assert scores.reasons == dict.fromkeys(missing, "the predicted mask is empty")
    assert (scores.lesions_reference, scores.lesions_found) == (1, 0)


def test_a_tumour_where_there_is_none_scores_zero_and_has_no_distance():
    guess = volume(box((3, 3, 3), (6, 6, 6)))
    scores = compare_masks(guess, guess.with_voxels(np.zeros_like(guess.voxels)))
    assert (scores.dice, scores.iou, scores.precision) == (0.0, 0.0, 0.0)
    missing = ("recall", "nsd_2mm", "hd95_mm", "volume_error_percent")
    assert [getattr(scores, name) for name in missing] == [None] * 4
    assert scores.reasons == dict.fromkeys(missing, "the reference mask is empty")
    assert (scores.lesions_reference, scores.false_positives) == (0, 1)


def test_a_reference_without_background_has_no_specificity():
    full = volume(np.ones((3, 4, 5), bool))
    scores = compare_masks(full, full)
    assert scores.specificity is None
    assert scores.reasons == {"specificity": "the reference mask fills the whole image"}


def test_lesions_are_counted_as_found_missed_and_invented():
    truth = box((2, 2, 2), (6, 6, 6)) | box((12, 12, 12), (16, 16, 16)) | box((2, 18, 18), (4, 20, 20))
    guess = box((2, 2, 2), (6, 6, 6)) | box((15, 15, 15), (18, 18, 18)) | box((9, 2, 20), (10, 3, 21))
    # One voxel of 64 covers less than a tenth: the second lesion is missed, and its piece invents nothing.
    scores = compare_masks(volume(guess), volume(truth))
    assert (scores.lesions_reference, scores.lesions_found, scores.false_positives) == (3, 1, 1)


@pytest.mark.parametrize(("covered", "found"), [(1, 0), (2, 1)])
def test_a_lesion_is_found_from_a_tenth_of_its_volume_on(covered, found):
    truth = box((0, 0, 0), (1, 1, 20))
    assert compare_masks(volume(box((0, 0, 0), (1, 1, covered))), volume(truth)).lesions_found == found


def test_pieces_that_meet_at_a_corner_are_one_lesion():
    truth = box((2, 2, 2), (4, 4, 4)) | box((4, 4, 4), (6, 6, 6))
    assert compare_masks(volume(truth), volume(truth)).lesions_reference == 1


def test_independent_slices_have_no_surfaces_and_no_lesion_across_them():
    truth = box((2, 5, 5), (5, 9, 9))
    scores = compare_masks(volume(truth), volume(truth), surfaces=False)
    assert (scores.nsd_2mm, scores.hd95_mm) == (None, None)
    assert scores.reasons == dict.fromkeys(("nsd_2mm", "hd95_mm"), "slices are independent")
    assert (scores.lesions_reference, scores.lesions_found) == (3, 3)
    assert scores.dice == 1.0


@pytest.mark.parametrize("kind", [bool, np.int16, np.uint8, np.float32])
def test_the_type_of_the_voxels_does_not_matter(kind):
    first, second = blobs(7)
    expected = compare_masks(volume(first.astype(bool)), volume(second.astype(bool)))
    assert compare_masks(volume(first.astype(kind)), volume(second.astype(kind))) == expected


@pytest.mark.parametrize("wrong", [np.uint8(255), np.int8(-1), np.float32(0.5), np.float32("nan"), 1j])
def test_values_other_than_zero_and_one_are_refused(wrong):
    voxels = np.zeros((3, 3, 3), np.asarray(wrong).dtype)
    voxels[1, 1, 1] = wrong
    with pytest.raises(MaskError, match=r"predicted mask has values .* expected a binary mask"):
        compare_masks(volume(voxels), volume(np.zeros((3, 3, 3), np.uint8)))


def test_masks_on_different_grids_are_refused():
    mask = volume(box((3, 3, 3), (6, 6, 6)))
    affine = mask.affine.copy()
    affine[0, 3] += 0.2
    shifted = replace(mask, affine=affine)
    with pytest.raises(MaskError, match="different grids"):
        compare_masks(mask, shifted)
    with pytest.raises(MaskError, match=r"shape \(20, 24, 28\).*shape \(19, 24, 28\)"):
        compare_masks(mask, mask.crop((0, 0, 0), (19, 24, 28)))
