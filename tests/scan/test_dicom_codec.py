"""Compressed slices: bit for bit where nothing was lost, flagged where something was, refused where it is damaged."""

from __future__ import annotations

import os
import re
import struct
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless, RLELossless

from tumorspread.errors import ReadError
from tumorspread.scan import dicom_codec
from tumorspread.scan.dicom import read_dicom

LOSSLESS = [RLELossless, JPEG2000Lossless, JPEGLSLossless]
HT_J2K_LOSSLESS, JPEG_P14, JPEG_P14_FIRST = (
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
)


@pytest.fixture
def jpeg_series(series, repack_as_jpeg):
    """A series in JPEG lossless, its frames changed by `change`, under the name of `syntax`."""

    def build(change=lambda frame: frame, syntax=JPEG_P14_FIRST):
        folder = series()
        for file in folder.iterdir():
            repack_as_jpeg(file)
            dataset = pydicom.dcmread(file)
            (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
            dataset.PixelData = encapsulate([change(frame) if file.stem.endswith("02") else frame])
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(file)
        return folder

    return build


def repack(pack, syntax):
    """Frames packed by `pack`, under the name of a syntax that pydicom may not know."""

    def change(folder):
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            dataset.PixelData = encapsulate([pack(dataset.PixelData)])
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
            dataset.file_meta.TransferSyntaxUID = syntax
            pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=True, force_encoding=True)

    return change


def deflate(content):
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = engine.compress(content) + engine.flush()
    return packed + b"\0" * (len(packed) % 2)


@pytest.mark.parametrize("syntax", dicom_codec.CODECS)
def test_the_codec_of_each_syntax_is_at_hand(syntax):
    plugins = get_decoder(syntax).available_plugins
    assert dicom_codec.CODECS[syntax] in plugins or (syntax == RLELossless and "pydicom" in plugins)


def test_no_codec_is_under_the_gpl():
    assert set(dicom_codec.CODECS.values()) == {"gdcm", "pyjpegls", "pylibjpeg", "pydicom"}
    assert "pylibjpeg-libjpeg" not in {
        d.metadata["Name"] for d in __import__("importlib.metadata").metadata.distributions()
    }


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_signed_values_below_zero_come_back_bit_for_bit(series, syntax):
    values = np.random.default_rng(1).integers(-2048, 2048, (6, 36, 34)).astype(np.int16)

    def change(slices):
        for dataset, plane in zip(slices, values, strict=True):
            dataset.PixelData, dataset.PixelRepresentation, dataset.RescaleIntercept = plane.tobytes(), 1, 0
            dataset.compress(syntax, generate_instance_uid=False)

    assert np.array_equal(read_dicom(series(change)).voxels, values)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_an_enhanced_file_comes_back_bit_for_bit(make_slices, make_enhanced, truth_hu, tmp_path, syntax):
    dataset = make_enhanced(make_slices())
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    volume = read_dicom(tmp_path / "enhanced.dcm")
    assert np.array_equal(volume.voxels, truth_hu(6))
    assert volume.remarks == ()


@pytest.mark.parametrize("syntax", [JPEG_P14, JPEG_P14_FIRST])
def test_jpeg_lossless_comes_back_bit_for_bit(jpeg_series, truth_hu, syntax):
    volume = read_dicom(jpeg_series(syntax=syntax))
    assert np.array_equal(volume.voxels, truth_hu(6))
    assert volume.remarks == ()


@pytest.mark.parametrize(
    ("pack", "syntax"), [(bytes, dicom_codec.ENCAPSULATED), (deflate, dicom_codec.DEFLATED_FRAMES)]
)
def test_frames_that_are_encapsulated_or_deflated_come_back_bit_for_bit(series, truth_hu, pack, syntax):
    folder = series()
    repack(pack, syntax)(folder)
    assert np.array_equal(read_dicom(folder).voxels, truth_hu(6))


@pytest.mark.parametrize(
    ("pack", "syntax"), [(bytes, dicom_codec.ENCAPSULATED), (deflate, dicom_codec.DEFLATED_FRAMES)]
)
def test_frames_that_are_too_short_are_refused(series, pack, syntax):
    folder = series()
    repack(lambda content: pack(content[:2000]), syntax)(folder)
    with pytest.raises(ReadError, match=r"slice_00.dcm: pixels in .* cannot be decoded .*2000"):
        read_dicom(folder)


@pytest.mark.parametrize(
    ("syntax", "options", "within"),
    [(JPEGLSNearLossless, {"jls_error": 3}, 3), (JPEG2000, {"j2k_psnr": [50]}, 60)],
    ids=["JPEG-LS", "JPEG 2000"],
)
def test_lossy_compression_is_read_and_flagged(series, truth_hu, syntax, options, within):
    def change(slices):
        for dataset in slices:
            dataset.compress(syntax, generate_instance_uid=False, **options)

    volume = read_dicom(series(change))
    off = np.abs(volume.voxels.astype(int) - truth_hu(6))
    assert 0 < off.max() <= within
    assert [remark.code for remark in volume.remarks] == ["lossy_compression"]
    assert "6 of 6 files" in volume.remarks[0].text


@pytest.mark.parametrize("change", [lambda f: f[: len(f) // 2] + f[-2:], lambda f: f[:900] + f[950:]])
def test_jpeg_that_its_codec_would_fill_up_in_silence_is_refused(jpeg_series, change, capfd):
    with pytest.raises(ReadError, match=r"slice_02.dcm: pixels in JPEG Lossless.* cannot be decoded .*Corrupt JPEG"):
        read_dicom(jpeg_series(change))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, JPEG_P14_FIRST])
def test_packed_pixels_that_claim_another_size_are_refused_before_they_take_memory(
    series, repack_as_jpeg, reading_child, syntax
):
    """60000 x 60000 pixels took 7 GiB and 22 s."""
    folder = series()
    for file in folder.iterdir():
        if syntax == JPEG_P14_FIRST:
            repack_as_jpeg(file)
        dataset = pydicom.dcmread(file)
        if syntax != JPEG_P14_FIRST:
            dataset.compress(syntax, generate_instance_uid=False)
        (frame,) = map(bytearray, generate_frames(dataset.PixelData, number_of_frames=1))
        if syntax == JPEG2000Lossless:
            size = frame.index(b"\xff\x51")
            for place in (6, 10, 22, 26):
                struct.pack_into(">I", frame, size + place, 60000)
        else:
            header = re.search(rb"\xff[\xc3\xf7]", frame).start()
            struct.pack_into(">HH", frame, header + 5, 60000, 60000)
        dataset.PixelData = encapsulate([bytes(frame)])
        dataset.save_as(file)
    found = reading_child.read(folder)
    assert found["error"] == "ReadError"
    assert "slice_00.dcm" in found["message"]
    assert "(60000, 60000, 1), expected (36, 34, 1)" in found["message"]
    assert found["mib"] < 64


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (b"\xff\xd8\xff\xff\xff\xe0\0\4ab\xff\xc3\0\x0b\x0c\0\x24\0\x22\1", (36, 34, 1)),
        (b"\xff\xd8\xff\xf7\0\x0b\x08\1\0\2\0\3", (256, 512, 3)),
    ],
    ids=["fill bytes and a segment before", "JPEG-LS of three samples"],
)
def test_the_size_is_read_where_the_frame_header_stands(frame, size):
    assert dicom_codec._jpeg_size(frame) == size


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_rle_that_lost_bytes_is_refused(series, place):
    def change(slices):
        for dataset in slices:
            dataset.compress(RLELossless, generate_instance_uid=False)
        (frame,) = generate_frames(slices[2].PixelData, number_of_frames=1)
        at = int(place * len(frame))
        slices[2].PixelData = encapsulate([frame[:at] + frame[at + 50 :]])

    with pytest.raises(ReadError, match=r"slice_02.dcm: pixels in RLE Lossless cannot be decoded"):
        read_dicom(series(change))


def test_padding_before_the_end_of_a_jpeg_is_no_damage(jpeg_series, truth_hu, capfd):
    folder = jpeg_series(lambda frame: frame[: frame.rindex(b"\xff\xd9")] + bytes(4) + b"\xff\xd9")
    assert np.array_equal(read_dicom(folder).voxels, truth_hu(6))
    assert capfd.readouterr().err == ""


def test_what_others_write_to_stderr_meanwhile_is_passed_on(capfd):
    with dicom_codec._listen() as heard:
        os.write(2, b"Corrupt JPEG data: bad code\nanother thread's line\n")
    assert heard == ["Corrupt JPEG data: bad code", "another thread's line"]
    assert capfd.readouterr().err == "another thread's line\n"
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.110", "1.2.3.4"])
def test_video_and_unknown_syntaxes_are_refused_by_name(series, syntax):
    folder = series()
    repack(bytes, syntax)(folder)
    with pytest.raises(ReadError, match=r"slice_00.dcm: pixels in .* cannot be decoded"):
        read_dicom(folder)
