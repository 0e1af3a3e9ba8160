"""The values of DICOM attributes, straight from their bytes.

A series repeats the same thirty attributes in hundreds of files, and pydicom's general conversion of them takes longer
than reading all the pixels. So the few value representations that place a slice are decoded here (PS3.5, 6.2);
whatever is not plain goes through pydicom, with the same outcome.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag

from tumorspread.scan.bundle import plain

HEADER_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "ImageType", "ConvolutionKernel", "FrameOfReferenceUID", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "GantryDetectorTilt", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PlanarConfiguration", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "LossyImageCompression", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip

# PS3.5 section 9.1, with the leading zeros that some scanners write; nothing that means something in a path.
UID = re.compile(r"[0-9]+(\.[0-9]+)*")
MAX_UID = 64
_CODE = re.compile(r"[\w .\\/()+;-]{0,64}", re.ASCII)
_QUOTED = re.compile(r"""'[^']*'?|"[^"]*"?""")


def _text(value: bytes) -> str:
    return value.decode("ascii").strip(" \0")


def _numbers(value: bytes) -> Any:
    parts = [float(part) for part in _text(value).split("\\")]
    return parts[0] if len(parts) == 1 else parts


# None for a value that pydicom should decide on: empty, of several parts, of an odd length.
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "UI": _text,
    "CS": _text,
    "DS": _numbers,
    "IS": lambda value: int(_text(value)),
    "US": lambda value: int.from_bytes(value, "little") if len(value) == 2 else None,
}
_KNOWN: dict[str, tuple[BaseTag, str]] = {name: (Tag(name), dictionary_VR(name)) for name in HEADER_TAGS}


def shown(value: str) -> str:
    """A UID, code or number fit for a message: one with other characters is damaged, and may hold a patient's name.

    A length that is wrong by a few bytes moves what stands behind it, and its tag with it, into the value.
    """
    return value if _CODE.fullmatch(value) else "(unreadable)"


def fault(error: BaseException) -> str:
    """The class and the first line of another library's error, without the values that it quotes: see `shown`."""
    lines = str(error).strip().splitlines()
    text = _QUOTED.sub("...", lines[0])[:80] if lines else ""
    return f"{type(error).__name__}: {plain(text)}" if text else type(error).__name__


def value_of(dataset: Any, keyword: str) -> Any:
    """The attribute `keyword`, one of `HEADER_TAGS`: a number, a list of numbers, text, or what pydicom makes of it.

    Args:
        dataset: as pydicom has read it; it is left as it is.
        keyword: of the attribute.

    Returns:
        None, or an empty value, where the attribute is missing or empty. Several texts are one with backslashes between
        them, or a pydicom MultiValue.

    Raises:
        Exception: any of `PYDICOM_FAULTS` where pydicom cannot decode the value.
    """
    tag, representation = _KNOWN[keyword]
    element = dataset.get_item(tag)
    if type(element) is RawDataElement and element.value and element.VR in (None, representation):
        decode = _DECODERS.get(representation)
        if decode is not None and (element.is_little_endian or representation != "US"):
            try:
                value = decode(element.value)
            except ValueError:
                value = None
            if value is not None:
                return value
    return dataset.get(keyword)


def is_uid(text: str) -> bool:
    """Whether the text is a UID, and so safe as a file's name."""
    return len(text) <= MAX_UID and UID.fullmatch(text) is not None
