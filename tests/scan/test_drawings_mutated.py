"""Mutated SEG, RTSTRUCT and SR files are read or refused in one line: no other exception, no flood of memory."""

from __future__ import annotations

import io
import os
import resource
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from tumorspread.errors import TumorspreadError
from tumorspread.scan.dicom_sr import read_measurements
from tumorspread.scan.drawings import read_drawing
from tumorspread.scan.read import read_mask
from tumorspread.scan.volume import Volume

SHAPE = (5, 13, 11)
SCAN = Volume.upright(np.zeros(SHAPE, np.int16), (2.5, 0.8, 0.7))
# By hand with more: TUMORSPREAD_EXAMPLES=5000.
EXAMPLES = int(os.environ.get("TUMORSPREAD_EXAMPLES", "150"))
LIMIT_BYTES = 256 * 2**20


def item(**values) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def segmentation(new_object, syntax) -> Dataset:
    dataset = new_object("1.2.840.10008.5.1.4.1.1.66.4", syntax)
    fractional = syntax == RLELossless
    values = np.random.default_rng(0).random(SHAPE) < 0.5
    dataset.update(
        item(
            Modality="SEG", SegmentationType="FRACTIONAL" if fractional else "BINARY", MaximumFractionalValue=1,
            Rows=SHAPE[1], Columns=SHAPE[2], NumberOfFrames=SHAPE[0], SamplesPerPixel=1, PixelRepresentation=0,
            BitsAllocated=8 if fractional else 1, BitsStored=8 if fractional else 1, HighBit=7 if fractional else 0,
            PhotometricInterpretation="MONOCHROME2", SegmentSequence=[item(SegmentNumber=1, SegmentLabel="lesion")],
            SharedFunctionalGroupsSequence=[
                item(
                    PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
                    PixelMeasuresSequence=[item(PixelSpacing=[0.8, 0.7])],
                    SegmentIdentificationSequence=[item(ReferencedSegmentNumber=1)],
                )
            ],
            PerFrameFunctionalGroupsSequence=[
                item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 2.5 * z])]) for z in range(SHAPE[0])
            ],
        )
    )  # fmt: skip
    if fractional:
        dataset.PixelData = values.astype(np.uint8).tobytes() + b"\0"
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    else:
        dataset.PixelData = np.packbits(values, bitorder="little").tobytes()
        dataset["PixelData"].VR = "OB"
    return dataset


def structures(new_object, syntax) -> Dataset:
    dataset = new_object("1.2.840.10008.5.1.4.1.1.481.3", syntax)
    square = [(2.5, 2.5), (2.5, 7.5), (9.5, 7.5), (9.5, 2.5)]
    contours = []
    for z in (0.4, 1.4, 2.4):
        numbers = [f"{n:.5g}" for row, column in square for n in SCAN.to_world((z, row, column))]
        contours.append(item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=numbers))
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetROISequence = [item(ROINumber=1, ROIName="GTV-1")]
    dataset.ROIContourSequence = [item(ReferencedROINumber=1, ContourSequence=contours)]
    return dataset


def code(value, scheme="DCM"):
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=value)]


def report(new_object, syntax) -> Dataset:
    dataset = new_object("1.2.840.10008.5.1.4.1.1.88.33", syntax)
    value = item(NumericValue="12.5", MeasurementUnitsCodeSequence=code("ml", "UCUM"))
    number = item(ValueType="NUM", ConceptNameCodeSequence=code("G-D705", "SRT"), MeasuredValueSequence=[value])
    reference = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.2.3", ReferencedSegmentNumber=[1, 2])
    image = item(ValueType="IMAGE", ConceptNameCodeSequence=code("121191"), ReferencedSOPSequence=[reference])
    group = item(ValueType="CONTAINER", ConceptNameCodeSequence=code("125007"), ContentSequence=[number, image])
    dataset.Modality, dataset.ConceptNameCodeSequence = "SR", code("126000")
    dataset.ContentSequence = [
        item(ValueType="CONTAINER", ConceptNameCodeSequence=code("126010"), ContentSequence=[group])
    ]
    return dataset


def content(dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def originals(new_object) -> dict[str, bytes]:
    plain = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    made = {f"SEG {s.name}": segmentation(new_object, s) for s in (*plain, RLELossless)}
    made |= {f"RTSTRUCT {s.name}": structures(new_object, s) for s in plain}
    made |= {f"SR {s.name}": report(new_object, s) for s in plain}
    return {name: content(dataset) for name, dataset in made.items()}


def mutate(whole: bytes, data) -> bytes:
    """Characters of values exchanged; or bytes overwritten, huge lengths, pieces cut out or doubled, the end cut off.

    The first alone leaves the file's structure whole, so that the odd values reach the code that uses them.
    """
    broken = bytearray(whole)
    kinds = ["value"] if data.draw(st.booleans()) else ["value", "bytes", "length", "cut", "double", "end", "zero"]
    for _ in range(data.draw(st.integers(1, 4))):
        # What follows the preamble: damage there would only make it another kind of file.
        place = data.draw(st.integers(132, max(132, len(broken) - 1)))
        length = data.draw(st.integers(1, 40))
        kind = data.draw(st.sampled_from(kinds))
        if kind == "value":
            # The values of text attributes: numbers, UIDs, kinds.
            places = [i for i in range(340, len(broken)) if chr(broken[i]) in "0123456789.\\-ABLINRY"]
            if places:
                broken[data.draw(st.sampled_from(places))] = data.draw(st.sampled_from(b"0159.-+\\eEX \0\xff"))
        elif kind == "bytes":
            broken[place : place + length] = data.draw(st.binary(min_size=length, max_size=length))
        elif kind == "length":
            number = data.draw(st.sampled_from([0, 1, 2, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(broken)]))
            broken[place : place + 4] = struct.pack("<I", number)
        elif kind == "cut":
            del broken[place : place + length]
        elif kind == "double":
            broken[place:place] = broken[place : place + length]
        elif kind == "end":
            del broken[place:]
        else:
            broken[place : place + length] = bytes(length)
    return bytes(broken)


def read_whole(name, path):
    if name.startswith("SR"):
        return read_measurements(path)
    read_drawing(path)
    return read_mask(path, SCAN)


def outcome(name, path):
    """What was read and no refusal, or nothing and the refusal."""
    try:
        return read_whole(name, path), ""
    except TumorspreadError as refusal:
        return None, str(refusal)


def test_the_originals_are_read(originals, tmp_path):
    path = tmp_path / "x.dcm"
    for name, whole in originals.items():
        path.write_bytes(whole)
        found = read_whole(name, path)
        assert len(found) == 1 if name.startswith("SR") else found.voxels.any()


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_mutated_file_is_read_or_refused_in_one_line(originals, tmp_path, data):
    name = data.draw(st.sampled_from(sorted(originals)))
    path = tmp_path / "x.dcm"
    path.write_bytes(mutate(originals[name], data))
    found, refusal = outcome(name, path)
    event(f"{name.split()[0]}: {'refused' if refusal else 'read'}")
    assert "\n" not in refusal
    assert "x.dcm" in refusal or isinstance(found, tuple) or found.shape == SHAPE


@pytest.mark.parametrize(
    "name", ["SEG Explicit VR Little Endian", "SEG RLE Lossless", "RTSTRUCT Explicit VR Little Endian"]
)
def test_huge_numbers_in_a_small_file_take_no_memory(originals, tmp_path, name):
    """Every 16-bit word in turn is set to its largest value."""
    path, whole = tmp_path / "x.dcm", originals[name]
    before = peak_bytes()
    for place in range(132, len(whole) - 1, 11):
        path.write_bytes(whole[:place] + b"\xff\xff" + whole[place + 2 :])
        assert "\n" not in outcome(name, path)[1]
    assert peak_bytes() - before < LIMIT_BYTES


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
