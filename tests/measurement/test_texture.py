"""Texture: IBSI's values where pyradiomics is installed, nothing where it is not, a refusal where it is broken."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from tumorspread.errors import TumorspreadError
from tumorspread.measurement.texture import texture_features

# The digital phantom of the IBSI reference manual, as in test_shape; 0 is outside.
LEVELS = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
# As printed there for 3-D, averaged over the directions; one bin is 25 HU.
IBSI = {
    "glcm_MaximumProbability": 0.503, "glcm_JointEntropy": 2.40, "glcm_JointEnergy": 0.303, "glcm_Contrast": 5.32,
    "glrlm_ShortRunEmphasis": 0.705, "glszm_SmallAreaEmphasis": 0.255, "glszm_ZonePercentage": 0.0676,
    "ngtdm_Coarseness": 0.0296, "ngtdm_Contrast": 0.584, "gldm_SmallDependenceEmphasis": 0.045,
}  # fmt: skip


def features():
    return texture_features(25.0 * LEVELS, LEVELS > 0, (2.0, 2.0, 2.0))


def test_texture_is_what_ibsi_prints():
    pytest.importorskip("radiomics", reason="pyradiomics is not installed", exc_type=ImportError)
    found = features()
    for name, value in IBSI.items():
        assert found[f"pyradiomics_{name}"] == pytest.approx(value, rel=2.5e-3), name
    assert np.isfinite(list(found.values())).all()
    assert texture_features(LEVELS[:1, :1, :1], LEVELS[:1, :1, :1] > 0, (2.0, 2.0, 2.0)) == {}


@pytest.mark.skipif(find_spec("radiomics") is not None, reason="pyradiomics is installed")
def test_without_pyradiomics_there_is_no_texture():
    assert features() == {}


def test_a_pyradiomics_that_does_not_load_is_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "radiomics").mkdir()
    (tmp_path / "radiomics" / "__init__.py").write_text("raise ImportError('built for another numpy')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "radiomics"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(TumorspreadError, match=r"does not load \(built for another numpy\)"):
        features()
