"""PNG, JPG and TIFF slices: pictures, not scans, so spacing and HU must be brought along.

A picture says nothing of mm, HU or head and foot. The spacing is therefore asked for, grey becomes HU only by
a window the user names, and the order is fixed: files in natural order (2 before 10) run from foot to head,
rows to the back, columns to the patient's left.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from tumorspread.errors import GeometryError, ReadError
from tumorspread.scan.bundle import Bundle, open_bundle, plain, plain_list, short
from tumorspread.scan.volume import Triple, Volume

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# 64 megapixels: eight thousand square, far above any CT matrix (512 to 2048).
MAX_PIXELS = 2**26
# 4 GiB as float32: 4096 slices of 512x512.
MAX_VOXELS = 2**30

# What Pillow lets out on damaged and hostile images.
_PILLOW_FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError,
    OverflowError, MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
_COLOUR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
# TIFF tag PhotometricInterpretation.
_PHOTOMETRIC = 262


def read_slices(
    path: Path, *, spacing_mm: Triple | None = None, window_hu: tuple[float, float] | None = None
) -> Volume:
    """Read a stack of grey slices: a folder, a zip, a multi-page TIFF or one picture.

    Colours become grey by ITU-R BT.601 luma, transparency is dropped. Other files are passed over.

    Args:
        path: folder (not its folders), zip or file.
        spacing_mm: distance between slices, rows and columns (z, y, x).
        window_hu: the HU that black and white stand for.

    Returns:
        float32 of shape (slices, rows, columns): HU with a window, else grey 0..1 of the type's full scale.
        The first slice is the lowest (feet), rows run to the back, columns to the left; the origin is 0.

    Raises:
        GeometryError: no spacing, or one that is not above 0.
        ReadError: no image, a damaged one, slices of different size, an unsupported depth, an empty window.
    """
    if spacing_mm is None:
        raise GeometryError(
            f"{path.name}: pictures carry no voxel spacing; give it with `tumorspread convert --spacing Z,Y,X`"
        )
    if not np.isfinite(spacing_mm).all() or min(spacing_mm) <= 0:
        raise GeometryError(f"{path.name}: spacing {list(spacing_mm)} mm; expected three numbers above 0")
    if window_hu is not None and not -np.inf < window_hu[0] < window_hu[1] < np.inf:
        raise ReadError(f"{path.name}: window {list(window_hu)} HU; expected LOW,HIGH with LOW below HIGH")
    with open_bundle(path) as bundle:
        voxels = _stack(bundle)
    if window_hu is not None:
        low, high = window_hu
        voxels *= np.float32(high - low)
        voxels += np.float32(low)
    return Volume.upright(voxels, spacing_mm)


def read_gray_image(path: Path) -> NDArray[np.float32]:
    """Read one 2-D picture (PNG, JPG, TIFF) as grey 0..1 of its type's full scale, (rows, columns).

    Raises:
        ReadError: missing, damaged, not such a picture, several pages, more than 64 megapixels, or a depth
            without a full scale (32-bit, float).
    """
    try:
        with path.open("rb") as stream:
            pages = _pages(path.name, stream)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({short(error)})") from error
    if len(pages) != 1:
        raise ReadError(f"{path.name}: several pages; expected one picture")
    return pages[0]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Key that sorts numbers in names by value: 2 before 10."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _stack(bundle: Bundle) -> NDArray[np.float32]:
    files = sorted((file for file in bundle.files if _is_slice(bundle, file)), key=natural_key)
    if not files:
        raise ReadError(f"{bundle.name}: no PNG, JPG or TIFF in it; expected the slices of a scan")
    planes: list[NDArray[np.float32]] = []
    for file in files:
        with bundle.open(file) as stream:
            planes += _pages(file, stream)
        odd = [plane for plane in planes if plane.shape != planes[0].shape]
        if odd:
            first, other = (f"{rows}x{columns}" for rows, columns in (planes[0].shape, odd[0].shape))
            raise ReadError(f"{bundle.name}: {plain(file)} is {other}, those before {first}; expected one size")
        if planes[0].size * len(planes) > MAX_VOXELS:
            raise ReadError(f"{bundle.name}: more than {MAX_VOXELS} voxels; give the slices of one scan")
    return np.stack(planes)


def _is_slice(bundle: Bundle, file: str) -> bool:
    """Whether to read the file; one that is an image by its name alone may be a lost slice."""
    if bundle.kind(file) == "image":
        return True
    if file.lower().endswith(IMAGE_SUFFIXES):
        raise ReadError(f"{bundle.name}: {plain_list([file])} is empty or not an image; copy it again")
    return False


def _pages(file: str, stream: BinaryIO) -> list[NDArray[np.float32]]:
    """The pages of a picture as grey 0..1."""
    pages: list[NDArray[np.float32]] = []
    with _pillow_faults(file):
        image = Image.open(stream, formats=("PNG", "JPEG", "TIFF"))
        for page in ImageSequence.Iterator(image):
            size = page.width * page.height
            if size > MAX_PIXELS or size * len(pages) > MAX_VOXELS:
                raise ReadError(f"{plain(file)}: {page.width}x{page.height} pixels; expected CT slices")
            pages.append(_gray(file, page))
    return pages


@contextmanager
def _pillow_faults(file: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except _PILLOW_FAULTS as error:
        raise ReadError(f"{plain(file)}: not a readable PNG, JPG or TIFF ({short(error)})") from error


def _gray(file: str, image: Any) -> NDArray[np.float32]:
    if image.mode in _DEEP_MODES and image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:
        # Pillow inverts white-is-zero for 8 bits and forgets it for 16.
        raise ReadError(f"{plain(file)}: a 16-bit TIFF where 0 is white; expected 0 to be black, save it again")
    if image.mode in _COLOUR_MODES:
        return np.asarray(image.convert("L"), np.float32) / np.float32(255)
    # Pillow before 11.1 opens a 16-bit PNG as 32-bit.
    if image.mode in _DEEP_MODES or (image.mode == "I" and image.format == "PNG"):
        return np.asarray(image).astype(np.float32) / np.float32(65535)
    raise ReadError(f"{plain(file)}: pixels of type {image.mode}; expected 8 or 16 bits a sample, unsigned")
