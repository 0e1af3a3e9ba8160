"""The segments of a DICOM segmentation (SEG) as a mask on the grid of the scan they were made on.

A SEG stores frames, each of one segment at one place, in any order and without the empty ones; every frame is put where
its own position and orientation say. Attribute definitions: DICOM PS3.3 C.8.20 (segmentation), C.7.6.16 (functional
groups), PS3.5 8.1.1 (bits of a frame follow those of the one before, without padding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import GeometryError, MaskError, ReadError
from tumorspread.scan.bundle import open_bundle, plain, plain_list
from tumorspread.scan.dicom_bits import FramePixels
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, Header, read_dataset
from tumorspread.scan.dicom_values import fault
from tumorspread.scan.quiet import quiet
from tumorspread.scan.volume import Remark, Volume, sparse_zeros

SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
TAGS = [
    "SOPClassUID", "Modality", "SegmentationType", "SegmentationFractionalType", "MaximumFractionalValue",
    "SegmentSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames", "Rows",
    "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PlanarConfiguration", "PixelData",
]  # fmt: skip
CODE = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
TYPES = ("BINARY", "FRACTIONAL", "LABELMAP")
# A frame is on the scan's grid when no corner is further off than this share of a voxel's edge; along its normal it may
# be more, since `dicom_gate` lets true slices be up to 0.2 of their distance off the regular grid of the volume.
OFF_GRID_TOLERANCE, OFF_SLICE_TOLERANCE = 0.1, 0.25
# From pixel to pixel, what is further off than this share of a voxel is another spacing or a turn, not rounding.
SAME_STEP_TOLERANCE = 0.02

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """One segment: what it is called and what it shows.

    Attributes:
        number: in its file, from 1.
        label: free text.
        meaning: of its coded property type, such as `Nodule`; empty where there is none.
        kind: the code itself; segments of one kind may be taken together.
    """

    number: int
    label: str
    meaning: str
    kind: tuple[str, str]


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame's segment (None in a label map) and place: first pixel's centre, steps to the next row and column."""

    index: int
    segment: int | None
    origin_mm: Vector
    down_mm: Vector
    across_mm: Vector


@dataclass(frozen=True, eq=False)
class _Placed:
    """A frame on a scan's grid, in whole voxels (z, y, x): its first pixel, the steps to the next row and column."""

    start: Vector
    down: Vector
    across: Vector


def read_segments(path: Path, scan: Volume, *, segment: int | str | None = None) -> Volume:
    """Read segments of a DICOM SEG file as a mask.

    The frames' pixels must be voxels of the scan, whatever the order and direction of the axes of either; they are put
    there one by one, nothing is resampled. Slices without a frame are empty. Of a FRACTIONAL segment (probabilities or
    occupancies) the voxels of half or more of the full value are taken.

    Args:
        path: the file.
        scan: the scan it was made on, its axes in any order.
        segment: number, or label (or number as text), of one segment. By default the only one, or all where all are of
            one kind (the same coded property type), as the lesions of one patient are: then their union.

    Returns:
        bool voxels on the scan's grid, with the scan's remarks and `fractional_segment`. Without any voxel set it is a
        valid answer.

    Raises:
        ReadError: missing, damaged, cut off, not a SEG, or pixels that cannot be decoded.
        GeometryError: a frame's place is missing or broken.
        MaskError: no segments, several kinds and none chosen, the chosen one absent or ambiguous, frames on another
            grid, or voxels beyond the scan.
    """
    name = plain(path.name)
    with quiet():
        try:
            dataset = _read(path)
            chosen = choose_segments(name, segments_of(dataset), segment)
            voxels = _paint(name, dataset, {one.number for one in chosen}, scan)
            remarks = _remarks(dataset)
        except PYDICOM_FAULTS as error:
            raise ReadError(f"{name}: a damaged SEG ({fault(error)}); export it again") from error
    return replace(scan.with_voxels(voxels), remarks=(*scan.remarks, *remarks))


def _read(path: Path) -> Any:
    with open_bundle(path) as bundle:
        dataset = read_dataset(bundle, path.name, TAGS, pixels=True)
    header = Header(path.name, dataset)
    if header.text("SOPClassUID") not in (SEGMENTATION, LABEL_MAP):
        found = plain(header.text("Modality")) or "something unknown"
        raise ReadError(f"{plain(path.name)}: a DICOM file of {found}; expected a segmentation (SEG)")
    kind = str(dataset.get("SegmentationType") or "").strip()
    if kind not in TYPES:
        raise ReadError(f"{plain(path.name)}: SegmentationType {plain(kind)!r}; expected one of {', '.join(TYPES)}")
    return dataset


def segments_of(dataset: Any) -> tuple[Segment, ...]:
    """The segments that a SEG dataset lists, without the background of a label map."""
    found = []
    for item in dataset.get("SegmentSequence") or ():
        codes: Sequence[Any] = item.get("SegmentedPropertyTypeCodeSequence") or ({},)
        scheme, value, meaning = (str(codes[0].get(key) or "") for key in CODE)
        found.append(Segment(int(item.SegmentNumber), str(item.get("SegmentLabel") or ""), meaning, (scheme, value)))
    return tuple(one for one in found if one.number > 0)


def choose_segments(name: str, segments: Sequence[Segment], wanted: int | str | None) -> tuple[Segment, ...]:
    """The segments that `wanted` means (see `read_segments`).

    Raises:
        MaskError: none, or several where one is expected.
    """
    listed = plain_list(f"{one.number} ({plain(one.label) or 'no label'})" for one in segments)
    if not segments:
        raise MaskError(f"{name}: lists no segments; expected an outlined tumour")
    if wanted is None:
        if len({one.kind for one in segments}) > 1:
            raise MaskError(
                f"{name}: segments of several kinds; expected one, choose with roi=LABEL, or --roi LABEL: {listed}"
            )
        return tuple(segments)
    matches = [one for one in segments if one.label == wanted]
    if not matches:
        matches = [one for one in segments if str(one.number) == str(wanted).strip()]
    if len(matches) != 1:
        raise MaskError(
            f"{name}: {len(matches)} segments are {plain(str(wanted))!r}; expected one label or number of: {listed}"
        )
    return tuple(matches)


def _paint(name: str, dataset: Any, numbers: set[int], scan: Volume) -> NDArray[np.bool_]:
    kind = str(dataset.SegmentationType)
    frames = [frame for frame in _frames(name, dataset, kind) if frame.segment is None or frame.segment in numbers]
    pixels = FramePixels.of(name, dataset)
    full = int(dataset.MaximumFractionalValue) if kind == "FRACTIONAL" else 0
    if kind == "FRACTIONAL" and full < 1:
        raise ReadError(f"{name}: MaximumFractionalValue {full}; expected above 0, export it again")
    voxels = sparse_zeros(scan.shape, bool)
    for frame, stored in zip(frames, pixels.read([frame.index for frame in frames]), strict=True):
        if kind == "FRACTIONAL":
            inside = stored >= full / 2
        else:
            inside = stored != 0 if frame.segment is not None else np.isin(stored, list(numbers))
        _set(name, frame, inside, scan, voxels)
    return voxels


def _frames(name: str, dataset: Any, kind: str) -> list[_Frame]:
    count = int(dataset.get("NumberOfFrames") or 1)
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if len(groups) != count:
        raise ReadError(
            f"{name}: {count} frames but {len(groups)} per-frame functional groups; the frames' places are unknown, "
            "cut off? copy or export it again"
        )
    return [_frame(name, index, [group, *shared], kind) for index, group in enumerate(groups)]


def _frame(name: str, index: int, places: Sequence[Any], kind: str) -> _Frame:
    number = _find(places, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
    if number is None and kind != "LABELMAP":
        raise ReadError(f"{name}: frame {index + 1} names no segment; export it again")
    orientation = _numbers(name, index, places, ("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    spacing = _numbers(name, index, places, ("PixelMeasuresSequence", "PixelSpacing"), 2)
    across, down = orientation.reshape(2, 3)
    return _Frame(
        index=index,
        segment=None if kind == "LABELMAP" else int(number),
        origin_mm=_numbers(name, index, places, ("PlanePositionSequence", "ImagePositionPatient"), 3),
        down_mm=down * spacing[0],
        across_mm=across * spacing[1],
    )


def _find(places: Sequence[Any], group: str, keyword: str) -> Any:
    """The attribute from its functional group, of the frame or of what all frames share; None where neither has it."""
    for place in places:
        for item in list(place.get(group) or [])[:1]:
            value = item.get(keyword)
            if value is not None and value != "":
                return value
    return None


def _numbers(name: str, index: int, places: Sequence[Any], key: tuple[str, str], count: int) -> Vector:
    numbers = np.atleast_1d(np.asarray(_find(places, *key), np.float64))
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise GeometryError(
            f"{name}: {key[1]} of frame {index + 1} is not {count} finite numbers; its place is unknown, export it "
            "again"
        )
    return numbers


def _set(name: str, frame: _Frame, inside: NDArray[np.bool_], scan: Volume, voxels: NDArray[np.bool_]) -> None:
    """Set the voxels of the scan where the pixels of the frame are set."""
    placed = _place(name, frame, inside.shape, scan)
    down, across = (int(np.abs(step).argmax()) for step in (placed.down, placed.across))
    normal = 3 - down - across
    rows, row_voxels = _overlap(placed.start[down], placed.down[down], inside.shape[0], scan.shape[down])
    columns, column_voxels = _overlap(placed.start[across], placed.across[across], inside.shape[1], scan.shape[across])
    is_there = 0 <= placed.start[normal] < scan.shape[normal]
    beyond = int(inside.sum()) - (int(inside[rows, columns].sum()) if is_there else 0)
    if beyond:
        raise MaskError(
            f"{name}: {beyond} voxels of frame {frame.index + 1} lie beyond the scan; give the scan it was made on, "
            "whole"
        )
    if is_there:
        plane = np.moveaxis(voxels, (normal, down, across), (0, 1, 2))[int(placed.start[normal])]
        plane[row_voxels, column_voxels] |= inside[rows, columns]


def _overlap(start: float, step: float, count: int, size: int) -> tuple[slice, slice]:
    """Of `count` pixels from `start` on, a voxel a step, those among voxels 0 to `size`: the pixels, and the voxels."""
    voxels = start + step * np.arange(count)
    there = np.flatnonzero((voxels >= 0) & (voxels < size))
    if not there.size:
        return slice(0, 0), slice(0, 0)
    first, last = int(voxels[there[0]]), int(voxels[there[-1]])
    end = last + int(step)
    return slice(there[0], there[-1] + 1), slice(first, None if end < 0 else end, int(step))


def _place(name: str, frame: _Frame, size: tuple[int, ...], scan: Volume) -> _Placed:
    """Where the frame's pixels are among the scan's voxels, or a refusal that says how far off they are."""
    origin, below, beside = scan.to_index(
        frame.origin_mm + np.stack([0 * frame.down_mm, frame.down_mm, frame.across_mm])
    )
    true = np.stack([below - origin, beside - origin])
    steps = np.round(true)
    aside = np.abs(true - steps).max() > SAME_STEP_TOLERANCE
    if aside or (np.abs(steps).sum(axis=1) != 1).any() or (steps[0] * steps[1]).any():
        spacing = "x".join(f"{np.linalg.norm(v):.4g}" for v in (frame.down_mm, frame.across_mm))
        shown = "x".join(f"{mm:.4g}" for mm in scan.spacing_mm)
        raise MaskError(
            f"{name}: frame {frame.index + 1}, pixels of {spacing} mm, is on another grid than the scan, voxels of "
            f"{shown} mm (z, y, x), or turned against it; expected a SEG of this scan: resample it to the scan's grid"
        )
    corners = np.array([(r, c) for r in (0, size[0] - 1) for c in (0, size[1] - 1)], np.float64)
    starts = origin + corners @ (true - steps)
    start = np.round(starts.mean(axis=0))
    off = np.abs(starts - start).max(axis=0)
    normal = ~steps.any(axis=0)
    if (off > np.where(normal, OFF_SLICE_TOLERANCE, OFF_GRID_TOLERANCE)).any():
        raise MaskError(
            f"{name}: frame {frame.index + 1} lies {off.max():.2f} of a voxel off the scan's grid; expected a SEG of "
            "this scan: resample it to the scan's grid, or give the scan it was made on"
        )
    return _Placed(start, steps[0], steps[1])


def _remarks(dataset: Any) -> list[Remark]:
    if str(dataset.SegmentationType) != "FRACTIONAL":
        return []
    what = "occupancies" if str(dataset.get("SegmentationFractionalType")) == "OCCUPANCY" else "probabilities"
    return [Remark("fractional_segment", f"the segmentation holds {what}; voxels of half or more were taken")]
