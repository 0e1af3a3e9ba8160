"""Weights that were calibrated: what counts as a lesion, and how likely each is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.model.candidates import Detection
from tumorspread.model.predict import Predictor
from tumorspread.model.preprocess import PreprocessConfig
from tumorspread.model.unet import UNet, UNetConfig
from tumorspread.model.weights import Provenance, WeightsInfo, save_weights
from tumorspread.pipeline import analyse

COARSE = PhantomConfig(spacing_mm=(6.0, 6.0, 6.0), vessels=8, tumours=(2, 2), diameter_mm=(30.0, 46.0))


def test_an_operating_point_decides_what_counts_and_each_lesion_has_its_probability(tmp_path):
    torch.manual_seed(0)
    network = UNet(UNetConfig(dims=3, widths=(4, 8), convolutions=1))
    info = WeightsInfo(
        network.config, PreprocessConfig(spacing_mm=(12.0, 11.0, 13.0)), (16, 16, 16), 0.5, Provenance("x")
    )
    scan = make_phantom(3, COARSE).scan.crop((6, 6, 12), (30, 34, 44))  # parts of both lungs, and little else
    save_weights(network, info, tmp_path / "plain.safetensors")
    # An untrained network, cut at the median of what it says: half of the scan is tumour to it.
    median = float(np.median(Predictor(tmp_path / "plain.safetensors").probability(scan).voxels))
    info = replace(info, threshold=median)
    save_weights(network, info, tmp_path / "plain.safetensors")
    judged = replace(info, detection=Detection(sensitive=0.0, balanced=0.0, specific=1.0))
    save_weights(network, judged, tmp_path / "judged.safetensors")

    found = analyse(scan, tmp_path / "judged.safetensors").findings
    assert found.origin.operating_point == "balanced"
    assert found.lesions
    assert all(0 < n.probability < 1 and "probability" not in n.reasons for n in found.lesions)
    none = analyse(scan, tmp_path / "judged.safetensors", point="specific").findings
    assert (none.burden.count, none.origin.operating_point) == (0, "specific")
    plain = analyse(scan, tmp_path / "plain.safetensors").findings
    assert plain.origin.operating_point is None
    assert {n.reasons["probability"] for n in plain.lesions} == {"the weights were not calibrated"}
