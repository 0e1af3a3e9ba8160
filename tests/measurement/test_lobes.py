"""What somebody else's labels mean, told by where they lie; and lungs that leave the tumour out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.measurement.conftest import SHAPE, SPACING, balls, box_lungs, lobe_map, points_mm

from tumorspread.errors import MaskError
from tumorspread.measurement.lobes import LOBES, read_lobe_map
from tumorspread.measurement.measured import MeasureOptions, measure_mask
from tumorspread.measurement.outlines import fill_lobes, fill_lungs
from tumorspread.scan.volume import Volume

LUNGMASK = (1, 2, 3, 4, 5)


def volume(labels):
    return Volume.upright(np.asarray(labels, np.uint16), SPACING)


@pytest.mark.parametrize("numbers", [(10, 11, 12, 13, 14), (13, 14, 15, 16, 17), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("others", [False, True])
def test_lobes_by_any_known_convention_are_understood(numbers, others):
    lobes = lobe_map()
    table = np.array([0, *numbers], np.uint16)
    labels = table[lobes]
    if others:  # organs of the same file
        labels[:4, :4, :4] = 51
        labels[:4, 10:14, :4] = max(numbers) + 1
    found = read_lobe_map(Volume.upright(labels, SPACING))
    assert np.array_equal(found.lobes, lobes)
    assert np.array_equal(found.lungs.labels, box_lungs())
    assert found.lungs.volumes.left_ml == pytest.approx(1350)


@pytest.mark.parametrize("right_first", [True, False])
def test_a_mask_of_two_lungs_tells_its_sides_by_where_they_lie(right_first):
    sides = box_lungs()
    labels = np.where(sides > 0, 3 - sides, 0) if right_first else sides
    found = read_lobe_map(Volume.upright(labels.astype(np.uint16), SPACING))
    assert found.lobes is None
    assert np.array_equal(found.lungs.labels, sides)


def test_lobes_in_the_wrong_place_are_refused():
    mirrored = np.ascontiguousarray(lobe_map()[:, :, ::-1]).astype(np.uint16)
    with pytest.raises(MaskError, match="left lobe lies to the right"):
        read_lobe_map(Volume.upright(mirrored, SPACING))
    upside_down = np.ascontiguousarray(lobe_map()[::-1]).astype(np.uint16)
    with pytest.raises(MaskError, match="upper lobe lies below"):
        read_lobe_map(Volume.upright(upside_down, SPACING))


@pytest.mark.parametrize("labels", [(), (7,), (1, 2, 3), (1,)])
def test_labels_of_no_known_kind_are_refused(labels):
    voxels = np.zeros((10, 10, 10), np.uint16)
    for place, label in enumerate(labels):
        voxels[place, :, :] = label
    with pytest.raises(MaskError, match=r"expected"):
        read_lobe_map(Volume.upright(voxels, SPACING))


def kept(*numbers):
    """The box lungs with these of the lobes 1 to 5 left."""
    lobes = lobe_map()
    return np.where(np.isin(lobes, numbers), lobes, 0)


@pytest.mark.parametrize("convention", [(10, 11, 12, 13, 14), (13, 14, 15, 16, 17), LUNGMASK])
@pytest.mark.parametrize(
    "left", [(1, 2, 3), (1, 2, 3, 4), (1, 3), (1, 3, 4), (1, 2), (3, 4, 5), (3, 5), (2, 3, 4, 5), (2, 5)], ids=str
)
def test_the_lobes_of_a_patient_who_lacks_some_are_understood(convention, left):
    lobes = kept(*left)
    found = read_lobe_map(volume(np.array([0, *convention])[lobes]))
    assert np.array_equal(found.lobes, lobes)
    codes = [remark.code for remark in found.lungs.remarks]
    assert codes[0] == "lobes_missing"
    assert ("one_lung_found" in codes) == (set(left) <= {1, 2} or set(left) <= {3, 4, 5})
    for lung in ("left", "right"):
        there = any(LOBES[n - 1].startswith(lung) for n in left)
        assert (getattr(found.lungs.volumes, f"{lung}_ml") is None) != there
        assert (f"{lung}_ml" in found.lungs.volumes.reasons) != there


@pytest.mark.parametrize("label", [1, 2])
@pytest.mark.parametrize("side", [1, 2])
def test_one_lung_with_one_label_lies_where_it_lies(label, side):
    found = read_lobe_map(volume((box_lungs() == side) * label))
    assert np.array_equal(found.lungs.labels, (box_lungs() == side) * side)
    assert [remark.code for remark in found.lungs.remarks] == ["one_lung_found"]


def test_one_label_for_both_lungs_is_refused():
    with pytest.raises(MaskError, match="middle of the body"):
        read_lobe_map(volume(box_lungs() > 0))


def test_one_lung_in_the_middle_of_its_crop_goes_by_the_midline_of_the_body():
    lung = (box_lungs() == 2)[:, :, 10:82]
    with pytest.raises(MaskError, match="middle of the body"):
        read_lobe_map(volume(lung))
    assert read_lobe_map(volume(lung), midline_mm=125.0 - 12.5).lungs.volumes.right_ml == pytest.approx(1350)


@pytest.mark.parametrize("flat", [False, True], ids=["above", "behind"])
def test_two_lobes_of_one_lung_are_not_two_lungs(flat):
    z, y, _ = points_mm()
    upper = y < 75 if flat else z > 100
    labels = np.where(box_lungs() == 2, np.where(upper, 1, 2), 0)
    with pytest.raises(MaskError, match="do not lie side by side"):
        read_lobe_map(volume(labels))


@pytest.mark.parametrize(("label", "shown"), [(65536, "65536"), (70001, "70001"), (-1, "-1")])
def test_labels_out_of_range_are_refused(label, shown):
    voxels = lobe_map().astype(np.int32)
    voxels[0, 0, 0] = label
    with pytest.raises(MaskError, match=f"holds {shown}"):
        read_lobe_map(Volume.upright(voxels, SPACING))


def test_lungs_that_are_brought_along_are_checked_as_our_own():
    cut = volume(box_lungs()[12:])
    assert "lungs_cut_by_scan" in [r.code for r in read_lobe_map(cut).lungs.remarks]
    z, _, _ = points_mm()
    small = volume(np.where((z > 90) & (z < 110), box_lungs(), 0))
    assert [r.code for r in read_lobe_map(small).lungs.remarks] == ["lung_volume_implausible"] * 2
    touching = box_lungs()
    touching[30:40, 40:50, 76:124] = 2
    assert "lungs_touch" in [r.code for r in read_lobe_map(volume(touching)).lungs.remarks]


@pytest.mark.parametrize("channel", [False, True], ids=["hole", "hole with a way out"])
@pytest.mark.parametrize("labels", [box_lungs, lobe_map], ids=["lungs", "lobes"])
def test_a_tumour_that_the_brought_lungs_leave_out_is_as_deep_as_if_they_held_it(labels, channel):
    tumour = balls(((60.0, 75.0, 57.0), 9.0))
    whole, holed = labels(), labels()
    holed[ndimage.binary_dilation(tumour)] = 0
    if channel:
        holed[23:25, 60, 45:80] = 0
    scan = volume(np.zeros(SHAPE))
    found = [
        measure_mask(scan, scan.with_voxels(tumour), MeasureOptions(lobes=volume(brought))).lesions[0]
        for brought in (whole, holed)
    ]
    names = ["side", "lobe", "zone", "pleural_contact_cm2", "flags"]
    # A channel is a surface of its own, as a fissure or a bronchus would be.
    names += [] if channel else ["region", "distance_to_pleura_mm", "distance_to_mediastinum_mm"]
    one, other = ({name: getattr(lesion, name) for name in names} for lesion in found)
    assert (found[0].region, found[0].pleural_contact_cm2, found[0].flags) == ("inner", 0, ())
    assert other == one


def test_a_lesion_mostly_outside_is_not_made_lung():
    z, y, x = points_mm()
    tumour = ((abs(z - 100) < 10) & (abs(y - 75) < 10) & (x > 0) & (x < 24)).astype(np.uint8)
    assert np.array_equal(fill_lungs(box_lungs(), tumour, SPACING), box_lungs())


def test_a_hole_goes_to_the_nearest_lobe():
    lobes, sides = lobe_map(), box_lungs()
    z, y, x = points_mm()
    hole = (abs(z - 100) < 20) & (abs(y - 100) < 10) & (abs(x - 190) < 10)
    filled = fill_lobes(np.where(hole, 0, lobes).astype(np.uint8), sides, SPACING)
    assert ((filled > 0) == (sides > 0)).all()
    assert (filled[hole & (z > 112)] == 1).all()
    assert (filled[hole & (z < 88)] == 2).all()
