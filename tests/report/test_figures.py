from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from tumorspread.errors import MaskError
from tumorspread.measurement.parts import Burden
from tumorspread.report import figures
from tumorspread.report.figures import canonical_boxes, lesion_figure, overview_figure
from tumorspread.report.panel import ORANGE, SKY
from tumorspread.report.wording import lesion_title
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.volume import Reorientation, Volume

# The slices of the file keep their count in this one, so the captions stay the same.
MIRRORED = Reorientation((0, 2, 1), (False, True, True))
UPSIDE_DOWN = Reorientation((0, 1, 2), (True, False, False))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def columns_of(colour: str, picture: np.ndarray) -> np.ndarray:
    near = np.abs(picture - np.array(to_rgb(colour)) * 255).max(axis=2) < 30
    return np.nonzero(near)[1]


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is drawn, before it becomes a PNG."""
    kept = []
    monkeypatch.setattr(figures, "to_png", lambda figure: kept.append(figure) or b"")
    return kept


def titled(figure, start: str):
    return next(a for a in figure.axes if a.get_title().startswith(start))


def test_the_left_lesion_is_on_the_right_of_the_coronal_projection(thorax):
    picture = pixels(overview_figure(thorax.scan, thorax.lesions, thorax.findings, None))
    coronal = picture[:, : int(0.36 * picture.shape[1])]
    left, right = columns_of(ORANGE, coronal), columns_of(SKY, coronal)
    assert len(left) > 100
    assert len(right) > 20
    assert np.median(left) > coronal.shape[1] * 0.55
    assert np.median(right) < coronal.shape[1] * 0.45


def test_the_overview_is_the_same_for_every_storage_order(thorax):
    turned = [MIRRORED.apply(v) for v in (thorax.scan, thorax.lesions, thorax.lungs)]
    expected = overview_figure(thorax.scan, thorax.lesions, thorax.findings, thorax.lungs)
    assert overview_figure(turned[0], turned[1], thorax.findings, turned[2]) == expected


def test_boxes_that_are_known_already_change_no_picture(thorax):
    scan, lesions = MIRRORED.apply(thorax.scan), MIRRORED.apply(thorax.lesions)
    boxes = canonical_boxes(lesions)
    assert boxes == canonical_boxes(thorax.lesions)
    known = overview_figure(scan, lesions, thorax.findings, None, boxes)
    assert known == overview_figure(scan, lesions, thorax.findings, None)
    first = thorax.findings.lesions[0]
    assert lesion_figure(thorax.scan, thorax.lesions, first, boxes) == lesion_figure(thorax.scan, thorax.lesions, first)


def test_no_title_is_cut_off_or_lies_on_another_picture(thorax, drawn):
    overview_figure(thorax.scan, thorax.lesions, thorax.findings, thorax.lungs)
    lesion_figure(thorax.scan, thorax.lesions, thorax.findings.lesions[0])
    for figure in drawn:
        texts = [a.title.get_window_extent() for a in figure.axes if a.get_title()]
        texts += [t.get_window_extent() for t in figure.texts]
        panels = [a.get_window_extent() for a in figure.axes]
        for text in texts:
            assert 0 <= text.x0 < text.x1 <= figure.bbox.x1
            assert 0 <= text.y0 < text.y1 <= figure.bbox.y1
            assert not any(text.overlaps(panel) for panel in panels)
        assert not any(a.overlaps(b) for i, a in enumerate(texts) for b in texts[:i])


def test_the_overview_lists_lesions_and_says_when_there_are_none(thorax, drawn):
    overview_figure(thorax.scan, thorax.lesions, thorax.findings, thorax.lungs)
    legend = drawn[0].axes[2].get_legend()
    labels = [t.get_text().replace("\u00a0", " ") for t in legend.get_texts()]
    assert labels == ["1  left, 4.32 mL", "2  right, 0.480 mL", "lungs"]
    none = replace(thorax.findings, lesions=(), burden=Burden(0, 0.0, None, 0.0))
    empty = thorax.lesions.with_voxels(np.zeros_like(thorax.lesions.voxels))
    overview_figure(thorax.scan, empty, none, None)
    assert "no lesion" in [t.get_text() for t in drawn[1].axes[2].texts]


def test_padding_far_below_air_does_not_change_the_overview(thorax):
    padded = thorax.scan.voxels.copy()
    padded[padded == -1000] = -1024
    deeper = padded.copy()
    deeper[padded == -1024] = -3024
    pngs = [
        overview_figure(thorax.scan.with_voxels(v), thorax.lesions, thorax.findings, None) for v in (padded, deeper)
    ]
    assert pngs[0] == pngs[1]


def test_the_axes_of_a_lesion_end_on_its_outline(thorax, drawn):
    lesion = thorax.findings.lesions[0]
    lesion_figure(thorax.scan, thorax.lesions, lesion)
    axes = titled(drawn[0], "axial, lung window, slice")
    outline = np.vstack([p.vertices for c in axes.collections for p in c.get_paths()])
    for line, length in zip(axes.lines[-2:], (18.0, 16.0), strict=True):
        ends = np.column_stack([line.get_xdata(), line.get_ydata()])
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(length)
        assert _distance_to_outline(outline, ends) == pytest.approx(0.0, abs=1e-6)


def _distance_to_outline(outline: np.ndarray, points: np.ndarray) -> float:
    start, step = outline[:-1], np.diff(outline, axis=0)
    along = ((points[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12)
    nearest = start + np.clip(along, 0, 1)[..., None] * step
    return float(np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1).max())


def test_the_legend_gives_the_lengths_of_both_axes(thorax, drawn):
    lesion_figure(thorax.scan, thorax.lesions, thorax.findings.lesions[0])
    legend = titled(drawn[0], "axial, lung window, slice 14").get_legend()
    texts = [t.get_text().replace("\u00a0", " ") for t in legend.get_texts()]
    assert texts == ["long axis 18.0 mm", "short axis 16.0 mm"]


def test_a_lesion_looks_the_same_in_every_storage_order(thorax):
    lesion = thorax.findings.lesions[0]
    turned = lesion_figure(MIRRORED.apply(thorax.scan), MIRRORED.apply(thorax.lesions), lesion)
    assert turned == lesion_figure(thorax.scan, thorax.lesions, lesion)


def test_the_axial_slice_counts_along_the_file(thorax, drawn):
    lesion = thorax.findings.lesions[0]
    counted = replace(lesion, axial_slice=thorax.scan.shape[0] - 1 - lesion.axial_slice)
    lesion_figure(thorax.scan, thorax.lesions, lesion)
    lesion_figure(UPSIDE_DOWN.apply(thorax.scan), UPSIDE_DOWN.apply(thorax.lesions), counted)
    images = [titled(figure, "axial, lung").images[0].get_array() for figure in drawn]
    np.testing.assert_array_equal(images[0], images[1])
    assert titled(drawn[1], "axial, lung").get_title() == "axial, lung window, slice 9 (from 0)"


def test_coronal_and_sagittal_planes_run_through_the_centroid(thorax, drawn):
    lesion = thorax.findings.lesions[0]
    z, y, x = np.rint(thorax.scan.to_index(lesion.centroid_mm)).astype(int)
    marked = thorax.scan.voxels.copy()
    marked[z, y, x] = 3000
    lesion_figure(thorax.scan.with_voxels(marked), thorax.lesions, lesion)
    for plane in ("coronal", "sagittal"):
        assert titled(drawn[0], plane).images[0].get_array().max() == 3000


def test_a_lesion_of_one_voxel_at_the_corner_of_the_scan_is_drawn(thorax):
    labels = np.zeros_like(thorax.lesions.voxels)
    labels[0, 0, 0] = 3
    corner = tuple(float(c) for c in thorax.scan.to_world((0, 0, 0)))
    lesion = replace(
        thorax.findings.lesions[0], id=3, axial_slice=0, centroid_mm=corner,
        long_axis_ends_mm=(corner, corner), short_axis_ends_mm=(corner, corner), long_axis_mm=0.0,
    )  # fmt: skip
    picture = pixels(lesion_figure(thorax.scan, thorax.lesions.with_voxels(labels), lesion))
    assert picture.shape[0] > 500


@pytest.mark.parametrize("change", [{"id": 7}, {"axial_slice": 2}, {"axial_slice": 400}])
def test_a_lesion_that_is_not_in_the_label_map_is_refused(thorax, change):
    lesion = replace(thorax.findings.lesions[0], **change)
    with pytest.raises(MaskError, match=r"which holds \[1, 2\]"):
        lesion_figure(thorax.scan, thorax.lesions, lesion)


def test_the_overview_refuses_findings_of_another_label_map(thorax):
    other = thorax.lesions.with_voxels(np.where(thorax.lesions.voxels == 1, 1, 0).astype(np.uint8))
    with pytest.raises(MaskError, match="lesion 2"):
        overview_figure(thorax.scan, other, thorax.findings, None)
    empty = thorax.lesions.with_voxels(np.zeros_like(thorax.lesions.voxels))
    with pytest.raises(MaskError, match="no lesion"):
        overview_figure(thorax.scan, empty, thorax.findings, None)


def test_lungs_of_another_scan_are_refused(thorax):
    lungs = Volume(thorax.lungs.voxels[:-1], thorax.lungs.affine)
    with pytest.raises(MaskError, match="grid"):
        overview_figure(thorax.scan, thorax.lesions, thorax.findings, lungs)


def test_a_lesion_without_a_side_says_so(thorax):
    lesion = replace(thorax.findings.lesions[0], side=None)
    assert "side unknown" in lesion_title(lesion)


@pytest.mark.real
def test_a_real_mass_is_drawn_sharp_and_small_enough_to_mail(thorax, shared_data):
    scan = read_nifti(shared_data / "scans" / "RadPhantom-pat4.nii.gz")
    mask = read_nifti(shared_data / "scans" / "RadPhantom-pat4_gtv.nii.gz")
    places = np.argwhere(mask.voxels)
    centre = tuple(float(c) for c in scan.to_world(places.mean(axis=0)))
    lesion = replace(thorax.findings.lesions[0], axial_slice=int(np.median(places[:, 0])), centroid_mm=centre)
    png = lesion_figure(scan, mask, lesion)
    assert len(png) < 600_000
    assert pixels(png).shape[1] >= 1400
    assert len(columns_of(ORANGE, pixels(png))) > 1000
