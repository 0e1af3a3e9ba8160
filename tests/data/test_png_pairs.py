from __future__ import annotations

import cv2
import numpy as np
import pytest

from tumorspread.data.cases import find_cases, read_dataset_info
from tumorspread.data.check import check_dataset
from tumorspread.data.png_pairs import convert_pairs
from tumorspread.errors import DatasetError, GeometryError, ReadError
from tumorspread.scan.nifti import read_nifti

SIZES = {"p1_002": (20, 30), "p1_010": (16, 16), "q": (9, 40)}


def picture(name):
    rng = np.random.default_rng(len(name))
    return rng.integers(0, 256, SIZES[name], np.uint8)


def blob(name, high):
    mask = np.zeros(SIZES[name], np.uint16 if high > 255 else np.uint8)
    mask[3:7, 2:9] = high
    return mask


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture(params=["two folders", "one folder"])
def source(request, tmp_path):
    """Three pairs of different size, with masks of 0/255, 0/1 and 0/65535."""
    folder = tmp_path / "pairs"
    for name, high in zip(SIZES, (255, 1, 65535), strict=True):
        if request.param == "two folders":
            put(folder / "images" / f"{name}.png", picture(name))
            put(folder / "masks" / f"{name}.png", blob(name, high))
        else:
            put(folder / f"{name}.png", picture(name))
            put(folder / f"{name}_mask.png", blob(name, high))
    return folder


@pytest.fixture
def flat(tmp_path):
    put(tmp_path / "flat" / "q.png", picture("q"))
    put(tmp_path / "flat" / "q_mask.png", blob("q", 255))
    return tmp_path / "flat"


def test_every_image_becomes_a_case_of_one_slice(source, tmp_path):
    out = convert_pairs(source, tmp_path / "out", spacing_mm=(5.0, 0.75, 0.5))
    cases = find_cases(out)
    assert [case.name for case in cases] == sorted(SIZES)
    for case in cases:
        image, mask = read_nifti(case.image), read_nifti(case.mask)
        np.testing.assert_allclose(image.voxels[0], picture(case.name) / 255, atol=1e-7)
        np.testing.assert_array_equal(mask.voxels[0], blob(case.name, 1))
        assert image.spacing_mm == (5.0, 0.75, 0.5)
        assert image.same_grid(mask)
    info = read_dataset_info(out)
    assert (info.name, info.intensity, info.slices) == ("pairs", "gray", "independent")
    assert check_dataset(out) == ()


def test_a_window_gives_hu(flat, tmp_path):
    out = convert_pairs(flat, tmp_path / "out", window_hu=(-1000, 400))
    (case,) = find_cases(out)
    np.testing.assert_allclose(read_nifti(case.image).voxels[0], -1000 + picture("q") / 255 * 1400, atol=1e-3)
    assert read_dataset_info(out).intensity == "hu"


def test_an_image_is_a_patient_of_its_own_whatever_its_name(source, tmp_path):
    cases = find_cases(convert_pairs(source, tmp_path / "out"))
    assert [case.patient for case in cases] == [case.name for case in cases]


@pytest.mark.parametrize("suffix", ["", ".png", ".PNG"])
def test_a_table_says_whose_the_images_are(source, tmp_path, suffix):
    rows = [f"{name}{suffix},{name[0]}" for name in SIZES]
    (source / "patients.csv").write_text("\ufeffimage,patient,remark\n" + "\n".join(rows) + "\n")
    cases = find_cases(convert_pairs(source, tmp_path / "out"))
    assert [case.patient for case in cases] == ["p", "p", "q"]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("image,patient\nq,x\n", "p1_002, p1_010 missing"),
        ("image,patient\nq,x\np1_002,x\np1_010,x\nr,x\n", "r missing, unknown or twice"),
        ("image,patient\nq,x\nq.png,y\np1_002,x\np1_010,x\n", "q missing, unknown or twice"),
        ("image,patient\nq,\np1_002,x\np1_010,x\n", "no patient for q"),
        ("image,patient\nq\np1_002,x\np1_010,x\n", "no patient for q"),
        ("name,patient\nq,x\n", "columns image and patient"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(source, tmp_path, table, text):
    (source / "patients.csv").write_text(table)
    with pytest.raises(DatasetError, match=text):
        convert_pairs(source, tmp_path / "out")


def test_an_image_without_a_mask_is_named(flat, tmp_path):
    put(flat / "r.png", picture("q"))
    put(flat / "s_mask.png", blob("q", 255))
    with pytest.raises(DatasetError, match="r, s without image or mask"):
        convert_pairs(flat, tmp_path / "out")


def test_a_mask_of_another_size_is_refused(flat, tmp_path):
    put(flat / "q_mask.png", blob("q", 255).T)
    with pytest.raises(DatasetError, match=r"q_mask.png: \(40, 9\) .* \(9, 40\)"):
        convert_pairs(flat, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("values", [(0, 128), (0, 1, 255), (0, 254), (0, 2)])
def test_a_mask_of_other_values_is_refused(flat, tmp_path, values):
    mask = blob("q", 0)
    mask[: len(values), 0] = values
    put(flat / "q_mask.png", mask)
    with pytest.raises(DatasetError, match="expected 0 and 255, or 0 and 1"):
        convert_pairs(flat, tmp_path / "out")


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_may_be_empty_or_full(flat, tmp_path, value):
    put(flat / "q_mask.png", np.full(SIZES["q"], value, np.uint8))
    (case,) = find_cases(convert_pairs(flat, tmp_path / "out"))
    assert (read_nifti(case.mask).voxels == value // 255).all()


def test_a_folder_a_patient_is_not_guessed(source, tmp_path):
    inner = source / "images" if (source / "images").is_dir() else source
    put(inner / "patient_7" / "x.png", picture("q"))
    with pytest.raises(DatasetError, match=r"a folder; .* patients.csv"):
        convert_pairs(source, tmp_path / "out")


@pytest.mark.parametrize("name", ["r.jpg", "q.PNG"])
def test_a_picture_that_would_be_passed_over_is_refused(flat, tmp_path, name):
    put(flat / name, picture("q"))
    with pytest.raises(DatasetError, match="save it as PNG or rename it"):
        convert_pairs(flat, tmp_path / "out")


def test_resource_forks_and_tables_are_no_pictures(flat, tmp_path):
    (flat / "._q.png").write_bytes(b"fork")
    (flat / "notes.txt").write_text("x")
    assert len(find_cases(convert_pairs(flat, tmp_path / "out"))) == 1


def test_images_without_masks_are_refused(tmp_path):
    put(tmp_path / "x" / "images" / "q.png", picture("q"))
    with pytest.raises(DatasetError, match="masks: no such folder"):
        convert_pairs(tmp_path / "x", tmp_path / "out")


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no PNG pairs"):
        convert_pairs(tmp_path / "empty", tmp_path / "out")


def test_a_damaged_picture_is_refused(flat, tmp_path):
    (flat / "q.png").write_bytes((flat / "q.png").read_bytes()[:60])
    with pytest.raises(ReadError):
        convert_pairs(flat, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_spacing_or_window_that_is_none_is_refused(flat, tmp_path):
    with pytest.raises(GeometryError, match="above 0"):
        convert_pairs(flat, tmp_path / "out", spacing_mm=(1, 0, 1))
    with pytest.raises(ReadError, match="window"):
        convert_pairs(flat, tmp_path / "out", window_hu=(400, -1000))
