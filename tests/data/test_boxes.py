"""Boxes around a tumour: what is surely tumour in them, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tumorspread.data.boxes import CORE, mark_core, read_boxes
from tumorspread.data.hosts import TUMOUR, HostSpec, open_host
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.errors import DatasetError
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.volume import Reorientation, Volume

HEADER = "volume,slice_index,z_mm,class,xmin,ymin,xmax,ymax\n"
CENTRE, RADIUS = np.array((10, 50, 60)), np.array((6, 24, 30))


def ball(noise_hu: float = 0.0) -> tuple[Volume, np.ndarray, list]:
    """An ellipsoid of 40 HU in lung, its voxels, and the tight box of each of its slices."""
    grid = np.moveaxis(np.indices((20, 100, 120)), 0, -1)
    inside = (((grid - CENTRE) / RADIUS) ** 2).sum(axis=-1) <= 1
    voxels = np.where(inside, 40.0, -850.0) + np.random.default_rng(5).normal(0, noise_hu, inside.shape)
    boxes = []
    for z in np.flatnonzero(inside.any(axis=(1, 2))):
        y, x = np.nonzero(inside[z])
        boxes.append((int(z), (int(x.min()), int(y.min()), int(x.max()), int(y.max()))))
    return Volume(voxels.astype(np.int16), np.diag([5.0, 0.8, 0.8, 1.0])), inside, boxes


@pytest.mark.parametrize("noise_hu", [0.0, 120.0])
def test_the_core_lies_in_the_tumour_and_is_its_share_of_an_ellipse(noise_hu):
    scan, inside, boxes = ball(noise_hu)
    core = mark_core(scan, boxes)
    assert not (core & ~inside).any()
    large = inside.sum(axis=(1, 2)) > 500  # of small ones a pixel is much
    shares = core.sum(axis=(1, 2))[large] / inside.sum(axis=(1, 2))[large]
    assert shares == pytest.approx(CORE**2, abs=0.06)


def test_air_in_a_box_and_a_second_piece_are_no_core():
    scan, _, boxes = ball()
    hollow = scan.voxels.copy()
    hollow[8:13, 45:56, 55:66] = -900
    hollow[18, 20:30, 20:30] = 40  # apart from the ball, which ends at 16
    core = mark_core(scan.with_voxels(hollow), [*boxes, (18, (20, 20, 29, 29))])
    assert not core[9:12, 48:53, 58:63].any()
    assert not core[18].any()
    assert core.any()


def test_what_is_no_table_of_boxes_is_refused(tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text(HEADER + "a,3,1.0,A,1,2,3,4\nb,5,1.0,A,5,6,7,8\na,4,1.0,A,2,2,3,3\n")
    assert read_boxes(table) == {"a": [(3, (1, 2, 3, 4)), (4, (2, 2, 3, 3))], "b": [(5, (5, 6, 7, 8))]}
    for text in ("volume,xmin\na,1\n", HEADER + "a,3,1.0,A,1,2,three,4\n", HEADER + "a,3\n"):
        table.write_text(text)
        with pytest.raises(DatasetError, match="not a table of boxes"):
            read_boxes(table)
    with pytest.raises(DatasetError, match="not a table of boxes"):
        read_boxes(tmp_path / "missing.csv")


@pytest.mark.parametrize("box", [(20, (1, 1, 5, 5)), (0, (1, 1, 120, 5)), (0, (5, 1, 4, 5)), (-1, (1, 1, 5, 5))])
def test_a_box_beyond_the_scan_is_refused(box):
    scan, _, boxes = ball()
    with pytest.raises(DatasetError, match="is not within"):
        mark_core(scan, [*boxes, box])


def test_boxes_of_another_scan_are_refused():
    scan, _, _ = ball()
    with pytest.raises(DatasetError, match="nothing in the boxes is solid"):
        mark_core(scan, [(1, (2, 2, 9, 9))])


def test_the_core_of_a_host_is_a_real_tumour_of_it(tmp_path):
    config = PhantomConfig(spacing_mm=(4.0, 3.0, 3.0), vessels=8, tumours=(1, 1), diameter_mm=(40.0, 44.0))
    ill = make_phantom(2, config)
    write_nifti(ill.scan, tmp_path / "ill.nii.gz")
    lines = []
    for z in np.flatnonzero(ill.mask.voxels.any(axis=(1, 2))):
        y, x = np.nonzero(ill.mask.voxels[z])
        lines.append(f"ill_1,{z},0.0,A,{x.min()},{y.min()},{x.max()},{y.max()}\n")
    (tmp_path / "boxes.csv").write_text(HEADER + "".join(lines))
    z, y, x = Reorientation.to_canonical(ill.scan).apply(ill.scan).shape
    spec = HostSpec("ill", "ill.nii.gz", boxes=("boxes.csv", "ill_1"), ignore=((0, z, 0, y, 0, x),))
    host = open_host(spec, tmp_path)
    core_ml = (host.labels.voxels == TUMOUR).sum() * host.scan.voxel_ml
    mask_ml = (ill.mask.voxels > 0).sum() * ill.mask.voxel_ml
    assert 0.5 * mask_ml < core_ml <= mask_ml
    upright = Reorientation.to_canonical(ill.scan).apply(ill.mask)
    centre = np.argwhere(host.labels.voxels == TUMOUR).mean(axis=0)
    truth = np.argwhere(upright.voxels > 0).mean(axis=0)
    apart_mm = np.linalg.norm(host.scan.to_world(centre) - upright.to_world(truth))
    assert apart_mm < 4
    with pytest.raises(DatasetError, match=r"ill: boxes\.csv holds no boxes of ill_2"):
        open_host(replace(spec, boxes=("boxes.csv", "ill_2")), tmp_path)
    with pytest.raises(DatasetError, match="has boxes and no `ignore`"):
        open_host(replace(spec, ignore=()), tmp_path)
