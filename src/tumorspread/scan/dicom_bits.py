"""The stored values of a multi-frame mask, one frame at a time: also the ones packed eight pixels to a byte.

pydicom would unpack all frames at once, a byte a pixel: 70 MiB for a mask of 280 slices, most of which is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import iter_pixels
from pydicom.uid import JPEG2000, HTJ2KLossless, JPEG2000Lossless, JPEGLSLossless, RLELossless

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import plain
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS
from tumorspread.scan.dicom_values import fault

# A slice of CT has up to 4096 x 4096 pixels; a damaged header asks a decoder for 65535 x 65535.
MAX_FRAME_PIXELS = 2**26
# Codecs for masks. Not gdcm: it ends the whole process where it meets a frame that it does not like.
PLUGINS = {
    RLELossless: "pydicom",
    JPEGLSLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
}


@dataclass(frozen=True, eq=False)
class FramePixels:
    """Frames of one sample a pixel, as the file stores them.

    Attributes:
        name: of the file, for messages.
        dataset: with the pixel attributes and PixelData.
        size: rows, columns.
        bits: allocated a pixel: 1, 8 or 16.
    """

    name: str
    dataset: Any
    size: tuple[int, int]
    bits: int

    @classmethod
    def of(cls, name: str, dataset: Any) -> FramePixels:
        """The frames of a dataset.

        Raises:
            ReadError: no pixels or no size, several samples a pixel, or values that are no labels.
        """
        size = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        bits, signed = int(dataset.get("BitsAllocated") or 0), int(dataset.get("PixelRepresentation") or 0)
        if min(size) < 1 or size[0] * size[1] > MAX_FRAME_PIXELS:
            raise ReadError(f"{name}: frames of {size[0]}x{size[1]} pixels; expected those of a CT, export it again")
        if bits not in (1, 8, 16) or signed or int(dataset.get("SamplesPerPixel") or 1) != 1:
            raise ReadError(f"{name}: {bits} bits a pixel, or signed or in colour; expected 1, 8 or 16 unsigned bits")
        if not dataset.get("PixelData"):
            raise ReadError(f"{name}: no pixel data; expected a segmentation, export it again")
        return cls(name, dataset, size, bits)

    def read(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The frames of these numbers, from 0, each (rows, columns).

        Raises:
            ReadError: truncated, or not decodable.
        """
        syntax = self.dataset.file_meta.TransferSyntaxUID
        if not indices:
            return iter(())
        if not syntax.is_compressed or syntax.is_deflated:
            return map(self._unpack, indices)
        return self._decode(indices)

    def _unpack(self, index: int) -> NDArray[Any]:
        data, pixels = self.dataset.PixelData, self.size[0] * self.size[1]
        stop = ((index + 1) * pixels * self.bits + 7) // 8
        if len(data) < stop:
            raise ReadError(
                f"{self.name}: {len(data)} bytes of pixels, frame {index + 1} needs {stop}; cut off, copy it again"
            )
        little = self.dataset.file_meta.TransferSyntaxUID.is_little_endian
        if self.bits > 1:
            dtype = np.dtype(f"{'<' if little else '>'}u{self.bits // 8}")
            return np.frombuffer(data, dtype, pixels, index * pixels * dtype.itemsize).reshape(self.size)
        if not little:
            raise ReadError(f"{self.name}: single bits in big-endian order; expected little-endian, export it again")
        first, skipped = divmod(index * pixels, 8)
        packed = np.frombuffer(data, np.uint8, stop - first, first)
        return np.unpackbits(packed, bitorder="little")[skipped : skipped + pixels].reshape(self.size)

    def _decode(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        syntax = self.dataset.file_meta.TransferSyntaxUID
        plugin = PLUGINS.get(syntax)
        if plugin is None:
            raise ReadError(
                f"{self.name}: a mask in {plain(syntax.name)}; expected it uncompressed, in run lengths (RLE), "
                "lossless JPEG-LS or JPEG 2000: decompress it first"
            )
        try:
            for frame in iter_pixels(self.dataset, indices=list(indices), raw=True, decoding_plugin=plugin):
                yield np.asarray(frame).reshape(self.size)
        except PYDICOM_FAULTS as error:
            raise ReadError(
                f"{self.name}: pixels in {syntax.name} cannot be decoded ({fault(error)}); damaged, copy or export it "
                "again"
            ) from error
