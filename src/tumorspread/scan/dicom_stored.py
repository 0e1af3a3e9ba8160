"""What the bytes of a DICOM file say before anything is read or unpacked: where its pixels lie, how large it becomes.

A slice without compression is read straight from the file into the volume, once. A deflated file is unpacked by pydicom
all at once, so a bomb among them must be found before. Encodings: DICOM PS3.5, chapters 7, 8 and annex A.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tumorspread.scan.dicom_values import value_of

# The element PixelData by its tag, little and big endian.
PIXEL_DATA_STARTS = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")
UNDEFINED_LENGTH = 0xFFFFFFFF
DEFLATED = b"1.2.840.10008.1.2.1.99"
# The group of meta elements is shorter.
META_BYTES = 4096
# Value representations whose length takes four bytes.
LONG_LENGTHS = (b"OB", b"OW", b"UN", b"UT", b"SQ")
# Deflate packs CT 2:1 to 4:1, empty slices up to 1000:1; below 64 MiB nothing is worth a refusal.
MAX_INFLATED, MAX_INFLATED_RATIO = 2**26, 200
CHUNK_BYTES = 2**16


@dataclass(frozen=True)
class Stored:
    """How the pixels of a file with one uncompressed 16-bit slice are stored.

    Attributes:
        start: the byte where they begin.
        length: how many bytes the file declares.
        dtype: numpy's name of their type.
        bits: BitsStored.
        high_bit: HighBit.
    """

    start: int
    length: int
    dtype: str
    bits: int
    high_bit: int


def stored_pixels(dataset: Any, element: bytes, at: int) -> Stored | None:
    """How the pixels of a file are stored, or None where only pydicom can read them.

    Args:
        dataset: the header, with its transfer syntax.
        element: the first 12 bytes of the element PixelData.
        at: where in the file it begins.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    order = {ImplicitVRLittleEndian: "<", ExplicitVRLittleEndian: "<", ExplicitVRBigEndian: ">"}.get(syntax)
    if order is None or element[:4] not in PIXEL_DATA_STARTS or len(element) < 12:
        return None
    skip, place = (8, 4) if syntax == ImplicitVRLittleEndian else (12, 8)
    (length,) = struct.unpack(f"{order}I", element[place : place + 4])
    bits = value_of(dataset, "BitsAllocated"), value_of(dataset, "BitsStored"), value_of(dataset, "HighBit")
    sign = value_of(dataset, "PixelRepresentation")
    if bits[0] != 16 or not isinstance(bits[1], int) or sign not in (0, 1) or length == UNDEFINED_LENGTH:
        return None
    high_bit = bits[2] if isinstance(bits[2], int) and bits[2] else bits[1] - 1
    return Stored(at + skip, length, f"{order}{'ui'[sign]}2", bits[1], high_bit)


def check_inflated(stream: BinaryIO) -> None:
    """Refuse a deflated file that unpacks to more than a scan does; the stream stays at its beginning.

    Raises:
        ValueError: it does.
        zlib.error: what should be deflated is damaged.
    """
    stream.seek(0)
    head = stream.read(META_BYTES)
    if DEFLATED in head:
        stream.seek(_meta_end(head))
        unpacked, packed = _inflated_bytes(stream)
        if unpacked > max(MAX_INFLATED, MAX_INFLATED_RATIO * packed):
            raise ValueError(f"{packed} deflated bytes unpack to more than {unpacked}, a bomb?")
    stream.seek(0)


def _meta_end(head: bytes) -> int:
    """Where the elements of group 0002 end, which are always explicit, little endian and packed in no way."""
    at = 132
    while head[at : at + 2] == b"\2\0":
        is_long = head[at + 4 : at + 6] in LONG_LENGTHS
        start, size = (at + 8, 4) if is_long else (at + 6, 2)
        at = start + size + int.from_bytes(head[start : start + size], "little")
    return at


def _inflated_bytes(stream: BinaryIO) -> tuple[int, int]:
    """How many bytes the rest of the stream unpacks to, counted until they are too many, and how many it holds."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacked = packed = 0
    while not engine.eof and (chunk := stream.read(CHUNK_BYTES)):
        packed += len(chunk)
        while chunk:
            unpacked += len(engine.decompress(chunk, 2**20))
            chunk = engine.unconsumed_tail
        if unpacked > max(MAX_INFLATED, MAX_INFLATED_RATIO * packed):
            break
    return unpacked, packed
