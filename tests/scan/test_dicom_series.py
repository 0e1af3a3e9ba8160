"""Several series at one path: the table, and the one that is read where nobody chose."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from pydicom.uid import generate_uid

from tumorspread.errors import ReadError
from tumorspread.scan.dicom import find_stack, list_series, read_dicom

CORONAL = [1, 0, 0, 0, 0, -1]


@pytest.fixture
def study(tmp_path, make_slices, save_slices):
    """A folder with one series for each dictionary: `count` slices `step` mm apart, and attributes."""
    study_uid = generate_uid()

    def build(*kinds, change=None):
        for number, kind in enumerate(kinds, 1):
            options = dict(kind)
            count, step = options.pop("count", 40), options.pop("step", 5.0)
            slices = make_slices(count)
            for i, dataset in enumerate(slices):
                dataset.StudyInstanceUID, dataset.SeriesNumber = study_uid, number
                dataset.ImagePositionPatient = [-30, -40, i * step]
                dataset.SliceThickness = step
                for keyword, value in options.items():
                    setattr(dataset, keyword, value)
            save_slices(slices if change is None else change(number, slices), tmp_path / "study" / str(number))
        return tmp_path / "study"

    return build


THICK, THIN = {"step": 5.0}, {"count": 160, "step": 1.25}


def chosen(folder) -> int:
    """SeriesNumber of what is read."""
    return int(find_stack(folder).frames[0].file.split("/")[0])  # each series is in a folder of its number


def test_the_thinnest_is_read_and_named(study, truth_hu):
    volume = read_dicom(study(THICK, THIN, {"count": 80, "step": 2.5}))
    assert np.array_equal(volume.voxels, truth_hu(160))
    assert [remark.code for remark in volume.remarks] == ["series_chosen"]
    assert "series 2 (160 slices 1.25 mm apart) was read of 3 CT series" in volume.remarks[0].text


@pytest.mark.parametrize(
    "unsuited",
    [
        {"ConvolutionKernel": "BONEPLUS"},
        {"ConvolutionKernel": "H60s"},
        {"SeriesDescription": "thorax MIP 8/2"},
        {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]},
        {"SeriesDescription": "CTAC 3.0"},
        {"ImageOrientationPatient": CORONAL, "step": -1.0},
    ],
    ids=lambda unsuited: next(iter(unsuited)) + str(next(iter(unsuited.values()))),
)
def test_what_is_no_plain_axial_soft_or_lung_ct_is_passed_over_however_thin(study, unsuited):
    def along_y(number, slices):
        for i, dataset in enumerate(slices):
            if dataset.ImageOrientationPatient == CORONAL:
                dataset.ImagePositionPatient = [-30, i * 1.0, 40]
        return slices

    assert chosen(study(THICK, {**THIN, **unsuited}, change=along_y)) == 1


def test_an_incomplete_thin_series_of_a_whole_chest_leaves_doubt_no_more_than_its_table_says(study):
    folder = study(THICK, THIN, change=lambda number, slices: slices if number == 1 else slices[:50] + slices[51:])
    rows = list_series(folder)
    assert [row.is_complete for row in rows] == [True, False]
    assert "1 of the slices, 1.25 mm apart, are missing between" in rows[1].problem
    assert chosen(folder) == 1


def test_a_thin_part_of_the_chest_is_not_taken_for_the_whole(study):
    assert chosen(study(THICK, {"count": 60, "step": 1.0})) == 1


def test_of_two_as_thin_the_soft_kernel_is_read(study):
    assert chosen(study({**THIN, "ConvolutionKernel": "B70f"}, {**THIN, "ConvolutionKernel": "B30f"})) == 2
    assert chosen(study({**THIN, "ConvolutionKernel": ["Br40d", "3"]}, {**THIN, "ConvolutionKernel": "Bl57d"})) == 1


@pytest.mark.parametrize("kernels", [("LUNG", "LUNG"), ("STANDARD", "SOFT"), ("", "")])
def test_two_that_differ_in_nothing_that_counts_are_refused(study, kernels):
    folder = study(*({**THIN, "ConvolutionKernel": kernel} for kernel in kernels))
    with pytest.raises(ReadError, match=r"study: 2 CT series, none beyond doubt.*--series UID.*series 1 .*series 2 "):
        read_dicom(folder)


def test_two_patients_studies_are_never_chosen_between(study):
    def other_study(number, slices):
        for dataset in slices:
            dataset.StudyInstanceUID = f"1.2.{number}"
        return slices

    with pytest.raises(ReadError, match="2 CT series, none beyond doubt"):
        read_dicom(study(THICK, THIN, change=other_study))


def test_a_series_is_chosen_by_the_end_of_its_uid_or_refused_where_that_fits_none_or_several(study, truth_hu):
    folder = study({**THICK, "SeriesInstanceUID": "1.2.3.77"}, {**THIN, "SeriesInstanceUID": "1.2.4.77"})
    assert np.array_equal(read_dicom(folder, series="3.77").voxels, truth_hu(40))
    assert read_dicom(folder, series="3.77").remarks == ()
    for wanted, count in (("77", 2), ("9.9", 0), ("", 0)):
        with pytest.raises(ReadError, match=rf"{count} CT series end in '{wanted}'; expected 1, found series"):
            read_dicom(folder, series=wanted)


def test_the_table_says_what_each_series_is(study):
    scout = {"count": 1, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    other = {"count": 3, "Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}
    first, second, third = list_series(
        study(scout, {**THIN, "SeriesDescription": "thorax", "ConvolutionKernel": "B40f"}, other)
    )
    assert (first.number, first.kind, first.plane, first.slices) == ("2", "CT", "axial", 160)
    assert (first.description, first.kernel, first.problem) == ("thorax", "B40f", None)
    assert first.size == (36, 34)
    assert first.spacing_mm == pytest.approx((1.25, 0.8, 0.7))
    assert first.thickness_mm == 1.25
    assert (second.number, second.kind, second.is_complete) == ("1", "localizer", False)
    assert (third.number, third.kind, third.slices) == ("3", "MR", 3)


def test_a_folder_without_dicom_has_no_table(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ReadError, match="no DICOM files in it"):
        list_series(tmp_path)


@pytest.mark.real
def test_two_kernels_of_a_real_scan_are_told_apart_and_the_soft_one_is_read(shared_data, tmp_path):
    for name in ("B70f", "B40f"):
        shutil.copytree(shared_data / "dicom" / f"Lung_Dx-A0002_{name}", tmp_path / name)
    rows = [row for row in list_series(tmp_path) if row.kind == "CT"]
    assert [(row.kernel, row.slices, row.plane, row.is_complete) for row in rows] == [
        ("B70f", 30, "axial", True),
        ("B40f", 30, "axial", True),
    ]
    volume = read_dicom(tmp_path)
    assert np.array_equal(volume.voxels, read_dicom(tmp_path / "B40f").voxels)
    assert [remark.code for remark in volume.remarks] == ["series_chosen"]
