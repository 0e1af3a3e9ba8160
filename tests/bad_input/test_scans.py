"""Scans and masks as people really send them: each broken one is refused in one line that helps."""

from __future__ import annotations

import copy
import gzip

import numpy as np
import pytest

MR_IMAGE, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"


def each(**values):
    """All slices with these attributes."""

    def change(slices):
        for dataset in slices:
            for name, value in values.items():
                setattr(dataset, name, value)
        return slices

    return change


def lean(slices):
    for number, dataset in enumerate(slices):
        dataset.ImagePositionPatient[1] += number * 5 * np.tan(np.radians(15))
    return slices


def without_pixels(slices):
    del slices[3].PixelData
    return slices


def smaller(slices):
    slices[3].Rows, slices[3].PixelData = 64, slices[3].PixelData[: 64 * 128 * 2]
    return slices


def scaled(low, high):
    return lambda v: ((v + 1024.0) / 4095 * (high - low) + low).astype(np.float32)


def one(value, dtype=np.float32):
    """The voxels with one in the middle changed."""

    def change(voxels):
        voxels = voxels.astype(dtype)
        voxels.flat[voxels.size // 2] = value
        return voxels

    return change


SHEARED = {"srow_x": [8, 3, 0, 0], "srow_y": [0, 8, 0, 0], "srow_z": [0, 0, 8, 0], "qform_code": 0}
NO_PLACE = {"srow_x": [np.nan] * 4, "qform_code": 0}
GRAY = ("--spacing", "5,1,1", "--window", "-1000,400")

# What is given, and words that the refusal must hold.
BROKEN = {
    # scans
    "scan missing": (lambda b: b.analyse(b.tmp / "absent.nii.gz"), "absent.nii.gz: no such file"),
    "scan empty file": (lambda b: b.analyse(b.file("ct.nii.gz")), "an empty file; expected NIfTI"),
    "scan empty folder": (lambda b: b.analyse(b.file("x/y").parent, "--series", "1"), "nothing in it"),
    "scan truncated gzip": (lambda b: b.analyse(b.cut(b.ct)), "ct.nii.gz: .*damaged"),
    "scan gzip of nothing": (
        lambda b: b.analyse(b.file("ct.nii.gz", gzip.compress(b""))),
        "not a readable NIfTI",
    ),
    "scan gzip tail flipped": (
        lambda b: b.analyse(b.file("ct.nii.gz", b.ct.read_bytes()[:-8] + b"12345678")),
        "damaged",
    ),
    "scan a PDF": (lambda b: b.analyse(b.file("ct.nii.gz", "%PDF-1.7 report")), "a PDF; expected NIfTI"),
    "scan a text named dcm": (lambda b: b.analyse(b.file("s/1.dcm", "hello").parent), "1.dcm|nothing in it"),
    "scan 2-D": (lambda b: b.analyse(b.nifti(lambda v: v[..., 0])), "expected one 3-D image"),
    "scan 4-D": (lambda b: b.analyse(b.nifti(lambda v: np.stack([v, v], -1))), "4 dimensions"),
    "scan NaN affine": (lambda b: b.analyse(b.header(**NO_PLACE)), "finite"),
    "scan zero spacing": (lambda b: b.analyse(b.header(srow_z=[0] * 4, qform_code=0)), "spacing is zero"),
    "scan sheared": (lambda b: b.analyse(b.header(**SHEARED)), "right angles"),
    "scan without orientation": (lambda b: b.analyse(b.header(sform_code=0, qform_code=0)), "no orientation"),
    "scan two orientations": (lambda b: b.analyse(b.header(srow_x=[8, 0, 0, 0])), "disagree"),
    "scan in metres": (
        lambda b: b.analyse(
            b.header(
                srow_x=[0.008, 0, 0, 0],
                srow_y=[0, 0.008, 0, 0],
                srow_z=[0, 0, 0.008, 0],
                pixdim=[1, 0.008, 0.008, 0.008, 0, 0, 0, 0],
                qform_code=0,
            )
        ),
        "is the unit mm",
    ),
    "scan claims a terabyte": (
        lambda b: b.analyse(b.header(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])),
        "damaged",
    ),
    "scan with NaN": (lambda b: b.analyse(b.nifti(one(np.nan))), "1 of .* NaN"),
    "scan with infinity": (lambda b: b.analyse(b.nifti(one(np.inf))), "infinite"),
    "scan constant": (lambda b: b.analyse(b.nifti(np.zeros_like)), "not in HU"),
    "scan 0 to 1": (lambda b: b.analyse(b.nifti(scaled(0, 1))), "not in HU"),
    "scan 0 to 255": (lambda b: b.analyse(b.nifti(scaled(0, 255))), "not in HU"),
    "scan tiny": (lambda b: b.analyse(b.nifti(lambda v: v[:4, :4, :4])), "expected at least 8"),
    "scan thin": (lambda b: b.analyse(b.nifti(lambda v: v[:, :, :2])), "30 mm"),
    "scan in colour": (
        lambda b: b.analyse(b.nifti(lambda v: np.zeros(v.shape, [(c, np.uint8) for c in "RGBA"]))),
        "expected numbers, one a voxel",
    ),
    "scan complex": (lambda b: b.analyse(b.nifti(lambda v: v.astype(np.complex64))), "complex"),
    "scan folder of NIfTI": (lambda b: b.analyse(b.good), "give the one file"),
    "series of a NIfTI": (lambda b: b.analyse(None, "--series", "1.2"), "--series is for DICOM"),
    "zip with nothing": (lambda b: b.analyse(b.zip()), "holds no files"),
    "zip with text": (lambda b: b.analyse(b.zip(notes="hello")), "nothing in it can be read"),
    "zip corrupt": (lambda b: b.analyse(b.cut(b.zip(a="1", b="2"))), "damaged zip"),
    # DICOM
    "dicom without pixels": (lambda b: b.convert(b.dicom(without_pixels)), "03.dcm.*no pixel data"),
    "dicom two series": (
        lambda b: b.convert(b.dicom(lambda s: [*each(SeriesInstanceUID="1.2.3")(s[:4]), *s[4:]])),
        "2 CT series, .*--series",
    ),
    "dicom unknown series": (lambda b: b.convert(b.dicom(), "--series", "9.9.9.9"), "0 CT series end in"),
    "dicom missing slice": (
        lambda b: b.convert(b.dicom(lambda s: s[:3] + s[4:])),
        "1 of the slices.*missing",
    ),
    "dicom one slice": (lambda b: b.convert(b.dicom(lambda s: s[:1])), "expected 2 slices or more"),
    "dicom duplicate slice": (
        lambda b: b.convert(b.dicom(lambda s: [*s, *each(SOPInstanceUID="1.2")([copy.deepcopy(s[3])])])),
        "more than one slice",
    ),
    "dicom gantry tilt": (lambda b: b.convert(b.dicom(lean), "--tilt", "refuse"), "15.00 degrees.*--tilt resample"),
    "dicom mixed sizes": (lambda b: b.convert(b.dicom(smaller)), "different size"),
    "dicom MR": (
        lambda b: b.convert(b.dicom(each(SOPClassUID=MR_IMAGE, Modality="MR"))),
        "no CT slices.*8 MR",
    ),
    "dicom secondary capture": (
        lambda b: b.convert(b.dicom(each(SOPClassUID=SECONDARY_CAPTURE, Modality="OT"))),
        "no CT slices",
    ),
    "dicom truncated": (lambda b: b.convert(b.cut(next(b.dicom().iterdir()))), "expected"),
    # pictures
    "slices without spacing": (lambda b: b.convert(b.png((9, 9), (9, 9))), "--spacing Z,Y,X"),
    "slices of two sizes": (lambda b: b.convert(b.png((9, 9), (9, 8)), *GRAY), "expected one size"),
    "slices spacing of two": (lambda b: b.convert(b.png((9, 9)), "--spacing", "1,1"), "expected 3 numbers"),
    "slices spacing negative": (lambda b: b.convert(b.png((9, 9)), "--spacing", "1,-1,1"), "above 0"),
    "slices window reversed": (lambda b: b.convert(b.png((9, 9)), *GRAY[:3], "400,-1000"), "LOW below HIGH"),
    "slices truncated": (
        lambda b: b.convert(b.cut(b.png((99, 99)) / "0.png", 0.6).parent, *GRAY),
        "0.png.*not a readable",
    ),
    "slices to a network": (lambda b: b.analyse(b.png((99, 99))), "spacing"),
    # masks
    "mask missing": (lambda b: b.measure(b.tmp / "absent.nii.gz"), "no such file; expected a NIfTI mask"),
    "mask cropped": (
        lambda b: b.measure(b.nifti(lambda v: v[1:], "mask.nii.gz")),
        "has .* voxels .*, the scan",
    ),
    "mask with five labels": (
        lambda b: b.measure(b.nifti(lambda v: np.arange(v.size, dtype=np.uint8).reshape(v.shape) % 6, "mask.nii.gz")),
        r"labels \[1, 2, 3, 4, 5\]; .*--label",
    ),
    "mask label absent": (
        lambda b: b.measure(b.mask, "--label", "7"),
        r"no voxel has label 7; it has labels \[1\]",
    ),
    "mask with fractions": (lambda b: b.measure(b.nifti(one(0.5), "mask.nii.gz")), "whole numbers"),
    "mask with NaN": (lambda b: b.measure(b.nifti(one(np.nan), "mask.nii.gz")), "NaN"),
    "mask negative": (lambda b: b.measure(b.nifti(one(-1, np.int16), "mask.nii.gz")), "negative"),
    "mask a picture": (lambda b: b.measure(b.png((9, 9)) / "0.png"), "not NIfTI"),
    "mask a folder": (lambda b: b.measure(b.tmp), "no such file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_refused_in_one_line_that_helps_and_leaves_nothing(name, bench, check_refusal):
    make, words = BROKEN[name]
    check_refusal(make(bench), words)
