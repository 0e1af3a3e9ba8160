"""The whole story against exact truth, and the same answer however the scan was stored."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from datetime import datetime
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.errors import MaskError, ReadError, RecipeError
from tumorspread.measurement.findings import Findings
from tumorspread.pipeline import analyse, measure
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.volume import Volume

ORIENTATIONS = [
    np.column_stack([axes, flips]) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)
]
COARSE = PhantomConfig(spacing_mm=(6.0, 6.0, 6.0), vessels=8, tumours=(2, 2), diameter_mm=(30.0, 46.0))


@pytest.fixture(scope="module", params=[3, 8])
def phantom(request):
    return make_phantom(request.param, PhantomConfig(vessels=2, tumours=(2, 4)))


@pytest.fixture(scope="module")
def coarse():
    return make_phantom(3, COARSE)


@pytest.fixture(scope="module")
def weights(tmp_path_factory, coarse):
    """An untrained network, cut at the median of what it says, so that half of a scan is `tumour`."""
    import torch

    from tumorspread.model.predict import Predictor
    from tumorspread.model.preprocess import PreprocessConfig
    from tumorspread.model.unet import UNet, UNetConfig
    from tumorspread.model.weights import Provenance, WeightsInfo, save_weights

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = UNetConfig(dims=3, widths=(4, 8), convolutions=1)
    preprocess = PreprocessConfig(spacing_mm=(12.0, 11.0, 13.0))
    info = WeightsInfo(config, preprocess, (16, 16, 16), 0.5, Provenance("none"))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    network = UNet(config)
    save_weights(network, info, path)
    median = float(np.median(Predictor(path).probability(crop(coarse.scan)).voxels))
    save_weights(network, replace(info, threshold=median), path)
    return path


def crop(volume):
    """A box of 24x28x32 voxels with parts of both lungs."""
    return volume.crop((6, 6, 12), (30, 34, 44))


def turned_patient(volume):
    """The same scan of a patient who lies askew: all of the world turned by 12 and 9 degrees and moved."""
    angles = np.radians((12, 9))
    (c, d), (s, t) = np.cos(angles), np.sin(angles)
    turn = np.array([[c, -s, 0, 40], [s, c, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1.0]])
    turn = turn @ np.array([[1, 0, 0, 0], [0, d, -t, 0], [0, t, d, 0], [0, 0, 0, 1.0]])
    return replace(volume, affine=turn @ volume.affine), turn


def stored(volume, orientation):
    """The same voxels in the world, stored in other axes, turned by nibabel."""
    image = nib.Nifti1Image(volume.voxels.transpose(2, 1, 0).astype(np.int16), volume.affine[:, [2, 1, 0, 3]])
    turned = image.as_reoriented(orientation)
    return Volume(np.asarray(turned.dataobj).transpose(2, 1, 0), turned.affine[:, [2, 1, 0, 3]])


def numbers(findings):
    """The numbers that do not depend on where the patient lies."""
    lesions = [
        (n.id, n.voxel_count, n.volume_ml, n.long_axis_mm, n.short_axis_mm, n.mean_hu, n.side, n.flags)
        for n in findings.lesions
    ]
    spread, burden = findings.spread, findings.burden
    return [*lesions, (burden.count, burden.volume_ml, burden.sum_of_long_axes_mm), (
        spread.sides_involved, spread.dominant_id, spread.dominant_share_percent, spread.largest_distance_mm,
        spread.mean_distance_to_dominant_mm, spread.left.count, spread.right.volume_ml,
    )]  # fmt: skip


def assert_alike(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a == (pytest.approx(b, rel=1e-6) if isinstance(b, float) else b)


def test_a_phantom_is_measured_as_it_was_drawn(phantom):
    findings = measure(phantom.scan, phantom.mask).findings
    assert len(findings.lesions) == len(phantom.lesions)
    pixel, thickness = phantom.scan.spacing_mm[2], phantom.scan.spacing_mm[0]
    for truth in phantom.lesions:
        found = min(findings.lesions, key=lambda n: np.linalg.norm(np.subtract(n.centroid_mm, truth.centre_mm)))
        assert np.linalg.norm(np.subtract(found.centroid_mm, truth.centre_mm)) < pixel / 2
        assert found.volume_ml == pytest.approx(truth.volume_ml, rel=0.05)
        # At worst the equator lies halfway between two slices, and the lesion is nearly a ball.
        narrowing = truth.long_axis_mm * (1 - np.sqrt(1 - (thickness / (0.7 * truth.long_axis_mm)) ** 2))
        assert -narrowing - pixel < found.long_axis_mm - truth.long_axis_mm < 1.5 * pixel
        assert -narrowing - pixel < found.short_axis_mm - truth.short_axis_mm < 1.5 * pixel
        assert found.side == truth.side
        assert found.flags == ()
        assert -120 < found.mean_hu < 90  # the outer voxels are half lung
    total = sum(truth.volume_ml for truth in phantom.lesions)
    assert findings.burden.volume_ml == pytest.approx(total, rel=0.03)
    share = 100 * total / findings.lungs.total_ml
    assert findings.burden.lung_fraction_percent == pytest.approx(share, rel=0.03)
    assert findings.spread.sides_involved == len({truth.side for truth in phantom.lesions})


def test_the_lungs_of_a_phantom_are_two_ellipsoids_without_the_heart(phantom):
    lungs = measure(phantom.scan, phantom.mask).findings.lungs
    one_ellipsoid = 4 / 3 * np.pi * 56 * 76 * 92 / 1000
    assert 0.6 * one_ellipsoid < lungs.left_ml < lungs.right_ml < 1.25 * one_ellipsoid
    assert lungs.total_ml == pytest.approx(lungs.left_ml + lungs.right_ml)


def test_the_numbers_are_the_same_in_all_48_ways_to_store_the_scan(coarse):
    first = measure(coarse.scan, coarse.mask)
    for orientation in ORIENTATIONS:
        again = measure(stored(coarse.scan, orientation), stored(coarse.mask, orientation))
        assert_alike(numbers(again.findings), numbers(first.findings))
        assert again.findings.lungs.total_ml == pytest.approx(first.findings.lungs.total_ml, rel=0.01)
        for one, other in zip(again.findings.lesions, first.findings.lesions, strict=True):
            assert one.centroid_mm == pytest.approx(other.centroid_mm, abs=1e-6)
            assert np.allclose(one.long_axis_ends_mm, other.long_axis_ends_mm, atol=1e-6)


def test_an_oblique_grid_gives_the_same_numbers_and_its_points_turn_with_the_world(coarse):
    first = measure(coarse.scan, coarse.mask).findings
    scan, turn = turned_patient(coarse.scan)
    findings = measure(scan, turned_patient(coarse.mask)[0]).findings
    assert_alike(numbers(findings), numbers(first))
    assert_alike([vars(findings.lungs).values()], [vars(first.lungs).values()])
    for one, other in zip(findings.lesions, first.lesions, strict=True):
        assert one.centroid_mm == pytest.approx((turn @ [*other.centroid_mm, 1])[:3], abs=1e-6)
        assert one.axial_slice == other.axial_slice


def test_a_mask_stored_in_another_orientation_than_its_scan_is_measured_alike(coarse, tmp_path):
    write_nifti(coarse.scan, tmp_path / "scan.nii.gz")
    for orientation in ORIENTATIONS[5::11]:
        write_nifti(stored(coarse.mask, orientation), tmp_path / "mask.nii.gz")
        findings = measure(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz").findings
        assert_alike(numbers(findings), numbers(measure(coarse.scan, coarse.mask).findings))
    assert (findings.scan.source, findings.origin.mask_source) == ("scan.nii.gz", "mask.nii.gz")


@pytest.mark.parametrize("is_oblique", [False, True], ids=["upright", "oblique"])
def test_the_mask_of_a_network_comes_back_on_the_scan_in_all_48_ways_to_store_it(coarse, weights, is_oblique):
    from tumorspread.model.predict import Predictor

    scan = crop(coarse.scan)
    scan = turned_patient(scan)[0] if is_oblique else scan
    predictor = Predictor(weights, overlap=0.25)
    first = predictor.mask(scan)[0]
    assert 0.2 < first.voxels.mean() < 0.8
    for orientation in ORIENTATIONS:
        mask = predictor.mask(turned := stored(scan, orientation))[0]
        assert np.array_equal(mask.affine, turned.affine)
        assert np.array_equal(mask.voxels, stored(first, orientation).voxels)


def test_analyse_gives_mask_lesions_and_lungs_on_the_very_grid_of_a_flipped_oblique_scan(coarse, weights):
    scan = stored(turned_patient(coarse.scan)[0], ORIENTATIONS[29])
    analysis = analyse(scan, weights)
    for volume in (analysis.mask, analysis.lesions, analysis.lungs):
        assert volume.shape == scan.shape
        assert np.array_equal(volume.affine, scan.affine)
    assert analysis.mask.voxels.dtype == np.uint8
    assert np.array_equal(analysis.mask.voxels == 1, analysis.lesions.voxels > 0)
    assert analysis.findings.burden.count == analysis.lesions.voxels.max() == len(analysis.findings.lesions)
    volume_ml = analysis.mask.voxels.sum() * scan.voxel_ml
    assert analysis.findings.burden.volume_ml == pytest.approx(volume_ml)


def unjudged(lesion):
    """The lesion without the model's opinion of it, which a mask that was brought along has not."""
    return replace(lesion, probability=None, reasons={k: v for k, v in lesion.reasons.items() if k != "probability"})


def test_analyse_and_measure_of_its_own_mask_agree(coarse, weights, tmp_path):
    write_nifti(crop(coarse.scan), tmp_path / "ct.nii.gz")
    analysis = analyse(tmp_path / "ct.nii.gz", weights)
    write_nifti(analysis.mask, tmp_path / "mask.nii.gz")
    again = measure(tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz").findings
    assert [unjudged(n) for n in again.lesions] == [unjudged(n) for n in analysis.findings.lesions]
    assert (again.lungs, again.spread) == (analysis.findings.lungs, analysis.findings.spread)
    assert np.array_equal(read_nifti(tmp_path / "mask.nii.gz").voxels, analysis.mask.voxels)


def test_the_findings_say_how_long_each_stage_took(coarse, weights, tmp_path):
    write_nifti(crop(coarse.scan), tmp_path / "scan.nii.gz")
    start = time.perf_counter()
    found = analyse(tmp_path / "scan.nii.gz", weights).findings.origin.stage_s
    taken = time.perf_counter() - start
    assert list(found) == ["read", "check", "resample", "lungs", "network", "judge", "measure"]
    assert all(seconds >= 0 for seconds in found.values())
    assert found["network"] > 0
    assert sum(found.values()) <= taken + 0.005


def test_the_origin_names_software_weights_hash_and_threshold(coarse, weights):
    from tumorspread.model.predict import Predictor

    steps = []
    scan, predictor = crop(coarse.scan), Predictor(weights)
    origin = analyse(scan, predictor, progress=lambda done, total: steps.append((done, total))).findings.origin
    assert steps[-1][0] == steps[-1][1] > 0
    assert (origin.mask_source, origin.weights) == ("model", "tiny.safetensors")
    assert origin.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert origin.threshold == predictor.info.threshold
    assert datetime.fromisoformat(origin.made_at).utcoffset().total_seconds() == 0
    assert analyse(scan, predictor, threshold=0.999, source="me").findings.origin.threshold == 0.999


@pytest.mark.parametrize("threshold", [0.0, 1.0, 50.0, -0.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(coarse, weights, threshold):
    with pytest.raises(RecipeError, match="between 0 and 1"):
        analyse(crop(coarse.scan), weights, threshold=threshold)


def test_weights_for_grey_images_do_not_analyse_a_ct(coarse, weights, tmp_path):
    from tumorspread.model.weights import load_weights, save_weights

    network, info = load_weights(weights)
    gray = replace(info, preprocess=replace(info.preprocess, intensity="gray", window=(0.0, 1.0)))
    save_weights(network, gray, tmp_path / "gray.safetensors")
    with pytest.raises(ReadError, match="grey images"):
        analyse(coarse.scan, tmp_path / "gray.safetensors")


def test_a_crop_without_lungs_has_no_lung_numbers_and_says_why(coarse):
    scan = coarse.scan.crop((8, 15, 27), (18, 22, 33))  # heart and mediastinum
    mask = np.zeros(scan.shape, np.uint8)
    mask[3:5, 3:5, 3:5] = 1
    analysis = measure(scan, scan.with_voxels(mask))
    findings = analysis.findings
    assert analysis.lungs is None
    assert set(findings.lungs.reasons) == {"left_ml", "right_ml", "total_ml"}
    assert findings.lungs.left_ml is findings.lungs.right_ml is findings.lungs.total_ml is None
    assert "lungs_not_found" in [warning.code for warning in findings.warnings]
    (lesion,) = findings.lesions
    assert (lesion.side, lesion.lung_share_percent, lesion.flags) == (None, None, ("too_coarse",))
    assert lesion.volume_ml == pytest.approx(8 * 0.216)
    assert findings.burden.lung_fraction_percent is None
    assert findings.burden.reasons["lung_fraction_percent"]
    assert (findings.spread.left, findings.spread.sides_involved) == (None, None)
    assert Findings.from_json(findings.to_json()) == findings


def test_a_lesion_that_the_scan_cuts_keeps_its_value_and_warns(coarse):
    left = next(lesion for lesion in coarse.lesions if lesion.side == "left")
    column = round(float(coarse.scan.to_index(left.centre_mm)[2]))
    scan, mask = (v.crop((0, 0, 0), (*v.shape[:2], column)) for v in (coarse.scan, coarse.mask))
    findings = measure(scan, mask).findings
    (cut,) = [lesion for lesion in findings.lesions if "cut_by_scan_edge" in lesion.flags]
    midline = coarse.mask.shape[2] // 2
    assert cut.voxel_count == mask.voxels[..., midline:].sum()
    assert 0.2 * left.volume_ml < cut.volume_ml < 0.8 * left.volume_ml
    (whole,) = [lesion for lesion in findings.lesions if lesion is not cut]
    assert whole.voxel_count == mask.voxels[..., :midline].sum()
    (warning,) = [w for w in findings.warnings if w.code == "lesion_cut_by_scan_edge"]
    assert warning.text.startswith("1 of 2 lesions")


def test_an_empty_mask_is_an_answer(coarse):
    findings = measure(coarse.scan, coarse.mask.with_voxels(np.zeros(coarse.mask.shape, bool))).findings
    assert (findings.lesions, findings.burden.count, findings.burden.volume_ml) == ((), 0, 0)
    assert findings.burden.lung_fraction_percent == 0
    assert json.loads(findings.to_json())["spread"]["dominant_id"] is None


def test_a_mask_whose_grid_is_off_by_rounding_comes_back_on_the_scans(coarse):
    rounded = replace(coarse.mask, affine=coarse.mask.affine + 1e-4 * np.eye(4)[[3, 3, 3, 0]].T)
    assert not np.array_equal(rounded.affine, coarse.scan.affine)
    assert np.array_equal(measure(coarse.scan, rounded).lesions.affine, coarse.scan.affine)


@pytest.mark.parametrize("change", ["moved", "cropped", "flipped"])
def test_a_mask_on_another_grid_is_refused(coarse, change):
    mask = {
        "moved": replace(coarse.mask, affine=coarse.mask.affine + 3 * np.eye(4)[[3, 3, 3, 0]].T),
        "cropped": coarse.mask.crop((0, 0, 0), (20, 20, 20)),
        "flipped": stored(coarse.mask, ORIENTATIONS[7]),
    }[change]
    with pytest.raises(MaskError, match="grid"):
        measure(coarse.scan, mask)


@pytest.mark.real
def test_a_real_mass_has_the_volume_and_diameter_of_its_contour(shared_data):
    scans = shared_data / "scans"
    findings = measure(scans / "RadPhantom-pat4.nii.gz", scans / "RadPhantom-pat4_gtv.nii.gz").findings
    assert findings.burden.volume_ml == pytest.approx(125.5, rel=0.002)
    (mass,) = findings.lesions
    assert mass.long_axis_mm == pytest.approx(80.1, abs=1.5)  # one and a half pixel
    assert (mass.side, findings.lungs.right_ml) == ("left", None)
    assert [w.code for w in findings.warnings] == ["one_lung_found", "lungs_cut_by_scan"]
