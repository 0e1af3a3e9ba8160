"""The input gate lets every real chest pass and nothing that is not one."""

from __future__ import annotations

import numpy as np
import pytest

from tumorspread.errors import GeometryError, ReadError
from tumorspread.scan.checks import check_ct
from tumorspread.scan.read import read
from tumorspread.scan.volume import Reorientation, Volume

CHESTS = [
    "ACRIN-FLT-001_19600101_2", "CPTAC-C3N-00247", "LIDC-IDRI-0314", "LungFCP-01-0001", "Lung_Dx-A0001_s3",
    "RadPhantom-pat2", "RadPhantom-pat4", "elastix_rightlung_baseline", "elastix_rightlung_followup",
]  # fmt: skip


def chest(shape=(20, 40, 40), spacing=(2.5, 2.0, 2.0), dtype=np.int16) -> Volume:
    """Tissue at 40 HU around two boxes of air at -850 HU."""
    voxels = np.full(shape, 40, dtype)
    voxels[:, shape[1] // 4 : -shape[1] // 4, 1 : shape[2] // 3] = -850
    voxels[:, shape[1] // 4 : -shape[1] // 4, -shape[2] // 3 : -1] = -850
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * np.array(spacing)
    return Volume(voxels, affine)


def test_a_plain_chest_passes_without_remarks_in_any_orientation():
    assert check_ct(chest()) == ()
    assert check_ct(Reorientation((2, 0, 1), (True, False, True)).apply(chest())) == ()


def test_thick_slices_are_remarked_along_head_and_foot_alone():
    assert [r.code for r in check_ct(chest(spacing=(5.5, 2, 2)))] == ["thick_slices"]
    turned = Reorientation((2, 0, 1), (False, False, False)).apply(chest(spacing=(5.5, 2, 2)))
    assert [r.code for r in check_ct(turned)] == ["thick_slices"]
    assert check_ct(chest(spacing=(5.0, 2, 2))) == ()


@pytest.mark.parametrize("value", [-3024, 9000])
def test_padding_and_metal_are_remarked_with_their_share(value):
    volume = chest()
    volume.voxels[0, :8] = value
    (remark,) = check_ct(volume)
    assert remark.code == "outside_range_hu"
    assert "1 % of the voxels" in remark.text
    assert str(value) in remark.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_voxel_that_is_no_number_is_refused(value):
    volume = chest(dtype=np.float32)
    volume.voxels[3, 4, 5] = value
    with pytest.raises(ReadError, match=r"1 of 32000 voxels are NaN or infinite"):
        check_ct(volume)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: (v + 1024) / 2048,
        lambda v: (v + 1000) / 1400 * 255,
        lambda v: v + 1024,
        lambda v: v * 0,
        lambda v: v * 0 - 900,
        lambda v: np.where(v < -500, -2000, v + 1024),
    ],
    ids=["0..1", "0..255", "unrescaled", "zeros", "air alone", "padded unrescaled"],
)
def test_values_that_are_not_hu_of_a_chest_are_refused(change):
    volume = chest()
    with pytest.raises(ReadError, match="not in HU, or not a chest"):
        check_ct(volume.with_voxels(change(volume.voxels.astype(np.float32))))


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (chest(spacing=(2.5, 0.05, 2)), "0.1 to 20 mm"),
        (chest(spacing=(25, 2, 2)), "0.1 to 20 mm"),
        (chest(shape=(20, 40, 7), spacing=(2.5, 2, 5)), "at least 8 along y and x"),
        (chest(shape=(3, 40, 40), spacing=(2.5, 2, 2)), "covers 7.5, 80.0, 80.0 mm"),
        (chest(spacing=(2.5, 0.2, 0.2)), "expected at least 30 mm"),
    ],
)
def test_a_size_that_holds_no_chest_is_refused(volume, message):
    with pytest.raises(GeometryError, match=message):
        check_ct(volume)


@pytest.mark.real
@pytest.mark.parametrize("name", CHESTS)
def test_every_real_chest_and_crop_passes(shared_data, name):
    codes = {remark.code for remark in check_ct(read(shared_data / "scans" / f"{name}.nii.gz"))}
    padded = name.startswith(("ACRIN", "elastix"))
    assert codes == ({"outside_range_hu"} if padded else set())


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "expected"),
    [("CIP-ct64", []), ("Lung_Dx-A0002_B40f", ["thick_slices"]), ("RadPhantom-pat4", [])],
)
def test_every_real_dicom_chest_passes(shared_data, name, expected):
    assert [remark.code for remark in check_ct(read(shared_data / "dicom" / name))] == expected
