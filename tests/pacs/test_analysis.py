"""The analysis that the listener runs, with a small network of its own."""

from __future__ import annotations

import pickle

import pytest
import torch
from pydicom import dcmread

from tumorspread.errors import GeometryError
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.unet import UNet, UNetConfig
from tumorspread.model.weights import Provenance, WeightsInfo, save_weights
from tumorspread.pacs.analysis import SeriesAnalysis


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    config = UNetConfig(dims=3, widths=(4, 8), convolutions=1)
    info = WeightsInfo(config, PreprocessConfig(spacing_mm=(8.0, 8.0, 8.0)), (16, 16, 16), 0.5, Provenance("x"))
    save_weights(UNet(config), info, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_a_series_becomes_dicom_of_its_own_study(net, weights, tmp_path):
    folder = tmp_path / "slices"
    folder.mkdir()
    slices = net.make_series(20)
    for one in slices:
        one.save_as(folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
    (tmp_path / "out").mkdir()
    # As the listener's child process gets it.
    analyse = pickle.loads(pickle.dumps(SeriesAnalysis(str(weights), engine="torch", precision="fp32", threads=1)))
    made = [dcmread(path) for path in analyse(folder, tmp_path / "out")]
    assert made[-1].Modality == "SR"
    assert {one.StudyInstanceUID for one in made} == {slices[0].StudyInstanceUID}
    assert len(list((tmp_path / "out").iterdir())) == len(made)
    sorted(folder.iterdir())[7].unlink()
    with pytest.raises(GeometryError):
        analyse(folder, tmp_path / "out")
