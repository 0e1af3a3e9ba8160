"""Lungs of real scans: the reference, lesions inside, air outside, warnings, and no whim of axes or kernel."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from tumorspread import read
from tumorspread.measurement.lungs import LEFT, RIGHT, segment_lungs
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.read import read_mask
from tumorspread.scan.volume import Reorientation

pytestmark = pytest.mark.real

# By tools/lung_reference.py: air below -450 HU at full resolution without the airways, each lung closed by a ball of
# 8 mm. Its outline was looked at on 28 axial slices from the bases (22) to the apices (232), all through the hila,
# and needed no correction. The right upper lobe holds no air, and neither the reference nor the mask contains it.
LIDC_LEFT_ML, LIDC_RIGHT_ML = 1922, 938
WHOLE_OR_SLAB = {
    "scans/CPTAC-C3N-00247.nii.gz": (1930, 2690, set()),
    "scans/Lung_Dx-A0001_s3.nii.gz": (2410, 3260, {"lungs_touch"}),
    "scans/LungFCP-01-0001.nii.gz": (610, 700, {"lungs_cut_by_scan"}),
    "scans/ACRIN-FLT-001_19600101_2.nii.gz": (1120, 1365, {"lungs_cut_by_scan"}),
    "dicom/CIP-ct64": (2220, 2510, {"lungs_touch"}),
    "dicom/Lung_Dx-A0002_B40f": (1640, 1225, {"lungs_cut_by_scan"}),
}


@cache
def scan_and_lungs(path):
    scan = read(path)
    return scan, segment_lungs(scan)


def codes(mask):
    return {remark.code for remark in mask.remarks}


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def test_the_lungs_of_the_thin_slice_chest_are_within_5_percent_of_the_reference(shared_data):
    _, mask = scan_and_lungs(shared_data / "scans" / "LIDC-IDRI-0314.nii.gz")
    assert mask.remarks == ()
    assert mask.volumes.left_ml == pytest.approx(LIDC_LEFT_ML, rel=0.05)
    assert mask.volumes.right_ml == pytest.approx(LIDC_RIGHT_ML, rel=0.05)
    assert mask.volumes.total_ml == pytest.approx(LIDC_LEFT_ML + LIDC_RIGHT_ML, rel=0.05)


@pytest.mark.parametrize("path", WHOLE_OR_SLAB)
def test_real_lungs_keep_the_volumes_that_were_looked_at(shared_data, path):
    _, mask = scan_and_lungs(shared_data / path)
    left_ml, right_ml, expected = WHOLE_OR_SLAB[path]
    assert mask.volumes.left_ml == pytest.approx(left_ml, rel=0.03)
    assert mask.volumes.right_ml == pytest.approx(right_ml, rel=0.03)
    assert codes(mask) == expected


@pytest.mark.parametrize("path", ["scans/LIDC-IDRI-0314.nii.gz", *WHOLE_OR_SLAB])
def test_left_is_on_the_left_and_no_lung_lies_in_the_outside_air(shared_data, path):
    scan, mask = scan_and_lungs(shared_data / path)
    columns = [ndimage.center_of_mass(mask.labels[:, ::4, ::4] == side) for side in (LEFT, RIGHT)]
    left, right = (scan.to_world(np.array(place) * (1, 4, 4))[0] for place in columns)
    assert left - right > 90
    for z in np.linspace(0, scan.shape[0] - 1, 15).astype(int):
        pieces, _ = ndimage.label(scan.voxels[z] < -400)
        outside = np.unique([*pieces[0], *pieces[-1], *pieces[:, 0], *pieces[:, -1]])
        assert not mask.labels[z][np.isin(pieces, outside[outside > 0])].any()


# The contours of pat4 run along the ribs, a voxel outside of the pleura.
@pytest.mark.parametrize(
    ("case", "outline", "least"),
    [
        *[("LIDC-IDRI-0314", who, 0.99) for who in ("nodule", "reader1", "reader2", "reader3", "reader4")],
        ("RadPhantom-pat2", "gtv", 0.99),
        ("RadPhantom-pat4", "gtv", 0.94),
    ],
)
def test_annotated_lesions_lie_inside_the_lungs(shared_data, case, outline, least):
    scan, mask = scan_and_lungs(shared_data / "scans" / f"{case}.nii.gz")
    lesion = read_mask(shared_data / "scans" / f"{case}_{outline}.nii.gz", scan).voxels
    assert (mask.labels[lesion] > 0).mean() >= least


@pytest.mark.parametrize("case", ["RadPhantom-pat2", "RadPhantom-pat4", "elastix_rightlung_baseline"])
def test_crops_of_one_lung_say_so(shared_data, case):
    _, mask = scan_and_lungs(shared_data / "scans" / f"{case}.nii.gz")
    assert codes(mask) == {"one_lung_found", "lungs_cut_by_scan"}
    assert (mask.volumes.left_ml is None) == (case != "RadPhantom-pat4")


@pytest.mark.parametrize("date", ["baseline", "followup"])
def test_the_real_right_lung_of_a_crop_is_the_published_mask(shared_data, date):
    folder = shared_data / "scans"
    mask = segment_lungs(read_nifti(folder / f"elastix_rightlung_{date}.nii.gz"))
    reference = read_nifti(folder / f"elastix_rightlung_{date}_mask.nii.gz").voxels > 0
    assert dice(mask.labels == RIGHT, reference) > 0.98


def test_a_sharp_and_a_soft_kernel_of_one_scan_give_the_same_lungs(shared_data):
    soft, sharp = (scan_and_lungs(shared_data / "dicom" / f"Lung_Dx-A0002_{kernel}")[1] for kernel in ("B40f", "B70f"))
    for side in (LEFT, RIGHT):
        assert dice(soft.labels == side, sharp.labels == side) > 0.99


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, False), (False, False, True)])
def test_a_flipped_axis_moves_no_real_lung(shared_data, flips):
    scan, mask = scan_and_lungs(shared_data / "dicom" / "CIP-ct64")
    turn = Reorientation((0, 1, 2), flips)
    turned = turn.invert_array(segment_lungs(turn.apply(scan)).labels)
    assert dice(turned == LEFT, mask.labels == LEFT) > 0.99
    assert dice(turned == RIGHT, mask.labels == RIGHT) > 0.99
