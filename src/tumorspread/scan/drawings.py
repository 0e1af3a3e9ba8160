"""What somebody drew on a CT, before it becomes a mask: which regions a SEG or RTSTRUCT holds, and on which series.

Attribute definitions: DICOM PS3.3 C.8.8.5 (structure set) and C.7.6.16.2.1, C.12.2 (references of a segmentation).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import open_bundle, plain
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, Header, read_dataset
from tumorspread.scan.dicom_seg import LABEL_MAP, SEGMENTATION, segments_of
from tumorspread.scan.dicom_values import fault
from tumorspread.scan.quiet import quiet
from tumorspread.scan.rtstruct import RT_STRUCTURE_SET

Kind = Literal["SEG", "RTSTRUCT"]

CLASSES: dict[str, Kind] = {SEGMENTATION: "SEG", LABEL_MAP: "SEG", RT_STRUCTURE_SET: "RTSTRUCT"}
TAGS = [
    "SOPClassUID", "Modality", "FrameOfReferenceUID", "ReferencedSeriesSequence", "SegmentSequence",
    "StructureSetROISequence", "ReferencedFrameOfReferenceSequence", "PerFrameFunctionalGroupsSequence",
    "ROIContourSequence",
]  # fmt: skip
# What every such object has, and has after the list of its regions: of a file that is cut off before, pydicom gives the
# regions before the cut without a word.
AFTER_REGIONS: dict[Kind, str] = {"SEG": "PerFrameFunctionalGroupsSequence", "RTSTRUCT": "ROIContourSequence"}


@dataclass(frozen=True)
class Region:
    """A segment or ROI.

    Attributes:
        key: what `read_mask` takes as `roi` to read it alone: the ROI's name or the segment's number.
        label: its name.
        meaning: of its code, for a segment that has one.
    """

    key: str
    label: str
    meaning: str = ""


@dataclass(frozen=True)
class Drawing:
    """A SEG or RTSTRUCT file.

    Attributes:
        kind: of the object.
        series: SeriesInstanceUIDs that it refers to; none where it does not say.
        frames_of_reference: UIDs of the coordinate systems it was drawn in.
        regions: what it holds.
    """

    kind: Kind
    series: tuple[str, ...]
    frames_of_reference: tuple[str, ...]
    regions: tuple[Region, ...]


def drawing_kind(path: Path) -> Kind:
    """Whether a DICOM file is a SEG or an RTSTRUCT.

    Raises:
        ReadError: damaged, or neither.
    """
    with quiet():
        return _kind(path, _read(path, ["SOPClassUID", "Modality"]))


def read_drawing(path: Path) -> Drawing:
    """What a SEG or RTSTRUCT file holds.

    Raises:
        ReadError: missing, damaged, cut off, neither, or without any region.
    """
    with quiet():
        dataset = _read(path, TAGS)
        kind = _kind(path, dataset)
        try:
            regions = tuple(_regions(dataset, kind))
            if not regions or AFTER_REGIONS[kind] not in dataset:
                raise ReadError(
                    f"{plain(path.name)}: a {kind} that lists no regions or is cut off after them; copy or export it "
                    "again"
                )
            return Drawing(
                kind=kind,
                series=tuple(dict.fromkeys(_series(dataset))),
                frames_of_reference=tuple(dict.fromkeys(_frames_of_reference(dataset))),
                regions=regions,
            )
        except PYDICOM_FAULTS as error:
            raise ReadError(f"{plain(path.name)}: a damaged {kind} ({fault(error)}); export it again") from error


def _read(path: Path, tags: list[str]) -> Any:
    with open_bundle(path) as bundle:
        return read_dataset(bundle, path.name, tags, pixels=False)


def _kind(path: Path, dataset: Any) -> Kind:
    header = Header(path.name, dataset)
    kind = CLASSES.get(header.text("SOPClassUID"))
    if kind is None:
        found = plain(header.text("Modality")) or "something unknown"
        raise ReadError(
            f"{plain(path.name)}: a DICOM file of {found}; expected a mask as {' or '.join(get_args(Kind))}"
        )
    return kind


def _series(dataset: Any) -> Iterator[str]:
    for item in dataset.get("ReferencedSeriesSequence") or ():
        yield str(item.SeriesInstanceUID)
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for item in study.get("RTReferencedSeriesSequence") or ():
                yield str(item.SeriesInstanceUID)


def _frames_of_reference(dataset: Any) -> Iterator[str]:
    if own := dataset.get("FrameOfReferenceUID"):
        yield str(own)
    for item in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        if uid := item.get("FrameOfReferenceUID"):
            yield str(uid)


def _regions(dataset: Any, kind: Kind) -> Iterator[Region]:
    if kind == "SEG":
        for segment in segments_of(dataset):
            yield Region(str(segment.number), segment.label, segment.meaning)
        return
    for roi in dataset.get("StructureSetROISequence") or ():
        name = str(roi.get("ROIName") or "") or f"ROI {int(roi.ROINumber)}"
        yield Region(name, name)
