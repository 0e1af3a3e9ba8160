"""The part of the demo with a real tumour, on a phantom in the place of the patient: no network, no weights."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorspread import measure, write_nifti
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.report.folder import write_analysis

COARSE = PhantomConfig(spacing_mm=(8.0, 8.0, 8.0), vessels=2, tumours=(2, 2), diameter_mm=(34.0, 46.0))


@pytest.fixture
def example(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[1] / "examples"), *sys.path])
    return importlib.import_module("real_tumour")


@pytest.fixture
def stand_in(example, monkeypatch):
    """A phantom as the patient; the commands that find and measure are answered by the given masks."""

    def install(phantom, found):
        def fetch(arguments):
            write_nifti(phantom.scan, Path(arguments.split()[-1]) / "ct.nii.gz")
            (Path(arguments.split()[-1]) / "ct.nii.gz").rename(Path(arguments.split()[-1]) / "ct")
            return 0

        def run(arguments):
            words = arguments.split()
            folder = Path(words[words.index("-o") + 1])
            mask = found if words[0] == "analyse" else phantom.mask
            folder.mkdir()
            write_analysis(measure(phantom.scan, mask), folder)

        monkeypatch.setattr(example, "try_command", fetch)
        monkeypatch.setattr(example, "run_command", run)

    return install


def rows(out: str) -> dict[str, list[str]]:
    return {line[:24].strip(): line[24:].split() for line in out.splitlines()}


def test_without_a_network_the_real_tumour_is_left_out_in_words(example, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(example, "try_command", lambda _: 1)
    assert example.show_real_tumour(tmp_path / "real") is None
    assert "left out, since the sample patient could not be fetched" in capsys.readouterr().out


def test_both_masks_stand_side_by_side_in_a_table_and_a_picture(example, stand_in, tmp_path, capsys):
    phantom = make_phantom(0, COARSE)
    found = np.roll(phantom.mask.voxels, 1, axis=2)
    stand_in(phantom, phantom.mask.with_voxels(found))
    shown = example.show_real_tumour(tmp_path / "real")
    both = np.count_nonzero(found & phantom.mask.voxels)
    count = np.count_nonzero(found)
    assert shown.figures["sample_dice"] == pytest.approx(both / count)
    assert shown.figures["sample_volume_ml"] == pytest.approx(count * 0.512)
    assert shown.figures["sample_volume_oncologist_ml"] == pytest.approx(count * 0.512)
    out = capsys.readouterr().out
    table = rows(out)
    assert table["A real tumour"] == ["tumorspread", "oncologist"]
    assert table["lesions"] == ["2", "2"]
    assert float(table["largest: long axis, mm"][1]) > 30
    assert str(tmp_path / "real" / "sample" / "LICENCE.txt") in out
    assert all(file.is_file() for file in shown.files)
    assert Image.open(tmp_path / "real" / "beside.png").width > 1000


def test_a_tumour_that_was_not_found_has_dashes_and_a_dice_of_0(example, stand_in, tmp_path, capsys):
    phantom = make_phantom(0, COARSE)
    stand_in(phantom, phantom.mask.with_voxels(np.zeros_like(phantom.mask.voxels)))
    figures = example.show_real_tumour(tmp_path / "real").figures
    assert (figures["sample_dice"], figures["sample_volume_ml"]) == (0, 0)
    table = rows(capsys.readouterr().out)
    assert table["lesions"] == ["0", "2"]
    assert table["largest: short axis, mm"][0] == table["largest: lung"][0] == "–"
