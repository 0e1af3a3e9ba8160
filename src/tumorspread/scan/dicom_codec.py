"""Compressed DICOM pixels through codecs that are free of the GPL, one for each transfer syntax.

Left to itself pydicom tries every codec it finds, GDCM first, which ends the whole process on damaged JPEG 2000. GDCM
is asked for what no other decodes, the JPEG of 1992; its libjpeg fills up what a damaged stream lacks and says so on
the process's stderr alone, so we listen there.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array

# Transfer syntaxes of PS3.6, table A-1.
CODECS = {
    "1.2.840.10008.1.2.4.50": "gdcm",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "gdcm",  # JPEG extended
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "gdcm",  # JPEG lossless, first order
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # high-throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202": "pylibjpeg",  # the same, low resolutions first
    "1.2.840.10008.1.2.4.203": "pylibjpeg",  # high-throughput JPEG 2000
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
}
# Frames as they are, each in its own fragment: not packed at all (PS3.5 A.4.11), and deflated (A.4.13).
ENCAPSULATED, DEFLATED_FRAMES = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
# How libjpeg begins to say that it fills up: a marker or the end too early, a code that no table has.
LIBJPEG_COMPLAINTS = ("Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression")

# Some write bytes of padding before the end of the image, after all its pixels.
PADDING = re.compile(r"Corrupt JPEG data: [1-8] extraneous bytes before marker 0xd9")
# What pydicom says of an RLE segment that holds more than its share, as one does that lost bytes before its end.
RLE_SURPLUS, MOST_PADDING = re.compile(r"padding - (\d+) vs\. (\d+) bytes"), 8
# JPEG 2000: start of codestream and SIZ (ISO 15444-1, A.5.1). JPEG and JPEG-LS: markers of a frame header (ISO 10918-1,
# table B.1; ISO 14495-1, C.2.2).
SIZ = b"\xff\x4f\xff\x51"
FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}

_stderr_lock = threading.Lock()


def is_packed(syntax: str) -> bool:
    """Whether pixels of that transfer syntax come through `unpack`; all others stand in the file as they are."""
    return syntax in CODECS or syntax in (ENCAPSULATED, DEFLATED_FRAMES)


def unpack(dataset: Any, shape: tuple[int, int, int]) -> NDArray[Any]:
    """The stored values of a dataset whose pixels are compressed.

    Args:
        dataset: pydicom's, with its pixels and the attributes that describe them.
        shape: frames, rows, columns.

    Raises:
        ValueError: damaged, or fewer pixels than `shape` says.
        Exception: any other of `PYDICOM_FAULTS`.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax in (ENCAPSULATED, DEFLATED_FRAMES):
        return _unpack_frames(dataset, shape, is_deflated=syntax == DEFLATED_FRAMES)
    if CODECS[syntax] != "pydicom":
        _check_sizes(dataset, shape, is_jpeg2000=CODECS[syntax] == "pylibjpeg")
    if CODECS[syntax] != "gdcm":
        return _decode(dataset, syntax).reshape(shape)
    with _stderr_lock, _listen() as heard:
        decoded = _decode(dataset, syntax)
    complaints = [line for line in heard if line.startswith(LIBJPEG_COMPLAINTS) and not PADDING.match(line)]
    if complaints:
        raise ValueError(complaints[0])
    return decoded.reshape(shape)


def _check_sizes(dataset: Any, shape: tuple[int, int, int], *, is_jpeg2000: bool) -> None:
    """Refuse frames of another size than their file's: for 60000 x 60000 pixels OpenJPEG takes 7 GiB, there or not."""
    find = _jpeg2000_size if is_jpeg2000 else _jpeg_size
    for frame in generate_frames(dataset.PixelData, number_of_frames=shape[0]):
        found = find(frame)
        if found != (*shape[1:], 1):
            raise ValueError(f"packed pixels of rows, columns, samples {found}, expected {(*shape[1:], 1)}")


def _jpeg2000_size(frame: bytes) -> tuple[int, int, int]:
    start = frame.find(SIZ)
    if start < 0:
        raise ValueError("not JPEG 2000")
    width, height, left, top = struct.unpack_from(">4I", frame, start + 8)
    (samples,) = struct.unpack_from(">H", frame, start + 40)
    return height - top, width - left, samples


def _jpeg_size(frame: bytes) -> tuple[int, int, int]:
    at = 2
    while frame[at : at + 1] == b"\xff":
        if frame[at + 1] in FRAME_HEADERS:
            rows, columns, samples = struct.unpack_from(">HHB", frame, at + 5)
            return rows, columns, samples
        # Any marker may have more bytes FF before it.
        at += 1 if frame[at + 1] == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    raise ValueError("not JPEG")


def _decode(dataset: Any, syntax: str) -> NDArray[Any]:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            decoded = np.asarray(pixel_array(dataset, raw=True, decoding_plugin=CODECS[syntax]))
        except RuntimeError as error:
            # The codec's own words are in the last line.
            raise ValueError(str(error).strip().splitlines()[-1].strip()) from error
    for warning in warned:
        surplus = RLE_SURPLUS.search(str(warning.message))
        if surplus and int(surplus[1]) - int(surplus[2]) > MOST_PADDING:
            raise ValueError(f"{surplus[1]} bytes in an RLE segment, expected {surplus[2]}")
    return decoded


def _unpack_frames(dataset: Any, shape: tuple[int, int, int], *, is_deflated: bool) -> NDArray[Any]:
    count, size = shape[0], 2 * shape[1] * shape[2]
    if int(dataset.BitsAllocated) != 16:
        raise ValueError(f"{dataset.BitsAllocated} bits a pixel, expected 16")
    frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
    if is_deflated:
        frames = [zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size) for frame in frames]
    if len(frames) != count or min(map(len, frames)) < size:
        raise ValueError(f"frames of {[len(frame) for frame in frames[:8]]} bytes, expected {count} of {size}")
    sign = "ui"[int(dataset.PixelRepresentation)]
    return np.array([np.frombuffer(frame, f"<{sign}2", size // 2) for frame in frames]).reshape(shape)


@contextmanager
def _listen() -> Iterator[list[str]]:
    """Collects what the process writes to stderr, C libraries included, and passes it on where nothing is wrong."""
    heard: list[str] = []
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):
        # A service without a stderr: nothing to listen to.
        yield heard
        return
    with tempfile.TemporaryFile() as stream:
        os.dup2(stream.fileno(), 2)
        try:
            yield heard
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        stream.seek(0)
        heard += stream.read().decode(errors="replace").splitlines()
    others = [f"{line}\n" for line in heard if not line.startswith(LIBJPEG_COMPLAINTS)]
    os.write(2, "".join(others).encode())
