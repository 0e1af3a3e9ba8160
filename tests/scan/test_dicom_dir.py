"""A DICOMDIR: what it lists is read, and what it lists in vain is not overlooked."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from tumorspread.errors import ReadError
from tumorspread.scan.dicom import list_series, read_dicom

WHEEL = Path(pydicom.data.get_testdata_file("DICOMDIR")).parent


@pytest.fixture
def medium(tmp_path, make_slices):
    """A medium with a series, as pydicom writes it; DICOMDIR, and the files in the order of the slices."""

    def build(*counts, change=None):
        written, placed = FileSet(), {}
        for number, count in enumerate(counts or (8,), 1):
            for dataset in make_slices(count):
                dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "120000", "1"
                dataset.SeriesNumber = number
                if change is not None:
                    change(number, dataset)
                written.add(dataset)
        written.write(tmp_path / "disc")
        for instance in FileSet(tmp_path / "disc" / "DICOMDIR"):
            place = (instance.SeriesNumber, float(instance.load().ImagePositionPatient[2]))
            placed[place] = Path(instance.path)
        return tmp_path / "disc" / "DICOMDIR", [placed[place] for place in sorted(placed)]

    return build


def test_a_dicomdir_reads_like_its_folder_and_its_zip(medium, truth_hu, tmp_path):
    directory, _ = medium()
    shutil.make_archive(str(tmp_path / "disc"), "zip", directory.parent)
    for path in (directory, directory.parent, tmp_path / "disc.zip"):
        volume = read_dicom(path)
        assert np.array_equal(volume.voxels, truth_hu(8))
        assert volume.remarks == ()


def test_files_beside_that_it_does_not_list_are_not_read_from_it(medium, truth_hu, make_slices, save_slices):
    directory, _ = medium()
    save_slices(make_slices(20), directory.parent / "other")
    assert np.array_equal(read_dicom(directory).voxels, truth_hu(8))
    with pytest.raises(ReadError, match="2 CT series"):
        read_dicom(directory.parent)


@pytest.mark.parametrize("end", [0, -1], ids=["lowest", "highest"])
def test_a_slice_lost_at_an_end_of_the_stack_is_named_though_no_gap_shows_it(medium, end, tmp_path):
    directory, files = medium()
    name = files[end].relative_to(directory.parent).as_posix()
    files[end].unlink()
    with zipfile.ZipFile(tmp_path / "disc.zip", "w") as archive:
        for file in directory.parent.rglob("*"):
            archive.write(file, file.relative_to(directory.parent))
    for path in (directory, directory.parent, tmp_path / "disc.zip"):
        with pytest.raises(ReadError, match=rf"files that the DICOMDIR lists are not there: {name}; copy the whole"):
            read_dicom(path)
        (row,) = list_series(path)
        assert name in row.problem


def test_another_series_lost_does_not_keep_a_chosen_one_from_being_read(medium, truth_hu):
    directory, files = medium(8, 6)
    uid = pydicom.dcmread(files[0]).SeriesInstanceUID
    for file in files[8:]:
        file.unlink()
    with pytest.raises(ReadError, match=r"files that the DICOMDIR lists are not there: (.*, ){5}"):
        read_dicom(directory)
    assert np.array_equal(read_dicom(directory, series=uid).voxels, truth_hu(8))
    assert np.array_equal(read_dicom(directory.parent).voxels, truth_hu(8))


def test_objects_other_than_ct_may_be_missing(medium, truth_hu):
    def change(number, dataset):
        if number == 2:
            dataset.Modality, dataset.SOPClassUID = "MR", "1.2.840.10008.5.1.4.1.1.4"
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID

    directory, files = medium(8, 3, change=change)
    for file in files[8:]:
        file.unlink()
    assert np.array_equal(read_dicom(directory).voxels, truth_hu(8))


@pytest.mark.parametrize("rename", [str.lower, lambda name: f"{name}.;1", lambda name: f"{name.lower()};1"])
def test_names_are_found_as_discs_and_systems_change_them(medium, truth_hu, rename):
    directory, files = medium()
    for file in files:
        file.rename(file.with_name(rename(file.name)))
    assert np.array_equal(read_dicom(directory).voxels, truth_hu(8))


def test_a_damaged_one_is_refused_where_it_is_given_and_plays_no_part_where_it_lies(medium, truth_hu):
    directory, _ = medium()
    directory.write_bytes(directory.read_bytes()[:700])
    with pytest.raises(ReadError, match=r"DICOMDIR: .*(damaged|lists no files)"):
        read_dicom(directory)
    assert np.array_equal(read_dicom(directory.parent).voxels, truth_hu(8))


def test_one_alone_without_its_files_is_refused_by_their_names(medium, tmp_path):
    directory, _ = medium(3)
    (tmp_path / "alone").mkdir()
    shutil.copy(directory, tmp_path / "alone" / "DICOMDIR")
    with pytest.raises(ReadError, match=r"DICOMDIR: none of its CT files is there: .*; copy the whole medium"):
        read_dicom(tmp_path / "alone" / "DICOMDIR")


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-reordered"])
def test_real_ones_of_the_wheel_lead_to_their_series(name):
    uid = pydicom.dcmread(WHEEL / "98892001/CT5N/2062").SeriesInstanceUID
    volume, beside = read_dicom(WHEEL / name, series=uid), read_dicom(WHEEL / "98892001/CT5N")
    assert np.array_equal(volume.voxels, beside.voxels)
    rows = [row for row in list_series(WHEEL / name) if row.kind == "CT"]
    assert len(rows) == 2
    assert [row.slices for row in rows if row.is_complete] == [5]
