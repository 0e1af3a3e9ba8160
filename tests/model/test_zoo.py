"""The weights that come with the package."""

from __future__ import annotations

import pytest

import tumorspread
from tumorspread.errors import WeightsError
from tumorspread.measurement.metrics import compare_masks
from tumorspread.model.predict import Predictor
from tumorspread.model.weights import load_weights
from tumorspread.model.zoo import LUNG, PACKAGED, find_weights, weights_names

MOST_BYTES = 20_000_000


def test_all_weights_of_the_package_can_be_read_and_are_small():
    assert weights_names() == ("lung", "msd-patches")
    assert sum(file.stat().st_size for file in PACKAGED.glob("*.safetensors")) <= MOST_BYTES
    for name in weights_names():
        network, info = load_weights(find_weights(name))
        assert info.name == f"{name}.safetensors"
        assert info.provenance.train_cases
        assert not network.training
    assert (PACKAGED / "LICENCE.md").is_file()


def test_the_lung_weights_are_calibrated_and_know_lungs_alone():
    _, info = load_weights(find_weights(LUNG))
    assert info.lungs_only
    detection = info.detection
    assert detection.scans >= 20
    assert detection.fitted
    assert 0 < detection.sensitive <= detection.balanced <= detection.specific < 1


def test_a_path_is_a_path_and_an_unknown_name_is_refused(tmp_path):
    assert find_weights(tmp_path / "mine.safetensors") == tmp_path / "mine.safetensors"
    with pytest.raises(WeightsError, match=r"lnug: no such weights file; the package has lung, msd-patches"):
        Predictor("lnug")


@pytest.mark.real
def test_a_real_mass_is_found_out_of_the_box_and_outlined(shared_data):
    scans = shared_data / "scans"
    analysis = tumorspread.analyse(scans / "RadPhantom-pat4.nii.gz")
    drawn = tumorspread.read_mask(scans / "RadPhantom-pat4_gtv.nii.gz", analysis.scan)
    assert compare_masks(analysis.mask, drawn).dice >= 0.8
    assert analysis.findings.lesions[0].probability > 0.5
    assert analysis.findings.origin.weights == "lung.safetensors"
