"""Compressed DICOM pixels through codecs that are free of the GPL, one for each transfer syntax.

Left to itself pydicom tries every codec it finds, GDCM first, which ends the whole process on damaged JPEG 2000. GDCM
is asked for what no other decodes, the JPEG of 1992; its libjpeg fills up what a damaged stream lacks and says so on
the process's stderr alone, so we listen there.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
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
    if CODECS[syntax] != "gdcm":
        return _decode(dataset, syntax).reshape(shape)
    with _stderr_lock, _listen() as heard:
        decoded = _decode(dataset, syntax)
    complaints = [line for line in heard if line.startswith(LIBJPEG_COMPLAINTS)]
    if complaints:
        raise ValueError(complaints[0])
    return decoded.reshape(shape)


def _decode(dataset: Any, syntax: str) -> NDArray[Any]:
    try:
        return np.asarray(pixel_array(dataset, raw=True, decoding_plugin=CODECS[syntax]))
    except RuntimeError as error:
        # The codec's own words are in the last line.
        raise ValueError(str(error).strip().splitlines()[-1].strip()) from error


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
    for line in heard:
        if not line.startswith(LIBJPEG_COMPLAINTS):
            print(line, file=sys.stderr)
