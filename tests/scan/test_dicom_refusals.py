"""What a DICOM folder can get wrong, and the one line it is refused with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from tumorspread.errors import GeometryError, ReadError, TumorspreadError
from tumorspread.scan.dicom import read_dicom


def set_all(**values):
    def change(slices):
        for dataset in slices:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return change


def set_one(index, **values):
    return lambda slices: set_all(**values)([slices[index]])


def drop(keyword):
    return lambda slices: delattr(slices[3], keyword)


def shift(index, x=0.0, y=0.0, z=0.0):
    def change(slices):
        old = slices[index].ImagePositionPatient
        slices[index].ImagePositionPatient = [old[0] + x, old[1] + y, old[2] + z]

    return change


def truncate(slices):
    slices[4].PixelData = slices[4].PixelData[:100]


def squeeze(slices):
    for number, dataset in enumerate(slices):
        dataset.ImagePositionPatient[2] = -50 + 2.5 * number + (0.2 * number**2)


def break_codec(slices):
    for dataset in slices:
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    slices[2].PixelData = slices[2].PixelData[:60] + bytes(len(slices[2].PixelData) - 60)


def overlay_bits(slices):
    pixels = np.frombuffer(slices[1].PixelData, np.uint16) | 0x8000
    slices[1].PixelData = pixels.tobytes()


BROKEN = {
    "missing slice": (
        lambda s: s[:2] + s[3:],
        GeometryError,
        ["1 of the slices", "missing", "slice_01", "slice_02"],
    ),
    "two missing": (lambda s: s[:4] + s[6:], GeometryError, ["2 of the slices", "slice_03", "slice_04"]),
    "same place": (
        shift(3, z=-2.5),
        GeometryError,
        ["1 place holds more than one slice", "slice_02.dcm", "slice_03.dcm"],
    ),
    "uneven": (squeeze, GeometryError, ["varies from 2.700 to 5.100", "slice_00", "slice_01"]),
    "one off": (shift(4, z=0.6), GeometryError, ["varies", "slice_04.dcm"]),
    "sideways": (shift(5, x=4), GeometryError, ["slice_05.dcm", "shifted sideways by 4.0 mm"]),
    "size": (set_one(3, Rows=34, Columns=36), GeometryError, ["different size", "slice_03.dcm", "[34, 36]"]),
    "orientation": (
        set_one(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        GeometryError,
        ["different orientation", "slice_03.dcm"],
    ),
    "pixel spacing": (
        set_one(2, PixelSpacing=[0.9, 0.7]),
        GeometryError,
        ["pixel spacing", "slice_02.dcm", "0.9"],
    ),
    "zero spacing": (set_all(PixelSpacing=[0, 0.7]), GeometryError, ["PixelSpacing", "above 0"]),
    "reference": (
        set_one(1, FrameOfReferenceUID="1.2.3"),
        GeometryError,
        ["frames of reference", "slice_01.dcm"],
    ),
    "skewed axes": (
        set_all(ImageOrientationPatient=[1, 0, 0, 0.2, 0.98, 0]),
        GeometryError,
        ["ImageOrientationPatient", "right angles"],
    ),
    "single slice": (lambda s: s[:1], GeometryError, ["1 slice (slice_00.dcm);", "expected 2 slices or more"]),
    "no position": (drop("ImagePositionPatient"), GeometryError, ["slice_03.dcm", "no ImagePositionPatient"]),
    "no orientation": (
        drop("ImageOrientationPatient"),
        GeometryError,
        ["slice_03.dcm", "ImageOrientationPatient"],
    ),
    "no pixel spacing": (drop("PixelSpacing"), GeometryError, ["slice_03.dcm", "no PixelSpacing"]),
    "short position": (
        set_one(2, ImagePositionPatient=[1, 2]),
        GeometryError,
        ["slice_02.dcm", "3 finite numbers"],
    ),
    "no slope": (drop("RescaleSlope"), ReadError, ["slice_03.dcm", "RescaleSlope", "HU"]),
    "no intercept": (drop("RescaleIntercept"), ReadError, ["slice_03.dcm", "RescaleIntercept"]),
    "zero slope": (set_one(1, RescaleSlope=0), ReadError, ["slice_01.dcm", "RescaleSlope 0"]),
    "not HU": (set_all(RescaleType="US"), ReadError, ["US", "expected HU"]),
    "MR": (set_all(Modality="MR"), ReadError, ["no CT slices", "8 MR"]),
    "scouts": (
        set_all(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        ReadError,
        ["no CT slices", "8 localizer"],
    ),
    "no pixels": (drop("PixelData"), ReadError, ["slice_03.dcm", "no pixel data"]),
    "truncated": (truncate, ReadError, ["slice_04.dcm", "100 bytes of pixels, expected 2448"]),
    "broken codec": (break_codec, ReadError, ["slice_02.dcm", "JPEG 2000", "cannot be decoded"]),
    "colour": (set_one(1, SamplesPerPixel=3), ReadError, ["slice_01.dcm", "not a grey image"]),
    "overlay bits": (overlay_bits, ReadError, ["slice_01.dcm", "BitsStored 12"]),
    "frames": (set_one(2, NumberOfFrames=2), ReadError, ["slice_02.dcm", "2 frames"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_series_is_refused_in_one_line_that_names_the_culprit(series, case):
    change, error, parts = BROKEN[case]
    with pytest.raises(error) as refusal:
        read_dicom(series(change, count=8))
    message = str(refusal.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    assert "Doe" not in message
    assert "4711" not in message


def test_two_complete_series_are_refused_with_their_uids_and_chosen_by_ending(series, make_slices, tmp_path, truth_hu):
    folder = series()
    series(lambda s: [d for d in s if not setattr(d, "RescaleIntercept", 0)], name="series/other")
    uids = {pydicom.dcmread(f).SeriesInstanceUID for f in (folder / "slice_00.dcm", folder / "other/slice_00.dcm")}
    with pytest.raises(ReadError, match=r"2 CT series.*--series") as refusal:
        read_dicom(folder)
    assert all(uid in str(refusal.value) for uid in uids)
    first = pydicom.dcmread(folder / "slice_00.dcm").SeriesInstanceUID
    assert np.array_equal(read_dicom(folder, series=first).voxels, truth_hu(6))
    assert np.array_equal(read_dicom(folder, series=first[-8:]).voxels, truth_hu(6))
    with pytest.raises(ReadError, match=r"0 CT series end in '9\.9\.9\.9'"):
        read_dicom(folder, series="9.9.9.9")


def test_stray_slices_beside_an_incomplete_series_are_no_choice(series):
    folder = series(lambda slices: slices[:5] + slices[6:], count=12)
    series(lambda slices: slices[:2], name="series/stray")
    with pytest.raises(ReadError, match="2 CT series"):
        read_dicom(folder)


def test_a_file_cut_anywhere_is_refused_and_never_leaks_a_foreign_error(series):
    folder = series()
    victim = folder / "slice_05.dcm"
    whole = victim.read_bytes()
    for length in (0, 1, 100, 131, 132, 140, 200, 300, 500, 700, len(whole) - 600, len(whole) - 1):
        victim.write_bytes(whole[:length])
        with pytest.raises(TumorspreadError):
            read_dicom(folder)


def test_random_bytes_in_a_file_give_a_scan_or_our_own_error(series):
    folder, rng = series(), np.random.default_rng(11)
    victim = folder / "slice_03.dcm"
    whole = victim.read_bytes()
    messages, read = [], 0
    for _ in range(80):
        damaged = bytearray(whole)
        for place in rng.integers(132, 1100, 3):
            damaged[place] = rng.integers(256)
        victim.write_bytes(damaged)
        try:
            read += read_dicom(folder).shape[0] == 6
        except TumorspreadError as error:
            messages.append(str(error))
    assert read
    assert messages
    assert not any("\n" in message for message in messages)


def test_real_scouts_of_the_wheel_are_no_scan():
    folder = Path(pydicom.data.get_testdata_file("DICOMDIR")).parent / "98892001" / "CT2N"
    with pytest.raises(ReadError, match="2 localizer"):
        read_dicom(folder)


def test_a_real_series_with_a_gap_is_refused_by_its_length():
    folder = Path(pydicom.data.get_testdata_file("DICOMDIR")).parent / "77654033"
    with pytest.raises(GeometryError, match=r"161 of the slices, 1.25 mm apart, are missing between CT2/17106"):
        read_dicom(folder)


def test_a_folder_without_dicom_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ReadError, match="no CT slices; DICOM files found: none"):
        read_dicom(tmp_path)
    with pytest.raises(ReadError, match="no such file or folder"):
        read_dicom(tmp_path / "absent")


@pytest.mark.real
def test_a_real_folder_with_half_the_scan_missing_is_refused_and_its_stray_files_named(shared_data):
    with pytest.raises(GeometryError, match=r"53 of the slices, 4.00 mm apart, are missing") as refusal:
        read_dicom(shared_data / "dicom" / "ACRIN-FLT-013_stray")
    strays = [f.name for f in (shared_data / "dicom" / "ACRIN-FLT-013_stray").iterdir() if f.suffix != ".dcm"]
    assert len(strays) == 8
    assert all(name in str(refusal.value) for name in strays)


@pytest.mark.real
def test_real_objects_without_hu_or_without_a_ct_are_refused(shared_data):
    objects = shared_data / "dicom" / "objects"
    with pytest.raises(ReadError, match=r"values in US \(RescaleType\)"):
        read_dicom(objects / "dcmqi/data/segmentations/24x38x3/multiframe/mf.dcm")
    with pytest.raises(ReadError, match="2 CT series"):
        read_dicom(objects / "dcmqi/data/segmentations/24x38x3/image")
    with pytest.raises(ReadError, match="1 RWV, 1 SEG, 1 SR"):
        read_dicom(objects / "dcmqi/data/sr-example")
    assert read_dicom(objects / "dcmqi/data/segmentations/ct-3slice").shape == (3, 512, 512)
