"""A segmentation comes back voxel for voxel on its scan's grid, whoever wrote it, or is refused by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from tumorspread.errors import GeometryError, MaskError, ReadError
from tumorspread.pipeline import measure
from tumorspread.scan.dicom_seg import read_segments
from tumorspread.scan.read import read, read_mask
from tumorspread.scan.volume import Remark, Reorientation, Volume

highdicom = pytest.importorskip("highdicom")

SHAPE = (5, 13, 11)
NODULE, MASS = codes.SCT.Nodule, codes.SCT.Mass
OBLIQUE = np.array([[0.8, -0.36, 0.48], [0.6, 0.48, -0.64], [0.0, 0.8, 0.6]])
GRIDS = {
    "upright": (np.eye(3), (2.5, 0.8, 0.7)),
    "oblique": (OBLIQUE, (2.5, 0.8, 0.7)),
    "anisotropic": (OBLIQUE.T, (7.5, 0.33, 1.9)),
}
TURNS = [Reorientation(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]


def scan(grid="upright", shape=SHAPE) -> Volume:
    turn, spacing_mm = GRIDS[grid]
    affine = Volume.upright(np.zeros(shape, np.int16), spacing_mm).affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (-30.123456, 20.2, 7.77)
    return Volume(np.zeros(shape, np.int16), affine, (Remark("stray_slices", "of the scan"),))


def ugly(shape=SHAPE, seed=0) -> np.ndarray:
    """Voxels at random, so unlike under every flip; all corners set, one slice empty."""
    mask = np.random.default_rng(seed).random(shape) < 0.3
    mask[np.ix_(*[(0, -1)] * 3)] = True
    mask[2] = False
    return mask


def source(volume: Volume) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.2", "CT"
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, keyword, generate_uid())
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
        setattr(dataset, keyword, "")
    dataset.Rows, dataset.Columns = volume.shape[1:]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient, dataset.PixelSpacing, dataset.SliceThickness = [0, 0, 0], [1, 1], 1
    return dataset


def segment(number, label, kind) -> object:
    return highdicom.seg.SegmentDescription(number, label, codes.SCT.MorphologicallyAbnormalStructure, kind, "MANUAL")


@pytest.fixture
def save_seg(tmp_path):
    """Write masks (z, y, x), one a segment, as a SEG with highdicom, changed by `change` before it is saved."""

    def build(volume, *masks, kinds=None, labels=None, change=None, **options):
        first, options = source(volume), {"segmentation_type": "BINARY", **options}
        described = [
            segment(i, (labels or [f"lesion {n}" for n in range(1, 9)])[i - 1], (kinds or [NODULE] * 8)[i - 1])
            for i in range(1, len(masks) + 1)
        ]
        stacked = np.stack(masks, axis=-1)
        placed = highdicom.Volume(
            stacked if stacked.dtype == np.float32 else stacked.astype(np.uint8),
            volume.affine, "PATIENT", frame_of_reference_uid=first.FrameOfReferenceUID,
            channels={"SegmentNumber": list(range(1, len(masks) + 1))},
        )  # fmt: skip
        dataset = highdicom.seg.Segmentation(
            [first], placed, segment_descriptions=described, series_instance_uid=generate_uid(), series_number=2,
            sop_instance_uid=generate_uid(), instance_number=1, manufacturer="m", manufacturer_model_name="n",
            software_versions="1", device_serial_number="1", **options,
        )  # fmt: skip
        if change is not None:
            change(dataset)
        dataset.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
        return tmp_path / "seg.dcm"

    return build


@pytest.mark.parametrize("grid", GRIDS)
def test_a_mask_comes_back_exactly_in_every_orientation_of_the_file_and_of_the_scan(save_seg, grid):
    upright, mask = scan(grid), ugly()
    for number, turn in enumerate(TURNS):
        other = TURNS[(7 * number + 5) % len(TURNS)].apply(upright)
        path = save_seg(turn.apply(upright), turn.apply_array(mask))
        read = read_segments(path, other)
        assert read.voxels.dtype == bool
        assert np.array_equal(read.voxels, TURNS[(7 * number + 5) % len(TURNS)].apply_array(mask)), turn
        assert np.array_equal(read.affine, other.affine)
        assert [remark.code for remark in read.remarks] == ["stray_slices"]


def test_the_centroid_is_where_highdicom_itself_says(save_seg):
    volume, mask = scan("oblique"), ugly()
    path = save_seg(volume, mask)
    theirs = highdicom.seg.segread(path).get_volume(combine_segments=True)
    expected = theirs.map_indices_to_reference(np.argwhere(theirs.array)).mean(axis=0)
    mine = volume.to_world(np.argwhere(read_segments(path, volume).voxels)).mean(axis=0)
    assert mine == pytest.approx(expected, abs=1e-4)


def shuffle(dataset):
    """The frames in another order, their pixels with them."""
    order = np.random.default_rng(1).permutation(int(dataset.NumberOfFrames))
    pixels = int(dataset.Rows) * int(dataset.Columns)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[: len(order) * pixels]
    dataset.PerFrameFunctionalGroupsSequence = [dataset.PerFrameFunctionalGroupsSequence[i] for i in order]
    packed = np.packbits(bits.reshape(len(order), pixels)[order].ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + bytes(len(packed) % 2)


@pytest.mark.parametrize("omit_empty", [True, False])
def test_frames_may_come_in_any_order_and_without_the_empty_ones(save_seg, omit_empty):
    path = save_seg(scan(), ugly(), ugly(seed=1), change=shuffle, omit_empty_frames=omit_empty)
    assert int(pydicom.dcmread(path).NumberOfFrames) == (8 if omit_empty else 10)
    for number in (1, 2):
        assert np.array_equal(read_segments(path, scan(), segment=number).voxels, ugly(seed=number - 1))


def test_overlapping_segments_are_each_whole_and_those_of_one_kind_are_taken_together(save_seg):
    one, other = ugly(), ugly(seed=1)
    path = save_seg(scan(), one, other, labels=["left", "right"])
    assert (one & other).any()
    assert np.array_equal(read_mask(path, scan()).voxels, one | other)
    assert np.array_equal(read_mask(path, scan(), roi="left").voxels, one)
    assert np.array_equal(read_mask(path, scan(), roi="2").voxels, other)
    assert np.array_equal(read_mask(path, scan(), label=2).voxels, other)


def test_of_segments_of_several_kinds_one_must_be_chosen(save_seg):
    path = save_seg(scan(), ugly(), ugly(seed=1), kinds=[NODULE, MASS], labels=["n", "m"])
    with pytest.raises(MaskError, match=r"several kinds; .*--roi LABEL: 1 \(n\), 2 \(m\)$"):
        read_segments(path, scan())
    assert np.array_equal(read_segments(path, scan(), segment="m").voxels, ugly(seed=1))
    with pytest.raises(MaskError, match=r"0 segments are 'x'"):
        read_segments(path, scan(), segment="x")
    path = save_seg(scan(), ugly(), ugly(seed=1), labels=["n", "n"])
    with pytest.raises(MaskError, match=r"2 segments are 'n'"):
        read_segments(path, scan(), segment="n")


def compress(syntax):
    """With codecs that do not stop the process, as gdcm's encoder of run lengths does for a frame of this size."""
    plugin = {RLELossless: "pydicom", JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"}.get(syntax)
    return (lambda dataset: dataset.compress(syntax, encoding_plugin=plugin)) if plugin else None


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", ["PROBABILITY", "OCCUPANCY"])
def test_of_fractions_half_or_more_is_taken_and_a_remark_says_so(save_seg, syntax, kind):
    volume = scan(shape=(2, 40, 44))  # JPEG 2000 wants some pixels to halve
    shares = np.random.default_rng(3).random(volume.shape).astype(np.float32)
    shares[0, 0, :3] = 0.5, 0.49, 0.51
    path = save_seg(
        volume, shares, segmentation_type="FRACTIONAL", fractional_type=kind, max_fractional_value=200,
        change=compress(syntax),
    )  # fmt: skip
    mask = read_segments(path, volume)
    assert np.array_equal(mask.voxels, np.around(shares * 200) >= 100)
    assert mask.remarks[-1].code == "fractional_segment"
    assert ("occupancies" in mask.remarks[-1].text) == (kind == "OCCUPANCY")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_label_map_holds_its_segments_as_values(save_seg, syntax):
    one, other = ugly(), ugly(seed=1) & ~ugly()
    path = save_seg(scan(), one, other, segmentation_type="LABELMAP", change=compress(syntax))
    assert np.array_equal(read_segments(path, scan(), segment=2).voxels, other)
    assert np.array_equal(read_segments(path, scan()).voxels, one | other)


def test_a_smaller_box_of_the_scan_and_one_that_is_empty_beyond_it_are_read(save_seg):
    mask = ugly()
    mask[:, :3] = mask[:, :, -2:] = False
    box = scan().crop((0, 3, 0), (5, 13, 9))
    assert np.array_equal(read_segments(save_seg(box, mask[:, 3:, :9]), scan()).voxels, mask)
    path = save_seg(scan(), mask, omit_empty_frames=False)
    assert np.array_equal(read_segments(path, box).voxels, mask[:, 3:, :9])
    path = save_seg(scan(), ugly())
    with pytest.raises(MaskError, match=r"voxels of frame 1 lie beyond the scan; give the scan .* whole"):
        read_segments(path, box)


def test_a_lone_voxel_and_an_empty_mask_are_read(save_seg):
    lone = np.zeros(SHAPE, bool)
    lone[4, 12, 10] = True
    assert np.array_equal(read_segments(save_seg(scan(), lone), scan()).voxels, lone)
    path = save_seg(scan(), 0 * lone, lone, omit_empty_frames=False)
    assert not read_segments(path, scan(), segment=1).voxels.any()
    assert measure(scan(), path, label=1).findings.burden.count == 0


def moved(affine_change):
    volume = scan()
    affine = volume.affine.copy()
    affine_change(affine)
    return Volume(volume.voxels, affine)


def halve(affine):
    affine[:3, 2] /= 2


def lean(affine):
    affine[:3, :3] = (
        np.array([[np.cos(0.05), -np.sin(0.05), 0], [np.sin(0.05), np.cos(0.05), 0], [0, 0, 1]]) @ affine[:3, :3]
    )


def shift(axis, share):
    def change(affine):
        affine[:3, 3] += share * affine[:3, axis]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (halve, r"pixels of 0\.8x0\.35 mm, is on another grid than the scan, voxels of 2\.5x0\.8x0\.7 mm"),
        (lean, r"on another grid than the scan, .* or turned against it"),
        (shift(2, 0.5), r"lies 0\.50 of a voxel off the scan's grid"),
        (shift(1, 0.15), r"lies 0\.15 of a voxel off"),
        (shift(0, 0.3), r"lies 0\.30 of a voxel off"),
        (shift(0, 40), r"voxels of frame 1 lie beyond the scan"),
    ],
)
def test_a_segmentation_on_another_grid_is_refused(save_seg, change, message):
    with pytest.raises(MaskError, match=message) as refusal:
        read_segments(save_seg(moved(change), ugly()), scan())
    assert str(refusal.value).startswith("seg.dcm: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("change", [shift(0, 0.2), shift(1, 0.08)])
def test_positions_rounded_as_files_have_them_are_on_the_grid(save_seg, change):
    assert np.array_equal(read_segments(save_seg(moved(change), ugly()), scan()).voxels, ugly())


def drop(*path):
    """Delete an attribute at a path of sequences, of the first item each."""

    def change(dataset):
        for keyword in path[:-1]:
            dataset = dataset[keyword][0]
        del dataset[path[-1]]

    return change


def put(**values):
    def change(dataset):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (drop("PixelData"), ReadError, "no pixel data"),
        (lambda d: setattr(d, "PixelData", d.PixelData[:40]), ReadError, "40 bytes of pixels, frame 3 needs 54; cut"),
        (drop("PerFrameFunctionalGroupsSequence"), ReadError, "4 frames but 0 per-frame functional groups"),
        (put(NumberOfFrames=400), ReadError, "400 frames but 4 per-frame"),
        (drop("SharedFunctionalGroupsSequence", "PixelMeasuresSequence"), GeometryError, "PixelSpacing of frame 1"),
        (drop("PerFrameFunctionalGroupsSequence", "PlanePositionSequence"), GeometryError, "ImagePositionPatient of"),
        (drop("SegmentSequence"), MaskError, "lists no segments"),
        (put(Rows=0), ReadError, "frames of 0x11 pixels"),
        (put(Rows=65535, Columns=65535), ReadError, "65535x65535 pixels"),
        (put(BitsAllocated=32), ReadError, "32 bits a pixel"),
        (put(SegmentationType="SURFACE"), ReadError, "SegmentationType 'SURFACE'; expected one of BINARY"),
        (put(SegmentationType="FRACTIONAL"), ReadError, "a damaged SEG|MaximumFractionalValue"),
    ],
)
def test_a_damaged_segmentation_is_refused_in_one_line(save_seg, change, error, message):
    with pytest.raises(error, match=message) as refusal:
        read_segments(save_seg(scan(), ugly(), change=change), scan())
    assert str(refusal.value).startswith("seg.dcm: ")
    assert "\n" not in str(refusal.value)


def test_read_mask_needs_the_scan_and_one_choice(save_seg):
    path = save_seg(scan(), ugly())
    with pytest.raises(ReadError, match="SEG becomes a mask on the grid of a scan; give the scan as well"):
        read_mask(path)
    with pytest.raises(ReadError, match="choose with --roi NAME alone"):
        read_mask(path, scan(), label=1, roi="lesion 1")
    assert measure(scan(), path, roi="lesion 1").findings.burden.count >= 1


def nrrd(path: Path) -> Volume:
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), affine)


@pytest.mark.real
def test_the_real_liver_is_its_nrrd_truth_on_its_ct(shared_data):
    folder = shared_data / "dicom/objects/dcmqi/data/segmentations"
    mask = read_mask(folder / "liver.dcm", read(folder / "ct-3slice"))
    assert np.array_equal(mask.voxels, nrrd(folder / "liver_seg.nrrd").voxels > 0)
    assert mask.voxels.sum() == 107098


@pytest.mark.real
@pytest.mark.parametrize("name", ["label.seg", "label.seg.e96e381"])
def test_real_slices_that_are_no_whole_bytes_are_their_nrrd_truth(shared_data, name):
    folder = shared_data / "dicom/objects/dcmqi/data/segmentations/24x38x3"
    truth = nrrd(folder / "nrrd/label.nrrd")
    for turn in TURNS[::5]:
        mask = read_mask(folder / "seg" / name, turn.apply(truth))
        assert np.array_equal(mask.voxels, turn.apply_array(truth.voxels) > 0)
    assert truth.voxels.sum() == 315


@pytest.mark.real
@pytest.mark.parametrize("name", ["liver_spine_seg", "liver_spine_gapped_seg"])
def test_real_organs_with_a_gap_between_slices_come_back(shared_data, save_seg, name):
    truth = nrrd(shared_data / f"dicom/objects/dcmqi/data/segmentations/{name}.nrrd")
    numbers = [number for number in np.unique(truth.voxels) if number]
    path = save_seg(truth, *[truth.voxels == number for number in numbers])
    for place, number in enumerate(numbers, 1):
        assert np.array_equal(read_segments(path, truth, segment=place).voxels, truth.voxels == number)


def grid_of(path: Path) -> Volume:
    """A scan that holds all frames of a SEG, from its own positions, with a slice and some pixels more around."""
    dataset = pydicom.dcmread(path)
    places = [group.PlanePositionSequence[0].ImagePositionPatient for group in dataset.PerFrameFunctionalGroupsSequence]
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    row, column = map(float, measures.PixelSpacing)
    step = float(measures.SpacingBetweenSlices)
    low, high = (float(end(place[2] for place in places)) for end in (min, max))
    shape = (round((high - low) / step) + 3, dataset.Rows + 4, dataset.Columns + 4)
    affine = Volume.upright(np.zeros((1, 1, 1)), (step, row, column)).affine.copy()
    affine[:3, 3] = float(places[0][0]) - 2 * column, float(places[0][1]) - 2 * row, low - step
    return Volume(np.zeros(shape, np.int16), affine)


@pytest.mark.real
@pytest.mark.parametrize("name", ["lidc-idri-conversion/seg/nodule.dcm", "dcmqi/data/sr-example/seg.dcm"])
def test_real_segmentations_without_their_scan_are_what_dcmqi_reads(shared_data, tmp_path, name):
    tool = shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent)) or shutil.which("segimage2itkimage")
    if tool is None:
        pytest.skip("segimage2itkimage of dcmqi is not installed")
    path = shared_data / "dicom/objects" / name
    command = [tool, "--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "--outputType", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    theirs, volume = nrrd(tmp_path / "1.nrrd"), grid_of(path)
    points = theirs.to_world(np.argwhere(theirs.voxels))
    expected = np.zeros(volume.shape, bool)
    expected[tuple(np.round(volume.to_index(points)).astype(int).T)] = True
    assert expected.sum() == len(points) > 0
    assert np.array_equal(read_segments(path, volume).voxels, expected)
