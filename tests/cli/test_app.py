"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from importlib import import_module

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

import tumorspread
from tumorspread.cli import data as data_verbs
from tumorspread.cli.app import app
from tumorspread.data.cases import find_cases
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.data.phantom_set import read_truth, write_phantoms
from tumorspread.data.splits import Split, write_splits
from tumorspread.measurement.findings import Findings
from tumorspread.model.predict import Predictor
from tumorspread.model.preprocess import PreprocessConfig, prepare_mask
from tumorspread.model.unet import UNet, UNetConfig
from tumorspread.model.weights import Provenance, WeightsInfo, load_weights, save_weights
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.volume import Volume

VERBS = (
    "analyse",
    "measure",
    "follow",
    "predict",
    "convert",
    "series",
    "train",
    "evaluate",
    "calibrate",
    "average",
    "quantise",
    "export",
    "listen",
    "fetch",
    "store",
    "bench",
    "deidentify",
    "view",
    "cohort",
)
DATA_VERBS = ("fetch", "check", "split", "convert", "phantoms", "implant", "preview")
COMMANDS = [(), ("data",), *((verb,) for verb in VERBS), *(("data", verb) for verb in DATA_VERBS)]
RESULTS = {"mask.nii.gz", "lesions.nii.gz", "lungs.nii.gz", "findings.json", "lesions.csv", "report.html", "scan.json"}
COARSE = PhantomConfig(spacing_mm=(8.0, 8.0, 8.0), vessels=2, tumours=(2, 2), diameter_mm=(34.0, 46.0))


def ct(data, number=0):
    return data / "imagesTr" / f"phantom_{number:03}.nii.gz"


def mask(data, number=0):
    return data / "labelsTr" / f"phantom_{number:03}.nii.gz"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_exits_0_and_shows_an_example(command, run):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Usage: tumorspread" in out
    example = "  DIR/" if command == ("data",) else f"  {' '.join(('tumorspread', *command))} "
    assert example in out


def test_every_command_is_among_those_that_are_tested():
    def names(group):
        return {c.name or c.callback.__name__ for c in group.registered_commands}

    assert names(app) == set(VERBS)
    assert names(data_verbs.app) == set(DATA_VERBS)


def test_the_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"tumorspread {tumorspread.__version__}\n", "")


@pytest.mark.parametrize("argv", [["--help"], ["analyse", "--help"], ["data", "fetch", "--help"], ["--version"]])
def test_help_and_version_import_nothing_heavy(argv):
    program = (
        "import sys\nfrom tumorspread.cli import main\ntry:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'scipy', 'pydicom', 'matplotlib') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=60)
    assert done.stderr == "[]\n"
    assert "tumorspread" in done.stdout


@pytest.mark.parametrize("argv", [["analyse"], ["nonsense"], ["measure", "a", "b", "--nonsense"], ["data", "x"]])
def test_wrong_usage_ends_in_2_with_the_usage_on_stderr(argv, run):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert "Usage: tumorspread" in err
    assert "Traceback" not in err


def test_an_interrupt_ends_in_130_with_a_word_and_no_traceback(run, data, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    # A module first imported while `read` is replaced would keep the wrong one for good.
    import_module("tumorspread.pipeline")
    monkeypatch.setattr("tumorspread.scan.read.read", interrupt)
    code, out, err = run("measure", ct(data), mask(data), "-o", tmp_path / "out")
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_measure_writes_all_results_and_prints_the_numbers(run, data, tmp_path):
    code, out, err = run("measure", ct(data), mask(data), "-o", tmp_path / "a" / "out")
    folder = tmp_path / "a" / "out"
    assert code == 0
    assert {path.name for path in folder.iterdir()} == RESULTS
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    findings = Findings.from_json((folder / "findings.json").read_text())
    truth = read_truth(data)["phantom_000"]
    assert findings.burden.count == len(truth) == 2
    assert findings.burden.volume_ml == pytest.approx(sum(t.volume_ml for t in truth), rel=0.1)
    lines = out.splitlines()
    assert lines[0].split() == ["lesion", "side", "volume", "mL", "long", "axis", "mm", "short", "axis", "mm"]
    assert [line.split()[1] for line in lines[1:3]] == [lesion.side for lesion in findings.lesions]
    assert lines[-1].startswith("2 lesions, ")
    assert "% of the lungs" in lines[-1]
    assert err.splitlines()[-1] == f"look at {folder / 'report.html'}"
    rows = list(csv.DictReader((folder / "lesions.csv").open()))
    assert [float(row["volume_ml"]) for row in rows] == pytest.approx([n.volume_ml for n in findings.lesions])
    written = nib.load(folder / "lesions.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj) > 0, np.asarray(nib.load(mask(data)).dataobj) > 0)
    assert np.allclose(written.affine, nib.load(ct(data)).affine)
    assert "<html" in (folder / "report.html").read_text()


def test_json_on_stdout_is_the_findings_file_and_nothing_else_and_a_label_can_be_chosen(run, data, tmp_path):
    image = nib.load(mask(data))
    labels = np.asarray(image.dataobj).astype(np.uint8) * 3
    labels[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "labels.nii.gz")
    argv = ("measure", ct(data), tmp_path / "labels.nii.gz", "-o", tmp_path / "out", "--json", "--label", 3)
    code, out, err = run(*argv)
    assert code == 0
    assert out == (tmp_path / "out" / "findings.json").read_text()
    findings = Findings.from_json(out)
    assert (findings.scan.source, findings.origin.mask_source) == (ct(data).name, "labels.nii.gz")
    assert sum(lesion.voxel_count for lesion in findings.lesions) == (labels == 3).sum()
    assert "look at" in err


def test_an_roi_of_contours_is_chosen_by_name_and_belongs_to_contours_alone(run, data, tmp_path):
    argv = ("measure", ct(data), pydicom.data.get_testdata_file("rtstruct.dcm"), "-o", tmp_path / "out")
    code, out, err = run(*argv, "--roi", "GTV-1")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no ROI with closed contours is named 'GTV-1'; found " in err
    code, _, err = run("measure", ct(data), mask(data), "-o", tmp_path / "out", "--roi", "GTV-1")
    assert code == 1
    assert "--roi is for DICOM RTSTRUCT" in err


def test_results_are_replaced_only_when_asked(run, data, tmp_path):
    argv = ("measure", ct(data), mask(data), "-o", tmp_path / "out")
    assert run(*argv)[0] == 0
    before = (tmp_path / "out" / "findings.json").read_text()
    code, _, err = run("measure", ct(data, 1), mask(data, 1), "-o", tmp_path / "out")
    assert code == 1
    assert "--force" in err
    assert (tmp_path / "out" / "findings.json").read_text() == before
    assert run("measure", ct(data, 1), mask(data, 1), "-o", tmp_path / "out", "--force")[0] == 0
    after = Findings.from_json((tmp_path / "out" / "findings.json").read_text())
    assert after.scan.source == "phantom_001.nii.gz"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_analyse_finds_measures_and_writes_a_mask_on_the_scans_grid(run, data, weights, tmp_path):
    code, out, err = run("analyse", ct(data), "-o", tmp_path / "out", "-w", weights, "--json")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS
    findings = Findings.from_json(out)
    assert (findings.origin.mask_source, findings.origin.weights) == ("model", "weights.safetensors")
    image, scan = nib.load(tmp_path / "out" / "mask.nii.gz"), nib.load(ct(data))
    assert image.shape == scan.shape
    assert np.allclose(image.affine, scan.affine)
    voxels = np.asarray(image.dataobj)
    assert set(np.unique(voxels)) <= {0, 1}
    volume_ml = voxels.sum() * abs(np.linalg.det(scan.affine)) / 1000
    assert findings.burden.volume_ml == pytest.approx(volume_ml, rel=1e-4)


def test_bench_times_every_stage_and_leaves_nothing_behind(run, data, weights, tmp_path):
    before = sorted(data.rglob("*"))
    code, out, err = run("bench", ct(data), "-w", weights, "--repeat", "2", "--json")
    assert (code, err) == (0, "")
    timed = json.loads(out)
    assert len(timed["runs"]) == 2
    stages = ["read", "check", "resample", "lungs", "network", "judge", "measure", "write"]
    assert all(list(stage_s) == stages for stage_s in timed["runs"])
    assert timed["total_s"] == pytest.approx(timed["network_s"] + timed["not_network_s"])
    assert timed["total_s"] <= min(sum(stage_s.values()) for stage_s in timed["runs"]) + 1e-6
    assert 0.05 < timed["peak_gib"] < 20
    code, out, _ = run("bench", ct(data), "-w", weights, "--repeat", "1", "--engine", "torch")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "stage",
        *stages,
        "network_s",
        "not_network_s",
        "total_s",
        "peak_gib",
        "engine",
    ]
    assert lines[-1].startswith("engine torch fp32")
    assert sorted(data.rglob("*")) == before


def test_predict_writes_the_mask_that_its_own_probabilities_give(run, data, weights, tmp_path):
    """The grids are the same here, so the mask is the cut of the very probabilities."""
    assert run("predict", weights, ct(data), "-o", tmp_path / "p.nii.gz", "--probability")[0] == 0
    probability = np.asarray(nib.load(tmp_path / "p.nii.gz").dataobj)
    assert 0 <= probability.min() < probability.max() <= 1
    cut = float(np.median(probability))
    argv = ("predict", weights, ct(data), "-o", tmp_path / "m.nii.gz", "--threshold", repr(cut))
    code, out, err = run(*argv)
    assert (code, out, err) == (0, "", f"wrote {tmp_path / 'm.nii.gz'}\n")
    assert np.array_equal(np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj) == 1, probability > cut)


def test_convert_writes_a_dicom_series_as_nifti_in_hu(run, tmp_path):
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    (tmp_path / "series").mkdir()
    for number in range(3):
        dataset.ImagePositionPatient = [-40, -40, 5 * number]
        dataset.SOPInstanceUID = generate_uid()
        dataset.save_as(tmp_path / "series" / f"{number}.dcm")
    code, out, err = run("convert", tmp_path / "series", "-o", tmp_path / "ct.nii.gz")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1].endswith("(3, 128, 128) voxels of (5.0, 0.6615, 0.6615) mm (z, y, x)")
    image = nib.load(tmp_path / "ct.nii.gz")
    hu = dataset.pixel_array.astype(int) - 1024
    assert np.array_equal(np.asarray(image.dataobj)[:, :, 1], hu.T)
    assert image.affine[:3, 3] == pytest.approx([40, 40, 0])


def test_phantoms_are_made_split_and_checked(run, tmp_path, monkeypatch):
    # Coarse ones: the grid of the real ones takes two seconds each.
    monkeypatch.setattr("tumorspread.data.phantom_set.make_phantom", lambda seed, _: make_phantom(seed, COARSE))
    folder = tmp_path / "phantoms"
    assert run("data", "phantoms", folder, "--count", 5)[:2] == (0, "")
    assert len(read_truth(folder)) == 5
    code, out, err = run("data", "split", folder, "--fractions", "0.6,0.2,0.2")
    assert (code, err) == (0, f"wrote {folder / 'splits.json'}\n")
    assert [line.split() for line in out.splitlines()] == [
        ["fold", "train", "val", "test"],
        ["0", "3", "1", "1"],
    ]
    assert run("data", "split", folder, "--folds", "--force")[1].count("\n") == 6
    code, _, err = run("data", "check", folder)
    assert code == 0, err
    assert "5 cases, no faults" in err


def test_check_prints_a_table_of_faults_and_ends_in_1(run, tmp_path):
    folder = write_phantoms(tmp_path / "data", 2, config=COARSE)
    (folder / "labelsTr" / "phantom_001.nii.gz").write_bytes(b"not a mask")
    code, out, err = run("data", "check", folder)
    assert code == 1
    assert out.splitlines()[0].split() == ["level", "case", "code", "what"]
    assert any("phantom_001" in line and "fault" in line for line in out.splitlines())
    assert err.count("\n") == 1
    assert "see the table" in err


def test_evaluate_prints_a_line_a_measure_and_writes_its_pages(run, data, weights, tmp_path):
    code, out, err = run("evaluate", weights, data, "-o", tmp_path / "scores")
    assert code == 0, err
    names = {path.name for path in (tmp_path / "scores").iterdir()}
    assert names == {"evaluation.csv", "evaluation.json", "evaluation.html", "masks", "pictures"}
    values = dict(line.split(" ", 1) for line in out.splitlines())
    assert 0 <= float(values["dice"].split()[0]) <= 1
    assert [path.name for path in (tmp_path / "scores" / "masks").iterdir()] == ["phantom_003.nii.gz"]


def test_a_recipe_is_printed_as_toml_with_its_changes(run):
    import tomllib

    code, out, err = run("train", "--show-recipe", "--recipe", "demo", "--set", "run.epochs=7")
    assert (code, err) == (0, "")
    assert tomllib.loads(out)["run"]["epochs"] == 7


def test_a_preview_is_a_picture(run, data, tmp_path):
    argv = ("data", "preview", data, "--recipe", "demo", "-o", tmp_path / "new" / "p.png", "--count", 2)
    code, out, err = run(*argv)
    assert (code, out) == (0, ""), err
    assert (tmp_path / "new" / "p.png").read_bytes().startswith(b"\x89PNG")


def test_verbose_adds_nothing_to_stdout(run, data, tmp_path):
    code, out, err = run("-v", "convert", ct(data), "-o", tmp_path / "ct.nii.gz")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1].startswith("wrote ")


def test_calibrating_writes_weights_that_know_their_points_and_never_over_a_file(run, data, tmp_path, monkeypatch):
    network = UNet(UNetConfig(widths=(4, 8)))
    info = WeightsInfo(network.config, PreprocessConfig((8, 8, 8)), (16, 16, 16), 0.5, Provenance("x"))
    save_weights(network, info, tmp_path / "w.safetensors")

    def look(self, prepared, sides, *, progress=None):
        """Sure of soft tissue within lung's reach in the middle slices, less so of the spine's voxels behind."""
        probability = np.zeros(prepared.voxels.shape, np.float32)
        truth = prepare_mask(read_nifti(mask(data, look.number)), self.info.preprocess)
        probability[truth > 0] = 0.9
        probability[0, :2, :2] = 0.6
        look.number += 1
        return probability, None

    look.number = 0
    monkeypatch.setattr(Predictor, "look", look)
    out = tmp_path / "calibrated.safetensors"
    code, printed, _ = run("calibrate", tmp_path / "w.safetensors", data, "-o", out, "--half")
    assert code == 0
    assert "balanced   from 0." in printed
    _, written = load_weights(out)
    assert written.detection.scans == look.number
    assert written.unet == info.unet
    assert out.stat().st_size < 0.7 * (tmp_path / "w.safetensors").stat().st_size
    code, _, err = run("calibrate", tmp_path / "w.safetensors", data, "-o", out)
    assert (code, err.count("\n")) == (1, 1)
    assert "is there already" in err


def test_weights_of_several_folds_calibrate_those_of_all_data(run, data, tmp_path, monkeypatch):
    network = UNet(UNetConfig(widths=(4, 8)))
    for name in ("one", "two", "all"):
        info = WeightsInfo(network.config, PreprocessConfig((8, 8, 8)), (16, 16, 16), 0.5, Provenance("x"))
        save_weights(network, info, tmp_path / f"{name}.safetensors")
    folder = tmp_path / "set"
    shutil.copytree(data, folder)
    cases = find_cases(folder)
    half = len(cases) // 2
    halves = [[case.name for case in cases[:half]], [case.name for case in cases[half:]]]
    splits = (Split(tuple(halves[1]), (), tuple(halves[0])), Split(tuple(halves[0]), (), tuple(halves[1])))
    write_splits(folder / "splits.json", splits, kind="folds", seed=0)
    judged = []

    def look(self, prepared, sides, *, progress=None):
        """Sure of a corner that is no tumour, surer of the tumour."""
        case = cases[len(judged)]
        probability = np.zeros(prepared.voxels.shape, np.float32)
        probability[prepare_mask(read_nifti(case.mask), self.info.preprocess) > 0] = 0.9
        probability[0, :2, :2] = 0.6
        judged.append(self.info.name)
        return probability, None

    monkeypatch.setattr(Predictor, "look", look)
    one, two, out = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "out"))
    code, _, err = run("calibrate", one, two, folder, "-o", out)
    assert (code, err.count("\n"), out.exists()) == (1, 1, False)
    assert "--onto" in err
    onto = ("--onto", tmp_path / "all.safetensors")
    code, _, err = run("calibrate", one, two, folder, "-o", out, *onto, "--fold", 0)
    assert (code, err.count("\n"), out.exists()) == (1, 1, False)
    assert "2 weights and 1 folds" in err
    code, _, _ = run("calibrate", one, two, folder, "-o", out, *onto, "--fold", 0, "--fold", 1)
    assert code == 0
    _, written = load_weights(out)
    assert judged == ["one.safetensors"] * half + ["two.safetensors"] * (len(cases) - half)
    assert written.detection.scans == len(cases)
    assert written.detection.fitted == f"one.safetensors, two.safetensors on {len(cases)} scans of set"


def test_a_reference_is_compared_in_the_report_and_one_of_another_grid_refused_before_the_work(run, data, tmp_path):
    scan, mask = data / "imagesTr" / "phantom_000.nii.gz", data / "labelsTr" / "phantom_000.nii.gz"
    code, _, _ = run("measure", scan, mask, "-o", tmp_path / "out", "--reference", mask)
    assert code == 0
    assert "Against the reference" in (tmp_path / "out" / "report.html").read_text()
    other = Volume.upright(np.zeros((5, 6, 7), np.uint8), (1.0, 1.0, 1.0))
    write_nifti(other, tmp_path / "other.nii.gz")
    code, _, err = run("measure", scan, mask, "-o", tmp_path / "none", "--reference", tmp_path / "other.nii.gz")
    assert (code, len(err.splitlines()), (tmp_path / "none").exists()) == (1, 1, False)
    assert "grid" in err


@pytest.mark.parametrize("verb", ["measure", "follow"])
def test_a_pdf_that_cannot_be_written_is_refused_before_the_work(run, data, tmp_path, monkeypatch, verb):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    scan, mask = data / "imagesTr" / "phantom_000.nii.gz", data / "labelsTr" / "phantom_000.nii.gz"
    asked = (scan, mask) if verb == "measure" else (f"{scan},{mask}", f"{scan},{mask}")
    code, _, err = run(verb, *asked, "-o", tmp_path / "out", "--pdf")
    assert (code, len(err.splitlines()), (tmp_path / "out").exists()) == (1, 1, False)
    assert "tumorspread[pdf]" in err
