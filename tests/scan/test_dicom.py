"""Whole DICOM series: right voxels at the right place, or one line that names the culprit."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tumorspread.errors import GeometryError, ReadError
from tumorspread.scan.dicom import read_dicom

OBLIQUE = ((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


def simpleitk_read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    affine = np.eye(4)
    steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, :3], affine[:3, 3] = steps[:, ::-1], image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


def codes(volume) -> list[str]:
    return [remark.code for remark in volume.remarks]


@pytest.mark.parametrize("orientation", [((1.0, 0, 0), (0, 1.0, 0)), OBLIQUE, SAGITTAL, ((-1.0, 0, 0), (0, 1.0, 0))])
def test_a_series_reads_as_simpleitk_reads_it_voxels_and_affine(series, truth_hu, orientation):
    folder = series(orientation=orientation)
    volume = read_dicom(folder)
    voxels, affine = simpleitk_read(folder)
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, voxels)
    assert np.array_equal(volume.voxels, truth_hu(6))
    assert np.allclose(volume.affine, affine, atol=1e-5)
    assert volume.remarks == ()


def test_spacing_is_slice_row_column_and_the_origin_is_the_lowest_slice(series):
    volume = read_dicom(series())
    assert np.allclose(volume.spacing_mm, (2.5, 0.8, 0.7))
    assert np.allclose(volume.to_world((0, 0, 0)), (-30, -40, -50))
    assert np.allclose(volume.to_world((5, 2, 3)), (-30 + 3 * 0.7, -40 + 2 * 0.8, -50 + 5 * 2.5))


def test_the_order_and_names_of_the_files_do_not_matter(series, truth_hu, tmp_path):
    folder = series(lambda slices: [slices[i] for i in (3, 0, 5, 1, 4, 2)])
    nested = tmp_path / "nested" / "deep"
    nested.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.move(file, (nested if number % 2 else nested.parent) / f"I{number}")
    assert np.array_equal(read_dicom(tmp_path / "nested").voxels, truth_hu(6))


def test_a_zip_reads_like_its_folder_and_unpacks_nothing(series, tmp_path):
    folder = series()
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, f"../../outside/{file.name}")
        archive.writestr("__MACOSX/._slice_00.dcm", b"fork")
    before = sorted(tmp_path.iterdir())
    zipped, plain = read_dicom(tmp_path / "scan.zip"), read_dicom(folder)
    assert np.array_equal(zipped.voxels, plain.voxels)
    assert np.array_equal(zipped.affine, plain.affine)
    assert sorted(tmp_path.iterdir()) == before
    assert not (tmp_path.parent.parent / "outside").exists()


def test_other_objects_and_other_files_in_the_folder_are_passed_over(series, truth_hu):
    folder = series()
    for name in ("test-SR.dcm", "rtstruct.dcm", "MR_small.dcm"):
        shutil.copy(pydicom.data.get_testdata_file(name), folder / name)
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "._slice_00.dcm").write_bytes(b"\0\5\x16\7 resource fork")
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"broken")
    volume = read_dicom(folder)
    assert np.array_equal(volume.voxels, truth_hu(6))
    assert volume.remarks == ()


def test_localizers_of_the_same_series_are_passed_over(series, truth_hu):
    def change(slices):
        slices[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    assert np.array_equal(read_dicom(series(change)).voxels, truth_hu(6)[1:])


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_compression_gives_the_same_voxels_and_no_remark(series, truth_hu, syntax):
    def change(slices):
        for dataset in slices:
            dataset.compress(syntax, generate_instance_uid=False)

    volume = read_dicom(series(change))
    assert np.array_equal(volume.voxels, truth_hu(6))
    assert volume.remarks == ()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_implicit_and_big_endian_files_give_the_same_voxels(series, make_slices, truth_hu, tmp_path, syntax):
    folder = tmp_path / "recoded"
    folder.mkdir()
    for number, dataset in enumerate(make_slices()):
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        little = syntax != ExplicitVRBigEndian
        path = folder / f"{number}.dcm"
        pydicom.dcmwrite(path, dataset, implicit_vr=little, little_endian=little, enforce_file_format=True)
    assert np.array_equal(read_dicom(folder).voxels, truth_hu(6))


def test_files_without_preamble_and_meta_header_are_read(series, truth_hu):
    folder = series()
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        del dataset.file_meta
        dataset.preamble = None
        pydicom.dcmwrite(file, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert file.read_bytes()[128:132] != b"DICM"
    assert np.array_equal(read_dicom(folder).voxels, truth_hu(6))


def test_signed_pixels_below_zero_and_padding_stay_as_they_are(series):
    def change(slices):
        for dataset in slices:
            pixels = np.full((36, 34), -1000, np.int16)
            pixels[0, 0] = -3024
            dataset.PixelData, dataset.PixelRepresentation = pixels.tobytes(), 1
            dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 16, 15, 0

    volume = read_dicom(series(change))
    assert set(np.unique(volume.voxels)) == {-3024, -1000}
    assert (volume.voxels[:, 0, 0] == -3024).all()


def test_slope_and_intercept_count_slice_by_slice_and_fractions_give_float32(series, truth_hu):
    def change(slices):
        slices[2].RescaleSlope, slices[2].RescaleIntercept = "0.5", "-100.25"

    volume = read_dicom(series(change))
    expected = truth_hu(6).astype(np.float32)
    expected[2] = (truth_hu(6)[2] + 1024) * 0.5 - 100.25
    assert volume.voxels.dtype == np.float32
    assert np.array_equal(volume.voxels, expected)


def test_whole_numbers_too_large_for_int16_become_float32_without_wrapping(series, truth_hu):
    def change(slices):
        slices[3].RescaleSlope, slices[3].RescaleIntercept = 20, 0

    volume = read_dicom(series(change))
    assert volume.voxels.dtype == np.float32
    assert np.array_equal(volume.voxels[3], (truth_hu(6)[3].astype(np.float32) + 1024) * 20)
    assert np.array_equal(volume.voxels[4], truth_hu(6)[4])


def test_an_enhanced_multi_frame_file_reads_like_its_classic_slices(make_slices, make_enhanced, truth_hu, tmp_path):
    slices = make_slices(orientation=OBLIQUE)
    slices[1].RescaleIntercept = -1000
    make_enhanced(slices[::-1]).save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    volume = read_dicom(tmp_path / "enhanced.dcm")
    expected = truth_hu(6)
    expected[1] += 24
    assert np.array_equal(volume.voxels, expected)
    assert np.allclose(volume.spacing_mm, (2.5, 0.8, 0.7))
    assert np.allclose(volume.to_world((0, 0, 0)), (-30, -40, -50))


def test_an_enhanced_file_with_a_missing_frame_is_refused_by_its_frame(make_slices, make_enhanced, tmp_path):
    slices = make_slices(8)
    make_enhanced(slices[:3] + slices[4:]).save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    with pytest.raises(GeometryError, match=r"1 of the slices.*missing between enhanced.dcm frame 3 .* frame 4"):
        read_dicom(tmp_path / "enhanced.dcm")


def test_exact_copies_are_left_out_and_named(series, truth_hu):
    folder = series()
    shutil.copy(folder / "slice_02.dcm", folder / "slice_02 (1).dcm")
    volume = read_dicom(folder)
    assert np.array_equal(volume.voxels, truth_hu(6))
    assert codes(volume) == ["copied_slices"]
    assert "slice_02.dcm" in volume.remarks[0].text


def test_one_instance_uid_with_two_contents_is_refused_by_name(series):
    folder = series()
    twin = pydicom.dcmread(folder / "slice_02.dcm")
    twin.PixelData = bytes(reversed(twin.PixelData))
    twin.save_as(folder / "twin.dcm")
    with pytest.raises(ReadError, match=r"slice_02.dcm, twin.dcm have one SOPInstanceUID but differ"):
        read_dicom(folder)


def test_lossy_compression_is_remarked(series):
    def change(slices):
        for dataset in slices:
            dataset.LossyImageCompression = "01"

    assert codes(read_dicom(series(change))) == ["lossy_compression"]


def test_monochrome1_keeps_the_hu_and_is_remarked(series, truth_hu):
    def change(slices):
        for dataset in slices:
            dataset.PhotometricInterpretation = "MONOCHROME1"

    volume = read_dicom(series(change))
    assert np.array_equal(volume.voxels, truth_hu(6))
    assert codes(volume) == ["monochrome1"]


def test_slices_thinner_than_their_distance_are_remarked(series):
    def change(slices):
        for dataset in slices:
            dataset.SliceThickness = 1.25

    assert codes(read_dicom(series(change))) == ["slice_gaps"]


def test_a_tilt_named_in_the_header_of_an_upright_stack_is_remarked(series):
    def change(slices):
        for dataset in slices:
            dataset.GantryDetectorTilt = -12

    assert codes(read_dicom(series(change))) == ["gantry_tilt_tag"]


def test_a_few_stray_slices_of_another_series_are_left_out_and_named(series, truth_hu):
    folder = series(count=12)
    series(lambda slices: slices[:2], name="series/stray")
    volume = read_dicom(folder)
    assert np.array_equal(volume.voxels, truth_hu(12))
    assert codes(volume) == ["stray_slices"]
    assert "stray/slice_00.dcm, stray/slice_01.dcm" in volume.remarks[0].text


def test_a_real_series_of_the_wheel_reads_beside_its_scouts():
    folder = Path(pydicom.data.get_testdata_file("DICOMDIR")).parent / "98892001"
    voxels, affine = simpleitk_read(folder / "CT5N")
    volume = read_dicom(folder)
    assert np.array_equal(volume.voxels, voxels)
    assert np.allclose(volume.affine, affine, atol=1e-4)


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["CIP-ct64", "Lung_Dx-A0002_B40f", "Lung_Dx-A0002_B70f", "RadPhantom-pat2", "RadPhantom-pat4"]
)
def test_real_series_read_as_simpleitk_reads_them(shared_data, name):
    folder = shared_data / "dicom" / name
    volume = read_dicom(folder)
    voxels, affine = simpleitk_read(folder)
    assert np.array_equal(volume.voxels, voxels)
    assert np.allclose(volume.affine, affine, atol=1e-6)
    assert volume.remarks == ()
