"""What de-identification by attributes cannot clean: names drawn into pixels, faces, documents.

The pixels are never altered; who publishes the files must look at those that are named here.
"""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from tumorspread.scan.dicom_source import read_source
from tumorspread.scan.volume import Remark

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Secondary capture, ultrasound, visible light, and what carries a document (PS3.4 B.5).
_DRAWN_CLASSES = ("7", "3.1", "6.1", "6.2", "6.3", "77.1")
_DOCUMENT_CLASSES = ("104",)
_DRAWN_MODALITIES = {"US", "IVUS", "ES", "XC", "GM", "OT", "SC", "DOC", "HC"}
_DRAWN_KINDS = {"SECONDARY", "SCREEN SAVE"}


def find_pixel_risks(dataset: Dataset) -> tuple[Remark, ...]:
    """Why the pixels of a dataset, or what stands in their place, may still show who the patient is.

    Args:
        dataset: before it is de-identified.

    Returns:
        Remarks `burned_in`, `screen_capture`, `pixel_overlay`, `recognizable_features`, `document`; none for an
        ordinary CT slice.
    """
    sop_class = str(dataset.get("SOPClassUID") or "")
    kinds = {str(kind).strip().upper() for kind in dataset.get("ImageType") or ()}
    is_drawn = _is_among(sop_class, _DRAWN_CLASSES) or dataset.get("Modality") in _DRAWN_MODALITIES
    found = {
        "burned_in": str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES",
        "screen_capture": is_drawn or bool(kinds & _DRAWN_KINDS),
        "pixel_overlay": _has_pixel_overlay(dataset),
        "recognizable_features": str(dataset.get("RecognizableVisualFeatures") or "").strip().upper() == "YES",
        "document": _is_among(sop_class, _DOCUMENT_CLASSES),
    }
    return tuple(Remark(code, _TEXTS[code]) for code, is_so in found.items() if is_so)


def find_series_risks(path: Path, *, series: str | None = None) -> tuple[Remark, ...]:
    """The remarks of `find_pixel_risks` on any slice of a series, each once.

    Args:
        path: folder, zip or file, as for `read_dicom`.
        series: as for `read_dicom`.

    Raises:
        ReadError: as `read_source`.
        GeometryError: as `read_source`.
    """
    found: dict[Remark, None] = {}

    def watch(header: Dataset) -> Dataset:
        found.update(dict.fromkeys(find_pixel_risks(header)))
        return header

    read_source(path, series=series, change=watch)
    return tuple(found)


_TEXTS = {
    "burned_in": "the header says that text is burned into the pixels; they were not altered",
    "screen_capture": "a screen capture, a photograph, ultrasound or a secondary image: text may be burned into the "
    "pixels; they were not altered",
    "pixel_overlay": "an overlay lies in spare bits of the pixels; they were not altered",
    "recognizable_features": "the header says that the patient can be recognised in the pixels; they were not altered",
    "document": "an encapsulated document; it was replaced by a dummy",
}


def _is_among(sop_class: str, ends: tuple[str, ...]) -> bool:
    return any(f"{sop_class}.".startswith(f"{_STORAGE}{end}.") for end in ends)


def _has_pixel_overlay(dataset: Dataset) -> bool:
    """Whether an overlay plane has a place in the pixels and no data of its own (PS3.5 8.1.2, retired)."""
    positions = [tag for tag in sorted(dataset.keys()) if tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102]
    return any((tag.group, 0x3000) not in dataset and str(dataset[tag].value) not in ("0", "None") for tag in positions)
