"""Every file that pydicom and pydicom-data ship for tests: read as pydicom reads it, or refused in one line."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1")
WHEEL = Path(pydicom.__file__).parent / "data"
FOLDERS = [WHEEL / "test_files", WHEEL / "charset_files"]
DATA = find_spec("data_store")
if DATA is not None:
    FOLDERS += [Path(place) / "data" for place in DATA.submodule_search_locations or ()]
FILES = [file for folder in FOLDERS for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix != ".pyc"]
MAX_MIB = 1024


def truth(file):
    """What pydicom makes of a CT file, as HU; None where it is none of CT or pydicom cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(file, force=True)
            if dataset.get("SOPClassUID") not in CT_CLASSES or "RescaleSlope" not in dataset:
                return None
            return dataset, dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        except Exception:
            return None


def check(found):
    assert found["is_ours"], found["message"]
    assert found["mib"] < MAX_MIB
    if found["error"] is not None:
        assert found["message"]
        assert "\n" not in found["message"]
    return found["error"] is None


def test_pydicom_data_is_at_hand():
    assert DATA is not None, "install the package pydicom-data, of the extra `dev`"
    assert len(FILES) >= 260


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(file.parents[1]).as_posix())
def test_it_is_read_or_refused_in_one_line(file, reading_child):
    check(reading_child.read(file))
    check(reading_child.read(file, list=True))


CT_FILES = [file for file in FILES if (known := truth(file)) is not None and known[1].ndim == 2]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("file", CT_FILES, ids=lambda file: file.name)
def test_a_slice_beside_one_a_step_further_is_read_as_pydicom_reads_it(file, tmp_path, reading_child):
    dataset, hu = truth(file)
    dataset.save_as(tmp_path / "0.dcm")
    normal = np.cross(*np.reshape(np.array(dataset.ImageOrientationPatient, float), (2, 3)))
    places = np.array(dataset.ImagePositionPatient, float) + np.outer((0, 3), normal / np.linalg.norm(normal))
    dataset.ImagePositionPatient = [f"{mm:.10g}" for mm in places[1]]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.save_as(tmp_path / "1.dcm")
    found = reading_child.read(tmp_path, save=str(tmp_path / "voxels.npy"))
    if "LOCALIZER" in dataset.ImageType:
        assert "no CT slices" in found["message"]
        return
    assert check(found), found["message"]
    voxels = np.load(tmp_path / "voxels.npy")
    assert np.array_equal(voxels, [hu, hu])
    assert np.allclose(np.array(found["affine"])[:3, 3], places[0])
    assert np.allclose(np.linalg.norm(np.array(found["affine"])[:3, 0]), 3)
