"""One door: the right reader by content, options only where they belong, masks only on their scan."""

from __future__ import annotations

import gzip
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from tumorspread.errors import GeometryError, MaskError, ReadError
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.read import read, read_mask
from tumorspread.scan.volume import Reorientation, Volume


def scan(shape=(6, 8, 10), spacing=(2.5, 0.8, 0.7)) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * np.array(spacing)
    affine[:3, 3] = (-30, 20, 7)
    voxels = np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)
    return Volume(voxels, affine)


def labels(volume: Volume, values=(0, 1), dtype=np.uint8) -> Volume:
    return volume.with_voxels(np.random.default_rng(1).choice(values, volume.shape).astype(dtype))


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((9, 9), 85 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def test_nifti_is_read_whatever_it_is_called(tmp_path):
    for name in ("scan.nii", "scan.nii.gz"):
        write_nifti(scan(), tmp_path / name)
        assert np.array_equal(read(tmp_path / name).voxels, scan().voxels)
    shutil.copy(tmp_path / "scan.nii.gz", tmp_path / "scan.nii")
    assert np.array_equal(read(str(tmp_path / "scan.nii")).voxels, scan().voxels)


def test_dicom_folders_zips_and_names_without_extension_are_read(series, truth_hu, tmp_path):
    folder = series()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"IM{number}")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "preview.png")
    assert np.array_equal(read(folder).voxels, truth_hu(6))
    shutil.make_archive(str(tmp_path / "archive"), "zip", folder)
    shutil.move(tmp_path / "archive.zip", tmp_path / "scan.dcm")
    assert np.array_equal(read(tmp_path / "scan.dcm").voxels, truth_hu(6))


def test_the_series_is_handed_to_the_dicom_reader(series):
    with pytest.raises(ReadError, match=r"0 CT series end in '1\.2\.3'"):
        read(series(), series="1.2.3")


def test_a_single_classic_slice_is_refused_and_an_enhanced_file_read(series, make_slices, make_enhanced, tmp_path):
    with pytest.raises(GeometryError, match="distance between slices is unknown"):
        read(series() / "slice_02.dcm")
    make_enhanced(make_slices()).save_as(tmp_path / "enhanced", enforce_file_format=True)
    assert read(tmp_path / "enhanced").shape[0] == 6


def test_pictures_are_read_with_spacing_and_window(pictures):
    volume = read(pictures, spacing_mm=(2, 1, 1), window_hu=(-1000, 500))
    assert np.allclose(volume.voxels[:, 0, 0], [-1000, -500, 0], atol=1e-3)
    with pytest.raises(GeometryError, match="--spacing"):
        read(pictures)


def test_options_of_another_kind_are_refused(tmp_path, series, pictures):
    write_nifti(scan(), tmp_path / "scan.nii.gz")
    with pytest.raises(ReadError, match=r"--series is for DICOM; this is NIfTI"):
        read(tmp_path / "scan.nii.gz", series="1.2")
    with pytest.raises(ReadError, match=r"--series is for DICOM; this is a picture"):
        read(pictures, series="1.2", spacing_mm=(1, 1, 1))
    with pytest.raises(ReadError, match=r"--spacing and --window are for .*this is NIfTI"):
        read(tmp_path / "scan.nii.gz", spacing_mm=(1, 1, 1))
    with pytest.raises(ReadError, match=r"--spacing and --window are for .*this is DICOM"):
        read(series(), window_hu=(-1000, 400))


STRANGERS = {
    "scan.nii.gz": (b"%PDF-1.7 text", "a PDF"),
    "scan.nii": (b"", "an empty file"),
    "scan.dcm": (b"hello world, this is text\n" * 30, "not a scan"),
    "scan.png": (b"NRRD0004\n", "an NRRD image"),
    "packed.nii.gz": (gzip.compress(b"not an image" * 100), "not a readable NIfTI"),
    "cut.nii.gz": (gzip.compress(bytes(1000))[:15], "not a readable NIfTI"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_under_a_known_name_gives_one_clear_line(tmp_path, name):
    content, message = STRANGERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=message) as refusal:
        read(tmp_path / name)
    assert str(refusal.value).startswith(name)
    assert "\n" not in str(refusal.value)


def test_folders_and_zips_without_a_scan_are_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ReadError, match="holds no files"):
        read(folder)
    (folder / "notes.txt").write_text("none")
    with pytest.raises(ReadError, match="nothing in it can be read as a scan"):
        read(folder)
    write_nifti(scan(), folder / "scan.nii.gz")
    with pytest.raises(ReadError, match="holds NIfTI or packed files"):
        read(folder)
    with zipfile.ZipFile(tmp_path / "text.nii.gz", "w") as archive:
        archive.writestr("notes.txt", "none")
    with pytest.raises(ReadError, match="nothing in it"):
        read(tmp_path / "text.nii.gz")
    with pytest.raises(ReadError, match="no such file"):
        read(tmp_path / "absent")


@pytest.mark.parametrize("value", [1, 3, 255])
def test_a_mask_of_zero_and_one_other_value_becomes_bool(tmp_path, value):
    mask = labels(scan(), (0, value))
    write_nifti(mask, tmp_path / "mask.nii.gz")
    back = read_mask(tmp_path / "mask.nii.gz", scan())
    assert back.voxels.dtype == bool
    assert np.array_equal(back.voxels, mask.voxels > 0)
    assert np.array_equal(back.affine, scan().affine)


def test_an_empty_mask_and_one_of_floats_are_masks(tmp_path):
    write_nifti(scan().with_voxels(np.zeros(scan().shape, np.uint8)), tmp_path / "empty.nii.gz")
    assert read_mask(tmp_path / "empty.nii.gz", scan()).voxels.sum() == 0
    write_nifti(labels(scan(), (0, 2), np.float32), tmp_path / "float.nii.gz")
    assert read_mask(tmp_path / "float.nii.gz").voxels.any()


def test_several_labels_need_a_choice(tmp_path):
    mask = labels(scan(), (0, 1, 2, 5))
    write_nifti(mask, tmp_path / "mask.nii.gz")
    with pytest.raises(MaskError, match=r"has labels \[1, 2, 5\]; expected one; choose one with label="):
        read_mask(tmp_path / "mask.nii.gz")
    chosen = read_mask(tmp_path / "mask.nii.gz", label=2)
    assert np.array_equal(chosen.voxels, mask.voxels == 2)
    with pytest.raises(MaskError, match=r"no voxel has label 4"):
        read_mask(tmp_path / "mask.nii.gz", label=4)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "not whole numbers"), (0.5, "not whole numbers"), (-1, "negative values")]
)
def test_values_that_are_no_labels_are_refused(tmp_path, value, message):
    write_nifti(labels(scan(), (0, 1, value), np.float32), tmp_path / "mask.nii.gz")
    with pytest.raises(MaskError, match=message):
        read_mask(tmp_path / "mask.nii.gz")


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (True, False, True)), ((2, 0, 1), (False, True, False)), ((1, 2, 0), (True, True, True))],
)
def test_a_mask_with_other_axes_on_the_same_points_is_brought_over_exactly(tmp_path, axes, flips):
    mask = labels(scan())
    write_nifti(Reorientation(axes, flips).apply(mask), tmp_path / "mask.nii.gz")
    back = read_mask(tmp_path / "mask.nii.gz", scan())
    assert back.shape == scan().shape
    assert np.array_equal(back.voxels, mask.voxels > 0)
    assert np.array_equal(back.affine, scan().affine)


def moved(shift_mm) -> Volume:
    affine = scan().affine.copy()
    affine[0, 3] += shift_mm
    return Volume(labels(scan()).voxels, affine)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (labels(scan((6, 8, 9))), r"has 6x8x9 voxels \(z, y, x\), the scan 6x8x10"),
        (labels(scan(spacing=(2.5, 0.8, 0.75))), r"has spacing 2.5x0.8x0.75 mm"),
        (moved(0.7), r"first voxel 0.70 mm apart, axes turned by 0.00 degrees"),
    ],
)
def test_a_mask_off_the_scans_grid_is_refused_by_the_difference(tmp_path, mask, message):
    write_nifti(mask, tmp_path / "mask.nii.gz")
    with pytest.raises(MaskError, match=message):
        read_mask(tmp_path / "mask.nii.gz", scan())


def test_a_mask_that_is_neither_nifti_nor_contours_is_refused(tmp_path, series, pictures):
    with pytest.raises(ReadError, match="expected a mask as SEG or RTSTRUCT"):
        read_mask(series() / "slice_00.dcm", scan())
    with pytest.raises(ReadError, match=r"not NIfTI .*expected a NIfTI mask, SEG or RTSTRUCT"):
        read_mask(pictures / "0.png", scan())
    with pytest.raises(ReadError, match="--roi is for DICOM RTSTRUCT"):
        read_mask(pictures / "0.png", scan(), roi="GTV-1")
    with pytest.raises(ReadError, match="no such file"):
        read_mask(tmp_path / "absent.nii.gz")


@pytest.mark.real
@pytest.mark.parametrize("name", ["RadPhantom-pat2", "RadPhantom-pat4"])
def test_the_dicom_and_the_nifti_of_one_real_scan_are_the_same_volume(shared_data, name):
    dicom = read(shared_data / "dicom" / name)
    nifti = read(shared_data / "scans" / f"{name}.nii.gz")
    assert np.array_equal(dicom.voxels, nifti.voxels)
    assert np.allclose(dicom.affine, nifti.affine, atol=1e-5)
    assert read_mask(shared_data / "scans" / f"{name}_gtv.nii.gz", dicom).voxels.any()


@pytest.mark.real
def test_a_real_mass_measures_the_volume_its_source_gives(shared_data):
    scan = read(shared_data / "dicom" / "RadPhantom-pat4")
    mask = read_mask(shared_data / "scans" / "RadPhantom-pat4_gtv.nii.gz", scan)
    assert mask.voxels.sum() * mask.voxel_ml == pytest.approx(125.5, abs=0.1)
