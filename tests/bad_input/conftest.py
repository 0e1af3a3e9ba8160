"""A bench on which good things are broken, and the check that a command refuses them."""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from tumorspread.cli import main
from tumorspread.data.phantom import PhantomConfig
from tumorspread.data.phantom_set import write_phantoms

COARSE = PhantomConfig(spacing_mm=(8.0, 8.0, 8.0), vessels=2, tumours=(1, 1), diameter_mm=(40.0, 46.0))
NAMES = [f"phantom_{i:03}" for i in range(3)]


class Bench:
    """Makes broken things in `tmp` out of the good ones; the commands write to `out`."""

    def __init__(self, good: Path, tmp: Path) -> None:
        self.good, self.tmp, self.out = good, tmp, tmp / "new" / "out"
        self.ct, self.mask, self.weights = (good / n for n in ("ct.nii.gz", "mask.nii.gz", "weights.safetensors"))

    def file(self, name, content: bytes | str = b""):
        path = self.tmp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def nifti(self, change, source="ct.nii.gz"):
        """The good scan (or mask) with its voxels changed."""
        image = nib.load(self.good / source)
        nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj).copy()), image.affine), self.tmp / source)
        return self.tmp / source

    def header(self, **values):
        """The good scan with raw fields of its header overwritten, as no library would write them."""
        image = nib.load(self.ct)
        for name, value in values.items():
            image.header[name] = value
        content = image.header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes(order="F")
        return self.file("ct.nii.gz", gzip.compress(content, 1))

    def cut(self, source, share=0.5):
        content = source.read_bytes()
        return self.file(source.name, content[: int(len(content) * share)])

    def dicom(self, change=lambda slices: slices):
        """Eight slices of the CT that comes with pydicom, 5 mm apart, changed before they are saved."""
        first = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
        slices = [copy.deepcopy(first) for _ in range(8)]
        for number, dataset in enumerate(slices):
            dataset.ImagePositionPatient = [-40, -40, 5 * number]
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        for number, dataset in enumerate(change(slices)):
            self.file(f"series/{number:02}.dcm")
            dataset.save_as(self.tmp / f"series/{number:02}.dcm")
        return self.tmp / "series"

    def png(self, *shapes):
        for number, shape in enumerate(shapes):
            Image.fromarray(np.zeros(shape, np.uint8)).save(self.file(f"png/{number}.png"))
        return self.tmp / "png"

    def zip(self, **members):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return self.file("scan.zip", buffer.getvalue())

    def data(self, change=lambda folder: None):
        """A broken copy of the good data set."""
        folder = Path(shutil.copytree(self.good / "data", self.tmp / "data"))
        change(folder)
        return folder

    def analyse(self, scan=None, *options, weights=None):
        return ["analyse", scan or self.ct, "-o", self.out, "-w", weights or self.weights, *options]

    def measure(self, mask, *options):
        return ["measure", self.ct, mask, "-o", self.out, *options]

    def convert(self, scan, *options):
        return ["convert", scan, "-o", self.out.with_suffix(".nii.gz"), *options]

    def train(self, data, *options):
        return ["train", data, "-o", self.out, *options]

    def evaluate(self, data, *options):
        return ["evaluate", self.weights, data, "-o", self.out, *options]


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan, its mask, weights and a data set with which every command would succeed."""
    import torch

    from tumorspread.model.preprocess import PreprocessConfig
    from tumorspread.model.unet import UNet, UNetConfig
    from tumorspread.model.weights import Provenance, WeightsInfo, save_weights

    folder = write_phantoms(tmp_path_factory.mktemp("good") / "data", 3, config=COARSE).parent
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = UNetConfig(dims=3, widths=(4, 8), convolutions=1)
    info = WeightsInfo(config, PreprocessConfig(spacing_mm=(8.0, 8.0, 8.0)), (16, 16, 16), 0.5, Provenance("x"))
    save_weights(UNet(config), info, folder / "weights.safetensors")
    split = {"train": NAMES[:1], "val": NAMES[1:2], "test": NAMES[2:]}
    (folder / "data/splits.json").write_text(json.dumps({"kind": "holdout", "seed": 0, "splits": [split]}))
    shutil.copy(folder / "data/imagesTr/phantom_000.nii.gz", folder / "ct.nii.gz")
    shutil.copy(folder / "data/labelsTr/phantom_000.nii.gz", folder / "mask.nii.gz")
    return folder


@pytest.fixture
def bench(good: Path, tmp_path: Path) -> Bench:
    return Bench(good, tmp_path)


@pytest.fixture
def check_refusal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[object], str], None]:
    """Run the real command; it must end in 1 with one line that holds `words`, and leave all files as they were."""

    def check(argv: list[object], words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["tumorspread", *map(str, argv)])
        before = everything(bench.good, bench.tmp)
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (1, ""), err
        assert re.fullmatch(r"tumorspread: [^\n]+\n", err), err
        assert re.search(words, err), err
        assert everything(bench.good, bench.tmp) == before

    return check


def everything(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}
