from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from tumorspread.errors import MaskError
from tumorspread.report.views import (
    AXIAL,
    CORONAL,
    LEAST_FRAME_MM,
    SAGITTAL,
    Frame,
    bounding_box,
    canonical,
    canonical_slice,
    file_slice,
    fullest_planes,
    largest_piece,
    piece_around,
)
from tumorspread.scan.volume import Reorientation, Volume

ORIENTATIONS = [
    Reorientation(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)
]


def blobs(seed: int, shape: tuple[int, int, int] = (12, 14, 16)) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2) > 0.12


@pytest.mark.parametrize("turn", ORIENTATIONS, ids=str)
def test_every_storage_order_of_a_scan_gives_the_same_canonical_voxels(thorax, turn):
    turned, (labels,) = canonical(turn.apply(thorax.scan), turn.apply(thorax.lesions))
    np.testing.assert_array_equal(turned.voxels, thorax.scan.voxels)
    np.testing.assert_array_equal(labels, thorax.lesions.voxels)


@pytest.mark.parametrize("turn", ORIENTATIONS, ids=str)
def test_slices_of_the_file_and_of_the_canonical_volume_map_onto_each_other(thorax, turn):
    stored = turn.apply(thorax.scan)
    turned, _ = canonical(stored)
    along = Reorientation.to_canonical(stored).axes[0]
    for index in (0, 5, stored.shape[along] - 1):
        at = canonical_slice(stored, turned, index)
        plane = np.take(stored.voxels, index, axis=along)
        assert plane.sum() == turned.voxels[at].sum()
        assert file_slice(stored, turned, at) == index


def test_slices_map_in_an_oblique_scan_too(thorax):
    c, s = np.cos(0.3), np.sin(0.3)
    tilt = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = tilt @ thorax.scan.affine[:3, :3]
    stored = Reorientation((0, 1, 2), (True, False, False)).apply(Volume(thorax.scan.voxels, affine))
    turned, _ = canonical(stored)
    assert [canonical_slice(stored, turned, i) for i in (0, 7, 23)] == [23, 16, 0]


def test_a_mask_that_lies_elsewhere_is_refused_in_one_line(thorax):
    affine = thorax.lesions.affine.copy()
    affine[0, 3] += 30
    with pytest.raises(MaskError, match="resample the mask to the scan") as caught:
        canonical(thorax.scan, Volume(thorax.lesions.voxels, affine))
    assert "\n" not in str(caught.value)


def test_planes_have_rows_and_columns_of_their_view(thorax):
    shapes = [view.plane(thorax.scan.voxels, 3).shape for view in (AXIAL, CORONAL, SAGITTAL)]
    assert shapes == [(40, 48), (24, 48), (24, 40)]
    np.testing.assert_array_equal(CORONAL.plane(thorax.scan.voxels, 3), thorax.scan.voxels[:, 3, :])


@pytest.mark.parametrize("seed", range(4))
def test_the_box_is_that_of_scipy(seed):
    mask = blobs(seed)
    assert bounding_box(mask) == ndimage.find_objects(mask.astype(int))[0]


def test_an_empty_mask_has_no_box_no_piece_and_looks_at_the_middle():
    empty = np.zeros((5, 6, 8), bool)
    assert bounding_box(empty) is None
    assert not largest_piece(empty).any()
    assert piece_around(empty, empty) is None
    assert fullest_planes(empty) == (2, 3, 4)


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_piece_is_that_of_scipy_with_26_neighbours(seed):
    mask = blobs(seed)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(mask, labels, range(1, count + 1))
    piece = largest_piece(mask)
    assert piece.sum() == sizes.max()
    assert len(np.unique(labels[piece])) == 1


def test_the_piece_around_a_seed_leaves_other_pieces_out():
    mask = np.zeros((10, 10, 10), bool)
    mask[1:3, 1:3, 1:3] = mask[6:9, 5:9, 4:9] = True
    seed = np.zeros_like(mask)
    seed[7, 7, 7] = True
    assert piece_around(mask, seed) == (slice(6, 9), slice(5, 9), slice(4, 9))


def test_the_fullest_planes_have_the_most_voxels():
    piece = blobs(3)
    expected = tuple(int(piece.sum(axis=a).argmax()) for a in ((1, 2), (0, 2), (0, 1)))
    assert fullest_planes(piece) == expected


def test_a_frame_around_one_voxel_shows_enough_to_recognise_the_place():
    frame = Frame.around((slice(2, 3), slice(3, 4), slice(4, 5)), (5.0, 1.0, 0.5))
    np.testing.assert_allclose(np.subtract(frame.high_mm, frame.low_mm), LEAST_FRAME_MM)
    np.testing.assert_allclose(np.add(frame.high_mm, frame.low_mm) / 2, (10.0, 3.0, 2.0))


def test_a_frame_is_a_cube_with_a_margin_around_a_large_lesion():
    frame = Frame.around((slice(0, 20), slice(10, 20), slice(0, 40)), (5.0, 1.0, 1.0))
    np.testing.assert_allclose(np.subtract(frame.high_mm, frame.low_mm), 1.2 * 100 + 16)


def test_the_whole_frame_reaches_the_outer_faces():
    frame = Frame.whole((2, 3, 4), (5.0, 2.0, 1.0))
    assert frame == Frame((-2.5, -1.0, -0.5), (7.5, 5.0, 3.5))
