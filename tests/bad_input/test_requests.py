"""Weights, settings, data sets and output places that cannot be used: refused before anything is touched."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file


def splits(train, val, test=()):
    parts = {"train": list(train), "val": list(val), "test": list(test)}
    return json.dumps({"kind": "holdout", "seed": 0, "splits": [parts]})


def split_as(text):
    return lambda folder: (folder / "splits.json").write_text(text)


def remove(name):
    return lambda folder: (folder / name).unlink()


def mask_for_scan(folder):
    shutil.copy(folder / "labelsTr/phantom_002.nii.gz", folder / "imagesTr/phantom_002.nii.gz")


def foreign(bench):
    """A safetensors file of somebody else's network."""
    save_file({"weight": np.ones((2, 2), np.float32)}, bench.file("foreign.safetensors"))
    return bench.tmp / "foreign.safetensors"


def not_finite(bench):
    from dataclasses import replace

    import torch

    from tumorspread.model.weights import load_weights, save_weights

    network, info = load_weights(bench.weights)
    with torch.no_grad():
        next(iter(network.parameters())).fill_(float("nan"))
    save_weights(network, replace(info, name=""), bench.tmp / "nan.safetensors")
    return bench.tmp / "nan.safetensors"


def force(bench, name="ct.nii.gz"):
    """A patient's folder given as place for the results, as the first refusal seems to advise."""
    return [
        "measure",
        bench.ct,
        bench.mask,
        "-o",
        bench.file(f"patient/{name}", "the only copy").parent,
        "--force",
    ]


def fetch(bench, source):
    return ["data", "fetch", "msd-lung", "-o", bench.tmp / "new", "--from", source]


def without(keyword):
    def change(slices):
        for dataset in slices:
            delattr(dataset, keyword)
        return slices

    return change


DATA = ("phantom_000", "phantom_001")
BROKEN = {
    # weights
    "weights missing": (lambda b: b.analyse(weights=b.tmp / "w"), "no such weights file"),
    "weights truncated": (lambda b: b.analyse(weights=b.cut(b.weights)), "truncated"),
    "weights empty": (lambda b: b.analyse(weights=b.file("w")), "not a readable weights file"),
    "weights a text": (lambda b: b.analyse(weights=b.file("w", "learn to code")), "not a readable weights file"),
    "weights a pickle": (lambda b: b.analyse(weights=b.file("w", pickle.dumps({"a": 1}))), "not a readable"),
    "weights of others": (lambda b: b.analyse(weights=foreign(b)), "expected weights of format"),
    "weights not finite": (lambda b: b.analyse(weights=not_finite(b)), "not finite"),
    "weights a scan": (lambda b: b.analyse(weights=b.ct), "not a readable weights file"),
    "weights and scan swapped": (lambda b: ["predict", b.ct, b.weights, "-o", b.out], "expected a name that ends"),
    "device unknown": (lambda b: b.analyse(None, "--device", "banana"), "try --device cpu"),
    "threshold in percent": (lambda b: b.analyse(None, "--threshold", "50"), "between 0 and 1"),
    "threshold not a number": (lambda b: b.analyse(None, "--threshold", "nan"), "between 0 and 1"),
    # results in DICOM
    "DICOM results of NIfTI": (lambda b: b.analyse(None, "--rtstruct"), "need a scan in DICOM"),
    "contours without DICOM": (lambda b: b.analyse(b.dicom(), "--rtstruct", "--no-dicom"), "leave one of them out"),
    "DICOM without a study": (lambda b: b.analyse(b.dicom(without("StudyInstanceUID"))), "no StudyInstanceUID.*--no-d"),
    # places for results
    "out not empty": (lambda b: ["measure", b.ct, b.mask, "-o", b.file("x/findings.json").parent], "--force"),
    "out a file": (lambda b: ["measure", b.ct, b.mask, "-o", b.file("x")], "is a file"),
    "out below a file": (lambda b: ["measure", b.ct, b.mask, "-o", b.file("x") / "y"], "cannot write|is a file"),
    "out a name too long": (lambda b: ["measure", b.ct, b.mask, "-o", b.tmp / ("x" * 300)], "name too long"),
    "out where the user is": (lambda b: ["measure", b.ct, b.mask, "-o", ".", "--force"], "the folder you are in"),
    "out the root": (lambda b: ["measure", b.ct, b.mask, "-o", "/", "--force"], "the folder you are in"),
    "out the patient's folder": (force, "holds no results of tumorspread"),
    "mask to write not NIfTI": (lambda b: ["predict", b.weights, b.ct, "-o", b.tmp / "m.png"], "ends in .nii.gz"),
    "mask to write is there": (lambda b: ["predict", b.weights, b.ct, "-o", b.mask], "--force"),
    "mask below a file": (lambda b: ["predict", b.weights, b.ct, "-o", b.file("x") / "m.nii.gz"], "cannot write"),
    "scan to write below a file": (lambda b: ["convert", b.ct, "-o", b.file("x") / "m.nii.gz"], "cannot write"),
    # recipes
    "recipe unknown": (lambda b: b.train(b.good / "data", "--recipe", "4d"), "one of 2d, 3d, demo, lung"),
    "recipe not TOML": (lambda b: b.train(b.good / "data", "--recipe", b.file("r.toml", "epochs: 3")), "not TOML"),
    "recipe unknown key": (lambda b: b.train(b.good / "data", "--set", "run.epoch=3"), "run.epoch: no such setting"),
    "recipe wrong type": (lambda b: b.train(b.good / "data", "--set", "run.epochs=many"), "run.epochs: .*integer"),
    "recipe out of range": (lambda b: b.train(b.good / "data", "--set", "run.epochs=0"), "must be 1 or more"),
    "recipe bad patch": (lambda b: b.train(b.good / "data", "--set", "patch.size=[33,33,33]"), "multiple of"),
    "recipe without value": (lambda b: b.train(b.good / "data", "--set", "run.epochs"), "section.name=value"),
    "resume nothing": (lambda b: b.train(b.good / "data", "--resume"), "no training to resume"),
    "resume with a recipe": (lambda b: b.train(b.good / "data", "--resume", "--recipe", "2d"), "leave out"),
    # data sets
    "training onto files": (lambda b: b.train(b.good / "data", "-o", b.file("x/y").parent), "not empty; .*--resume"),
    "training below a file": (lambda b: b.train(b.good / "data", "-o", b.file("x") / "y"), "cannot write"),
    "data missing": (lambda b: b.train(b.tmp / "absent"), "no such folder; expected a data set"),
    "data a scan": (lambda b: b.train(b.ct), "no such folder; expected a data set"),
    "data not a data set": (lambda b: b.train(b.file("x/y").parent), "no dataset.json"),
    "data without splits": (lambda b: b.train(b.data(remove("splits.json"))), "tumorspread data split"),
    "data unpaired": (
        lambda b: b.train(b.data(remove("labelsTr/phantom_001.nii.gz"))), "phantom_001.*data check"
    ),
    "data json damaged": (
        lambda b: b.train(b.data(lambda f: (f / "dataset.json").write_text('{"name": '))), "not a dataset.json"
    ),
    "splits damaged": (lambda b: b.train(b.data(split_as("{"))), "not a list of splits"),
    "splits of another form": (lambda b: b.train(b.data(split_as('{"train": []}'))), "not a list of splits"),
    "splits twice the same case": (lambda b: b.train(b.data(split_as(splits(DATA, DATA[:1])))), "more than once"),
    "splits unknown case": (lambda b: b.train(b.data(split_as(splits(DATA, ["lung_9"])))), "lung_9 not in"),
    "fold not there": (lambda b: b.train(b.good / "data", "--fold", "3"), "no fold 3; it holds 1"),
    "split part unknown": (lambda b: b.evaluate(b.good / "data", "--split", "best"), "one of train, val, test, all"),
    "split part empty": (lambda b: b.evaluate(b.data(split_as(splits(DATA[:1], DATA[1:])))), "has no cases"),
    "case with a broken scan": (
        lambda b: b.evaluate(b.data(lambda f: (f / "imagesTr/phantom_002.nii.gz").write_bytes(b"x"))), "phantom_002"
    ),
    "case not in HU": (lambda b: b.evaluate(b.data(mask_for_scan)), "phantom_002: not in HU"),
    "split is there": (lambda b: ["data", "split", b.good / "data"], "--force"),
    "split shares": (
        lambda b: ["data", "split", b.data(remove("splits.json")), "--fractions", "2,1,1"], "sum to 1"
    ),
    "split few patients": (
        lambda b: ["data", "split", b.data(remove("splits.json")), "--folds"], "expected at least 5"
    ),
    "fetch unknown": (lambda b: ["data", "fetch", "brain", "-o", b.out], "expected msd-lung"),
    "fetch from a scan": (lambda b: fetch(b, b.ct), "not a readable tar"),
    "fetch from nothing": (lambda b: fetch(b, b.tmp / "absent.tar"), "check --from"),
    "convert nothing": (lambda b: ["data", "convert", b.file("x/y").parent, "-o", b.out], "neither PNG pairs"),
    "convert lone image": (lambda b: ["data", "convert", b.png((9, 9)), "-o", b.out], "0"),
    "phantoms onto files": (lambda b: ["data", "phantoms", b.file("x/y").parent], "not empty"),
    "preview of nothing": (lambda b: ["data", "preview", b.tmp / "absent"], "no such folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_refused_in_one_line_that_helps_and_leaves_nothing(name, bench, check_refusal):
    make, words = BROKEN[name]
    check_refusal(make(bench), words)


@pytest.mark.parametrize("case", ["scan", "option"])
def test_a_fresh_process_says_the_same(case, bench):
    argv, code, words = {
        "scan": (["measure", bench.cut(bench.ct), bench.mask, "-o", bench.out], 1, "damaged"),
        "option": (["measure", bench.ct], 2, "Missing"),
    }[case]
    done = subprocess.run(
        [sys.executable, "-m", "tumorspread", *map(str, argv)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1
    assert not bench.out.parent.exists()
