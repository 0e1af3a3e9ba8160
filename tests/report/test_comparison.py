from __future__ import annotations

import numpy as np
import pytest

from tumorspread.errors import MaskError
from tumorspread.report import comparison
from tumorspread.report.comparison import comparison_figure, masks_figure
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.volume import Reorientation, Volume

TURN = Reorientation((2, 0, 1), (True, False, True))
UPSIDE_DOWN = Reorientation((0, 1, 2), (True, False, False))


@pytest.fixture
def drawn(monkeypatch):
    kept = []
    monkeypatch.setattr(comparison, "to_png", lambda figure: kept.append(figure) or b"")
    return kept


@pytest.fixture
def truth(thorax) -> Volume:
    return thorax.lesions.with_voxels((thorax.lesions.voxels > 0).astype(np.uint8))


@pytest.fixture
def predicted(truth) -> Volume:
    """The truth moved by one voxel to the left, without the small lesion."""
    moved = np.roll(truth.voxels, 1, axis=2)
    moved[:, :, :20] = 0
    return truth.with_voxels(moved)


def empty_of(volume: Volume) -> Volume:
    return volume.with_voxels(np.zeros_like(volume.voxels))


def heads(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes[:4]]


def test_the_legend_gives_the_volumes_of_agreement_over_the_whole_scan(thorax, truth, predicted, drawn):
    comparison_figure(thorax.scan, truth, predicted, title="lung_001")
    texts = [t.get_text().replace("\u00a0", " ") for t in drawn[0].legends[0].get_texts()]
    # 3 x 4 x 6 voxels of 0.06 mL, one column of 3 x 4 apart, and the small lesion of 2 x 2 x 2.
    assert [t.split(": ")[1] for t in texts] == ["3.60 mL", "0.720 mL", "1.20 mL"]


def test_the_planes_run_through_the_largest_tumour_of_the_truth(thorax, truth, drawn):
    marked = thorax.scan.voxels.copy()
    marked[14:17, 18:22, 34:40] = 1234
    comparison_figure(thorax.scan.with_voxels(marked), truth, empty_of(truth), title="t")
    for row in range(3):
        assert drawn[0].axes[4 * row].images[0].get_array().max() == 1234


def test_many_small_pieces_in_one_plane_do_not_draw_the_eye_from_the_largest(thorax, truth, drawn):
    voxels = truth.voxels.copy()
    voxels[3, 2:38:2, 2:46:2] = 1
    marked = thorax.scan.voxels.copy()
    marked[voxels > 0] = 100
    marked[14:17, 18:22, 34:40] = 1234
    comparison_figure(thorax.scan.with_voxels(marked), truth.with_voxels(voxels), empty_of(truth), title="t")
    assert drawn[0].axes[0].images[0].get_array().max() == 1234


def test_the_picture_is_the_same_for_every_storage_order(thorax, truth, predicted):
    stored = [TURN.apply(v) for v in (thorax.scan, truth, predicted)]
    expected = comparison_figure(thorax.scan, truth, predicted, title="t")
    assert comparison_figure(*stored, title="t") == expected


def test_empty_masks_are_drawn_and_named(thorax, truth, drawn):
    none = empty_of(truth)
    comparison_figure(thorax.scan, truth, none, title="missed")
    comparison_figure(thorax.scan, none, truth, title="false alarm")
    comparison_figure(thorax.scan, none, none, title="healthy")
    assert heads(drawn[0])[:2] == ["ground truth (dashed)", "prediction: no tumour"]
    assert heads(drawn[1])[:2] == ["ground truth: no tumour", "prediction (solid)"]
    assert heads(drawn[2])[:2] == ["ground truth: no tumour", "prediction: no tumour"]


def test_a_mask_of_another_scan_is_refused(thorax, truth):
    with pytest.raises(MaskError, match="grid"):
        comparison_figure(thorax.scan, truth, Volume(truth.voxels[1:], truth.affine), title="t")


def test_a_mask_sheet_shows_every_slice_of_a_small_tumour(thorax, truth, drawn):
    masks_figure(thorax.scan, thorax.lesions.with_voxels(thorax.lesions.voxels == 1), "truth")
    assert [a.get_title() for a in drawn[0].axes] == ["slice 14", "slice 15", "slice 16"]


def test_a_mask_sheet_counts_slices_along_the_file(thorax, drawn):
    mask = thorax.lesions.with_voxels(thorax.lesions.voxels == 1)
    masks_figure(UPSIDE_DOWN.apply(thorax.scan), UPSIDE_DOWN.apply(mask), "truth")
    assert [a.get_title() for a in drawn[0].axes] == ["slice 9", "slice 8", "slice 7"]


def test_a_mask_sheet_of_an_empty_mask_says_so_and_shows_the_scan(thorax, truth, drawn):
    masks_figure(thorax.scan, empty_of(truth), "truth")
    assert drawn[0].get_suptitle() == "truth (the mask is empty)"
    assert drawn[0].axes[0].get_title() == "slice 0"
    assert drawn[0].axes[7].get_title() == "slice 23"


def test_a_scan_of_one_slice_is_drawn(thorax, truth):
    scan, mask = (v.crop((15, 0, 0), (16, 40, 48)) for v in (thorax.scan, truth))
    assert comparison_figure(scan, mask, mask, title="t").startswith(b"\x89PNG")
    assert masks_figure(scan, mask, "t").startswith(b"\x89PNG")


@pytest.mark.real
def test_two_readers_of_a_real_nodule_are_compared(shared_data, drawn):
    scans = shared_data / "scans"
    names = ("LIDC-IDRI-0314", "LIDC-IDRI-0314_reader1", "LIDC-IDRI-0314_reader4")
    # Inside a box, or reading the whole scan would take most of the time.
    scan, first, second = (read_nifti(scans / f"{name}.nii.gz").crop((130, 150, 80), (190, 330, 260)) for name in names)
    comparison_figure(scan, first, second, title="reader 1 as truth, reader 4 as prediction")
    texts = [t.get_text() for t in drawn[0].legends[0].get_texts()]
    shown = [float(t.split(": ")[1].split("\u00a0")[0]) for t in texts]
    a, b = first.voxels > 0, second.voxels > 0
    assert a.any()
    assert b.any()
    assert shown == pytest.approx([w.sum() * scan.voxel_ml for w in (a & b, b & ~a, a & ~b)], rel=0.005)
