"""DICOM series as scanners write them, an analysis of each, and the outside programs that check the results."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tumorspread.measurement.parts import Origin
from tumorspread.pipeline import Analysis, measure
from tumorspread.scan.volume import Volume

CT_IMAGE, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
MODEL = Origin("tumorspread 0.1.0", "model", "lung", "ab" * 32, 0.5, "2026-01-31T12:00:00+00:00", "balanced", "torch")


@dataclass(frozen=True)
class Case:
    """A DICOM series on disk, and what was found in it."""

    folder: Path
    analysis: Analysis

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(self.analysis.lesions.voxels)


def ugly_mask(shape=(6, 17, 15)) -> np.ndarray:
    """A ring with an island in its hole, a lone voxel, pixels that meet at a corner, a piece at the border."""
    mask = np.zeros(shape, bool)
    mask[1:4, 2:11, 2:11] = True
    mask[1:4, 4:9, 4:9] = False
    mask[2, 6, 6] = True
    mask[2, 3, 3] = False  # a second hole
    mask[5, 14, 12] = True
    mask[4, 12, 3] = mask[4, 13, 4] = True
    mask[0, :3, 13:] = True
    return mask


def series_of(voxels, affine, *, backwards=False, **attributes) -> list[Dataset]:
    """The slices of a volume as a scanner writes them; the affine's axes must be right-handed."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    down, across = (affine[:3, i] / spacing[i] for i in (1, 2))
    study, series, frame = (generate_uid() for _ in range(3))
    slices = []
    for number, plane in enumerate(voxels):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT_IMAGE
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "4711", "19500102"
        dataset.PatientSex, dataset.PatientAge, dataset.AccessionNumber = "F", "076Y", "A1"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260130", "093000", "S1"
        dataset.ReferringPhysicianName, dataset.StudyDescription = "Roe^Rick", "CT chest"
        dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 3, number + 1
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.PositionReferenceIndicator = "XY"
        dataset.ImageOrientationPatient = [float(f"{c:.10f}") for axis in (across, down) for c in axis]
        dataset.ImagePositionPatient = [float(f"{c:.8f}") for c in affine[:3, 3] + number * affine[:3, 0]]
        dataset.PixelSpacing, dataset.SliceThickness = [float(spacing[1]), float(spacing[2])], float(spacing[0])
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *plane.shape, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.PixelData = plane.astype("<i2").tobytes()
        dataset["PixelData"].VR = "OW"
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        slices.append(dataset)
    return slices[::-1] if backwards else slices


def enhanced_of(slices: list[Dataset]) -> Dataset:
    """One enhanced CT of the slices, its frames in their order."""
    first = slices[0]
    own = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
           "RescaleIntercept", "PixelData")  # fmt: skip
    dataset = Dataset()
    dataset.update({e.tag: e for e in first if e.keyword not in own})
    dataset.file_meta = first.file_meta
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ENHANCED_CT
    dataset.NumberOfFrames = len(slices)
    shared = _groups(PixelMeasuresSequence=_item(first, "PixelSpacing", "SliceThickness"))
    shared.PlaneOrientationSequence = [_item(first, "ImageOrientationPatient")]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _groups(
            PlanePositionSequence=_item(one, "ImagePositionPatient"),
            PixelValueTransformationSequence=_item(one, "RescaleSlope", "RescaleIntercept"),
        )
        for one in slices
    ]
    dataset.PixelData = b"".join(one.PixelData for one in slices)
    dataset["PixelData"].VR = "OW"
    return dataset


def _groups(**items: Dataset) -> Dataset:
    dataset = Dataset()
    for keyword, item in items.items():
        setattr(dataset, keyword, [item])
    return dataset


def _item(source: Dataset, *keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        setattr(item, keyword, source[keyword].value)
    return item


# Every way in which slices can lie: rows and columns along any axes in any direction, files from either end.
ORIENTATIONS = [
    (axes, signs, backwards)
    for axes in permutations(range(3), 2)
    for signs in product((1, -1), repeat=2)
    for backwards in (False, True)
]
SPACING = (2.5, 0.8, 0.7)


def affine_of(across, down, spacing=SPACING, origin=(-30.0, -40.0, -50.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([np.cross(across, down), down, across]) * spacing
    affine[:3, 3] = origin
    return affine


def turned(axes, signs):
    """The affine of slices whose rows and columns run along those axes."""
    across, down = (sign * np.eye(3)[axis] for axis, sign in zip(axes, signs, strict=True))
    return affine_of(across, down)


def rotation(degrees, axis):
    """Rotation about an axis (Rodrigues)."""
    k = np.array(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


OBLIQUE = [
    affine_of(*rotation(angle, axis)[:, :2].T, spacing)
    for angle, axis in ((12, (1, 0, 0)), (33, (1, 2, 3)), (71, (-1, 1, 0.2)))
    for spacing in (SPACING, (1.0, 1.0, 1.0), (7.0, 0.33, 0.9))
]


@pytest.fixture(params=ORIENTATIONS, ids=str)
def orientation(request: pytest.FixtureRequest) -> tuple[np.ndarray, bool]:
    """An affine, and whether the files run backwards along the slices' normal."""
    axes, signs, backwards = request.param
    return turned(axes, signs), backwards


@pytest.fixture(params=OBLIQUE, ids=range(len(OBLIQUE)))
def oblique(request: pytest.FixtureRequest) -> np.ndarray:
    return request.param


@pytest.fixture
def tool() -> Callable[[str], str]:
    """The path of an outside program; a test that asks for one that is missing skips, with the reason."""

    def find(name: str) -> str:
        beside = Path(sys.executable).parent
        found = shutil.which(name) or shutil.which(name, path=str(beside))
        if found is None:
            pytest.skip(f"{name} is not installed")
        return found

    return find


@pytest.fixture(scope="session")
def axial() -> np.ndarray:
    """An affine of slices of 2.5 mm, rows 0.8 and columns 0.7 mm apart."""
    return np.array([[0, 0, 0.7, -30], [0, 0.8, 0, -40], [2.5, 0, 0, -50], [0, 0, 0, 1.0]])


@pytest.fixture
def dicom_case(tmp_path: Path, axial: np.ndarray) -> Callable[..., Case]:
    """Write a series and analyse a mask of it, as if a model had drawn that mask.

    Args of the function it gives: the mask (bool, or the ugly one), the affine, `change` of the slices before they are
    written, `origin` of the mask, and what `series_of` takes.
    """

    def build(mask=None, affine=axial, *, change=lambda slices: slices, origin=MODEL, **options: Any) -> Case:
        mask = ugly_mask() if mask is None else mask
        hu = np.where(mask, 30, -800).astype(np.int16)
        hu += np.arange(hu.shape[0], dtype=np.int16)[:, None, None]
        folder = tmp_path / "series"
        folder.mkdir()
        for number, dataset in enumerate(change(series_of(hu, affine, **options))):
            dataset.save_as(folder / f"{number:02}.dcm", enforce_file_format=True)
        scan = Volume(hu, affine)
        analysis = measure(scan, scan.with_voxels(mask))
        if origin is not None:
            analysis = replace(analysis, findings=replace(analysis.findings, origin=origin))
        return Case(folder, analysis)

    return build


@pytest.fixture
def thorax_case(thorax: Any, tmp_path: Path) -> Case:
    """The little thorax as a DICOM series."""
    folder = tmp_path / "thorax"
    folder.mkdir()
    for number, dataset in enumerate(series_of(thorax.scan.voxels, thorax.scan.affine)):
        dataset.save_as(folder / f"{number:02}.dcm", enforce_file_format=True)
    return Case(folder, Analysis(thorax.scan, thorax.lesions, thorax.lungs, thorax.findings))


@pytest.fixture
def as_enhanced() -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda slices: [enhanced_of(slices)]
