from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tumorspread.errors import MaskError
from tumorspread.report import figures
from tumorspread.report.figures import lesion_figure, overview_figure
from tumorspread.report.panel import ORANGE, SKY
from tumorspread.report.scene import Scene
from tumorspread.report.wording import lesion_title
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.volume import Reorientation, Volume

# The slices of the file keep their count in this one, so the captions stay the same.
MIRRORED = Reorientation((0, 2, 1), (False, True, True))
UPSIDE_DOWN = Reorientation((0, 1, 2), (True, False, False))
ORDERS = (
    MIRRORED,
    UPSIDE_DOWN,
    Reorientation((2, 1, 0), (False, False, False)),
    Reorientation((1, 2, 0), (True, False, True)),
    Reorientation((2, 0, 1), (True, True, True)),
)


def scene_of(thorax, order: Reorientation | None = None) -> Scene:
    turn = order.apply if order else lambda volume: volume
    return Scene.of(turn(thorax.scan), turn(thorax.lesions), turn(thorax.lungs))


def named(pictures, name: str) -> np.ndarray:
    return next(picture.plate.pixels for picture in pictures if picture.name == name)


def places_of(colour: str, picture: np.ndarray) -> np.ndarray:
    """The pixels (down, across) that are nearly of a colour."""
    near = np.abs(picture.astype(int) - np.array(to_rgb(colour)) * 255).max(axis=2) < 30
    return np.argwhere(near)


@pytest.fixture
def written(monkeypatch):
    """Every text that is written on a picture, with the pixel it is written at."""
    kept = []
    write = figures.Plate.write

    def note(plate, text, place, *rest):
        kept.append((text.replace("\u00a0", " "), place))
        write(plate, text, place, *rest)

    monkeypatch.setattr(figures.Plate, "write", note)
    return kept


def test_the_left_lesion_is_on_the_right_of_the_coronal_projection(thorax):
    coronal = named(overview_figure(scene_of(thorax), thorax.findings), "coronal")
    left, right = places_of(ORANGE, coronal), places_of(SKY, coronal)
    assert len(left) > 100
    assert len(right) > 20
    assert np.median(left[:, 1]) > coronal.shape[1] * 0.55
    assert left[:, 0].mean() < coronal.shape[0] / 2  # lesion 1 lies towards the head


@pytest.mark.parametrize("order", ORDERS)
def test_the_overview_is_the_same_for_every_storage_order(thorax, order):
    expected = overview_figure(scene_of(thorax), thorax.findings)
    turned = overview_figure(scene_of(thorax, order), thorax.findings)
    for one, other in zip(expected, turned, strict=True):
        np.testing.assert_array_equal(one.plate.pixels, other.plate.pixels)


def test_every_lesion_has_its_number_and_no_two_numbers_cover_each_other(thorax, written):
    overview_figure(scene_of(thorax), thorax.findings)
    numbers = [(text, place) for text, place in written if text.isdigit()]
    assert [text for text, _ in numbers] == ["1", "2", "1", "2"]
    for (_, one), (_, other) in (numbers[:2], numbers[2:]):
        assert np.abs(np.subtract(one, other)).max() > 10


def test_without_lungs_the_whole_scan_is_projected(thorax):
    bare = Scene.of(thorax.scan, thorax.lesions)
    coronal = named(overview_figure(bare, thorax.findings), "coronal")
    depth, _, width = np.array(thorax.scan.shape) * thorax.scan.spacing_mm
    assert coronal.shape[0] / coronal.shape[1] == pytest.approx(depth / width, rel=0.01)


def test_both_projections_have_one_scale(thorax):
    coronal, sagittal = overview_figure(scene_of(thorax), thorax.findings)
    assert coronal.plate.scale == sagittal.plate.scale
    assert coronal.plate.pixels.shape[0] == sagittal.plate.pixels.shape[0]


def test_padding_far_below_air_does_not_change_the_overview(thorax):
    padded = thorax.scan.voxels.copy()
    padded[padded == -1000] = -1024
    deeper = padded.copy()
    deeper[padded == -1024] = -3024
    one, other = (
        overview_figure(Scene.of(thorax.scan.with_voxels(v), thorax.lesions), thorax.findings) for v in (padded, deeper)
    )
    np.testing.assert_array_equal(one[0].plate.pixels, other[0].plate.pixels)


def test_the_axes_of_a_lesion_end_on_its_outline_and_have_their_lengths(thorax, monkeypatch):
    drawn, outlines = [], []
    segment, outline = figures.Plate.segment, figures.Plate._line
    monkeypatch.setattr(
        figures.Plate, "segment", lambda plate, ends, style: drawn.append((plate, ends)) or segment(plate, ends, style)
    )
    monkeypatch.setattr(
        figures.Plate,
        "_line",
        lambda plate, points, *rest, **more: outlines.append((plate, points)) or outline(plate, points, *rest, **more),
    )
    lesion_figure(scene_of(thorax), thorax.findings.lesions[0])
    for (plate, ends), length in zip(drawn, (18.0, 16.0), strict=True):
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(length)
        border = next(points for own, points in outlines if own is plate and len(points) > 8)
        tips = np.array([plate.place_of(end) for end in ends])
        assert _distance_to_outline(border, tips) == pytest.approx(0.0, abs=1e-6)


def _distance_to_outline(outline: np.ndarray, points: np.ndarray) -> float:
    start, step = outline[:-1], np.diff(outline, axis=0)
    along = ((points[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12)
    nearest = start + np.clip(along, 0, 1)[..., None] * step
    return float(np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1).max())


def test_the_lengths_of_both_axes_are_written_beside_them(thorax, written):
    lesion_figure(scene_of(thorax), thorax.findings.lesions[0])
    assert [text for text, _ in written if "mm" in text] == ["long 18.0 mm", "short 16.0 mm"]


@pytest.mark.parametrize("order", ORDERS[:1])
def test_a_lesion_looks_the_same_in_every_storage_order(thorax, order):
    lesion = thorax.findings.lesions[0]
    for one, other in zip(
        lesion_figure(scene_of(thorax), lesion), lesion_figure(scene_of(thorax, order), lesion), strict=True
    ):
        assert one.title == other.title
        np.testing.assert_array_equal(one.plate.pixels, other.plate.pixels)


def test_the_axial_slice_counts_along_the_file(thorax):
    lesion = thorax.findings.lesions[0]
    counted = replace(lesion, axial_slice=thorax.scan.shape[0] - 1 - lesion.axial_slice)
    one = lesion_figure(scene_of(thorax), lesion)
    other = lesion_figure(scene_of(thorax, UPSIDE_DOWN), counted)
    np.testing.assert_array_equal(named(one, "axial"), named(other, "axial"))
    assert other[0].title == "Axial, slice 9, lung window"


def test_coronal_and_sagittal_planes_are_those_where_most_of_the_lesion_is_seen(thorax):
    labels = thorax.lesions.voxels.copy()
    labels[15, 17, 33] = labels[15, 18, 40] = 1  # two voxels more in row 17 and column 40
    labels[15:17, 17, 34:40] = 1
    labels[14:18, 18:22, 40] = 1
    marked = thorax.scan.voxels.copy()
    marked[:, 18, :], marked[:, :, 36] = -1000, -1000
    marked[15, 20, 36] = -1000
    scene = Scene.of(thorax.scan.with_voxels(marked), thorax.lesions.with_voxels(labels))
    planes = figures.largest_planes(labels[14:18, 17:22, 33:41] == 1, (slice(14, 18), slice(17, 22), slice(33, 41)))
    inside = labels == 1
    assert planes[figures.CORONAL] in np.flatnonzero(inside.sum((0, 2)) == inside.sum((0, 2)).max())
    assert planes[figures.SAGITTAL] in np.flatnonzero(inside.sum((0, 1)) == inside.sum((0, 1)).max())
    assert len(lesion_figure(scene, thorax.findings.lesions[0])) == 5


def test_a_lesion_of_one_voxel_at_the_corner_of_the_scan_is_drawn(thorax):
    labels = np.zeros_like(thorax.lesions.voxels)
    labels[0, 0, 0] = 3
    corner = tuple(float(c) for c in thorax.scan.to_world((0, 0, 0)))
    lesion = replace(
        thorax.findings.lesions[0], id=3, axial_slice=0, centroid_mm=corner,
        long_axis_ends_mm=(corner, corner), short_axis_ends_mm=(corner, corner), long_axis_mm=0.0,
    )  # fmt: skip
    pictures = lesion_figure(Scene.of(thorax.scan, thorax.lesions.with_voxels(labels)), lesion)
    assert named(pictures, "axial").shape == (figures.LARGE, figures.LARGE, 3)


@pytest.mark.parametrize("change", [{"id": 7}, {"axial_slice": 2}, {"axial_slice": 400}])
def test_a_lesion_that_is_not_in_the_label_map_is_refused(thorax, change):
    lesion = replace(thorax.findings.lesions[0], **change)
    with pytest.raises(MaskError, match=r"which holds \[1, 2\]"):
        lesion_figure(scene_of(thorax), lesion)


def test_the_overview_refuses_findings_of_another_label_map(thorax):
    other = thorax.lesions.with_voxels(np.where(thorax.lesions.voxels == 1, 1, 0).astype(np.uint8))
    with pytest.raises(MaskError, match="lesion 2"):
        overview_figure(Scene.of(thorax.scan, other), thorax.findings)
    empty = thorax.lesions.with_voxels(np.zeros_like(thorax.lesions.voxels))
    with pytest.raises(MaskError, match="no lesion"):
        overview_figure(Scene.of(thorax.scan, empty), thorax.findings)


def test_lungs_of_another_scan_are_refused(thorax):
    lungs = Volume(thorax.lungs.voxels[:-1], thorax.lungs.affine)
    with pytest.raises(MaskError, match="grid"):
        Scene.of(thorax.scan, thorax.lesions, lungs)


def test_a_lesion_without_a_side_says_so(thorax):
    lesion = replace(thorax.findings.lesions[0], side=None)
    assert "side unknown" in lesion_title(lesion)


@pytest.mark.real
def test_a_real_mass_is_drawn_sharp_and_small_enough_to_mail(thorax, shared_data):
    scan = read_nifti(shared_data / "scans" / "RadPhantom-pat4.nii.gz")
    mask = read_nifti(shared_data / "scans" / "RadPhantom-pat4_gtv.nii.gz")
    places = np.argwhere(mask.voxels)
    lesion = replace(thorax.findings.lesions[0], axial_slice=int(np.median(places[:, 0])))
    pictures = lesion_figure(Scene.of(scan, mask), lesion)
    assert sum(len(picture.plate.packed()) for picture in pictures) < 250_000
    assert len(places_of(ORANGE, named(pictures, "axial"))) > 1000
