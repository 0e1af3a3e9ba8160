"""The contours of a DICOM RT structure set as a mask: what a radiation oncologist drew, on the grid of its CT.

DICOM's world is ours (LPS mm), so points are taken as they stand. Attribute definitions: DICOM PS3.3 C.8.8.5
(structure set) and C.8.8.6 (ROI contour).
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement

from tumorspread.errors import MaskError, ReadError
from tumorspread.scan.bundle import open_bundle, plain, plain_list, short
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, Header, read_dataset
from tumorspread.scan.volume import Remark, Reorientation, Shape, Volume

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
TAGS = ["SOPClassUID", "Modality", "StructureSetROISequence", "ROIContourSequence"]
UNDEFINED_LENGTH = 0xFFFFFFFF
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Contours lie on the true slices, and `dicom_gate` lets those be up to 0.2 of their distance off the regular grid of
# the volume; at a quarter the slice that is meant is still beyond doubt.
OFF_SLICE_TOLERANCE = 0.25
# Points are decimal texts, often of 32-bit floats; without rounding, an outline through voxel centres would take in
# or leave out those centres by chance.
INDEX_DECIMALS = 4

Points = NDArray[np.float64]
Planes = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Roi:
    """A region of interest: its name, and the items of its contours as pydicom gives them."""

    name: str
    contours: tuple[Any, ...]

    @property
    def kinds(self) -> set[str]:
        return {str(contour.get("ContourGeometricType") or "none") for contour in self.contours}


def read_contours(path: Path, scan: Volume, *, roi: str | None = None) -> Volume:
    """Read the closed contours of one ROI of an RTSTRUCT file as a mask.

    A voxel is inside when its centre is: by the even-odd rule over all contours of a slice, so that holes may be drawn
    as contours of their own or by a keyhole. Of a centre on the very outline the lower and right border is out, so
    that neighbours share no voxel. Nothing is interpolated between slices.

    Args:
        path: the file.
        scan: the CT that was drawn on, its axes in any order. Contours lie on its slices, along one of its axes.
        roi: the ROI's name, where several have closed contours.

    Returns:
        bool voxels on the scan's grid, with the scan's remarks and `contour_gaps`: some slices between outlines were
        left blank, and stay blank in the mask.

    Raises:
        ReadError: missing, damaged, cut off, or not an RTSTRUCT.
        MaskError: no closed contours, several ROIs and none chosen, the chosen one absent or not closed, contours off
            the slices or outside the scan, around no voxel centre, or on every second slice or fewer.
    """
    name = plain(path.name)
    with warnings.catch_warnings():
        # pydicom warns whenever a damaged value is touched, with the value itself in the text.
        warnings.simplefilter("ignore")
        try:
            chosen = _choose(name, _read_rois(path), roi)
            points_mm = [_points(name, contour) for contour in chosen.contours]
        except PYDICOM_FAULTS as error:
            raise ReadError(f"{name}: a damaged RTSTRUCT ({short(error)}); export it again") from error
    turn = Reorientation.to_canonical(scan)
    upright = turn.apply(scan)
    contours = [np.round(upright.to_index(points), INDEX_DECIMALS) for points in points_mm]
    # Turning first makes the outcome for centres on an outline the same for every order of the file's axes.
    axis = _slice_axis(contours)
    voxels = _rasterise(name, contours, upright.shape, axis)
    gaps = _gaps(name, np.moveaxis(voxels, axis, 0))
    mask = scan.with_voxels(np.ascontiguousarray(turn.invert_array(voxels)))
    return replace(mask, remarks=(*scan.remarks, *gaps))


def _read_rois(path: Path) -> list[_Roi]:
    with open_bundle(path) as bundle:
        dataset = read_dataset(bundle, path.name, TAGS, pixels=False)
    header = Header(path.name, dataset)
    if header.text("SOPClassUID") != RT_STRUCTURE_SET:
        found = plain(header.text("Modality")) or "something unknown"
        raise ReadError(f"{plain(path.name)}: a DICOM file of {found}; expected the contours of an RTSTRUCT")
    for keyword in TAGS[2:]:
        _check_whole(path, dataset, keyword)
    names = {int(item.ROINumber): str(item.get("ROIName") or "") for item in dataset.get("StructureSetROISequence", ())}
    rois = []
    for item in dataset.get("ROIContourSequence", ()):
        number = int(item.ReferencedROINumber)
        contours = tuple(contour for contour in item.get("ContourSequence") or () if contour.get("ContourData"))
        rois.append(_Roi(names.get(number) or f"ROI {number}", contours))
    return rois


def _check_whole(path: Path, dataset: Any, keyword: str) -> None:
    """Of a sequence that is cut off, pydicom gives the items before the cut without a word."""
    raw: Any = dataset.get_item(keyword) if keyword in dataset else None
    if isinstance(raw, RawDataElement) and raw.value is not None and len(raw.value) < raw.length != UNDEFINED_LENGTH:
        raise ReadError(f"{plain(path.name)}: the file is cut off within its contours; copy or export it again")


def _choose(name: str, rois: Sequence[_Roi], wanted: str | None) -> _Roi:
    """The ROI by its name, or the only one with closed contours; points and lines mark places, not tumours."""
    closed = [roi for roi in rois if roi.kinds & set(CLOSED)]
    if not closed:
        kinds = ", ".join(sorted({plain(kind) for roi in rois for kind in roi.kinds})) or "none"
        raise MaskError(f"{name}: no ROI has closed contours; contours found: {kinds}; expected an outlined tumour")
    matches = [roi for roi in closed if wanted is None or roi.name == wanted]
    listed = plain_list(sorted(roi.name for roi in closed))
    if not matches:
        raise MaskError(f"{name}: no ROI with closed contours is named {plain(str(wanted))!r}; found {listed}")
    if len(matches) > 1:
        many = "several ROIs" if wanted is None else f"{len(matches)} ROIs named {plain(wanted)!r}"
        raise MaskError(f"{name}: {many}; expected one, choose with roi=NAME, or --roi NAME: {listed}")
    mixed = sorted(matches[0].kinds - set(CLOSED))
    if mixed:
        raise MaskError(
            f"{name}: ROI {plain(matches[0].name)} has contours of kind {plain_list(mixed)}; expected closed ones alone"
        )
    return matches[0]


def _points(name: str, contour: Any) -> Points:
    """The points of one contour, (n, 3) LPS mm."""
    numbers = np.atleast_1d(np.asarray(contour.ContourData, np.float64))
    count = int(contour.get("NumberOfContourPoints") or numbers.size // 3)
    if numbers.size != 3 * count or not np.isfinite(numbers).all():
        raise ReadError(
            f"{name}: a contour of {count} points holds {numbers.size} numbers, or some that are not finite; "
            "expected x, y and z of each point; export it again"
        )
    return numbers.reshape(-1, 3)


def _slice_axis(contours: Sequence[Points]) -> int:
    """The axis of the grid along which every contour stays at one place, as far as one does."""
    return int(np.max([np.ptp(points, axis=0) for points in contours], axis=0).argmin())


def _rasterise(name: str, contours: Sequence[Points], shape: Shape, axis: int) -> Planes:
    """The voxels inside, from points in fractional indices (z, y, x)."""
    planes = np.zeros(shape, bool)
    by_slice: dict[int, list[Points]] = defaultdict(list)
    for points in contours:
        _check_place(name, points, shape, axis)
        by_slice[round(float(points[:, axis].mean()))].append(np.delete(points, axis, axis=1))
    across = np.moveaxis(planes, axis, 0)
    for index, outlines in by_slice.items():
        across[index] = _inside(outlines, across.shape[1:])
    if not planes.any():
        raise MaskError(f"{name}: its contours hold no centre of a voxel; they are too small for this scan")
    return planes


def _check_place(name: str, points: Points, shape: Shape, axis: int) -> None:
    beyond = np.maximum(-0.5 - points, points - (np.array(shape) - 0.5)).max()
    if beyond > OFF_SLICE_TOLERANCE:
        raise MaskError(
            f"{name}: a contour reaches {beyond:.1f} voxels beyond the scan; give the scan they were drawn on, whole"
        )
    place = points[:, axis]
    nearest = int(np.clip(np.round(place.mean()), 0, shape[axis] - 1))
    off = float(np.abs(place - nearest).max())
    if off > OFF_SLICE_TOLERANCE:
        raise MaskError(
            f"{name}: a contour lies {off:.2f} of the slice distance off the nearest slice of the scan; expected "
            "contours on its slices; give the scan they were drawn on"
        )


def _inside(outlines: Sequence[Points], shape: tuple[int, ...]) -> Planes:
    """Whether the centre of each pixel lies inside, by the parity of the edges to its left in its row.

    Args:
        outlines: closed polygons, each (n, 2) as fractional row and column.
        shape: rows, columns.
    """
    ends = np.concatenate([np.stack([points, np.roll(points, -1, axis=0)], axis=1) for points in outlines])
    # From the upper to the lower end, so that the two edges of a keyhole, drawn to and fro, cancel to the last bit.
    top, bottom = np.take_along_axis(ends, np.argsort(ends[:, :, :1], axis=1), axis=1).transpose(1, 0, 2)
    first, last = (np.clip(np.ceil(end[:, 0]).astype(int), 0, shape[0]) for end in (top, bottom))
    edge = np.repeat(np.arange(len(ends)), last - first)
    row = np.arange(edge.size) - np.repeat(np.cumsum(last - first) - last, last - first)
    share = (row - top[edge, 0]) / (bottom - top)[edge, 0]
    column = top[edge, 1] + share * (bottom - top)[edge, 1]
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(crossings, (row, np.clip(np.ceil(column).astype(int), 0, shape[1])), 1)
    return np.asarray(crossings.cumsum(axis=1)[:, :-1] % 2 == 1)


def _gaps(name: str, planes: Planes) -> list[Remark]:
    """A remark on slices left blank between outlines that overlap, as parts of one tumour do; or a refusal.

    Where most steps skip slices, the outline was meant to be interpolated, and without that about half of the volume
    would be missing; a lone gap may be meant.
    """
    steps = list(pairwise(np.flatnonzero(planes.any(axis=(1, 2)))))
    skipped = Counter(int(b - a - 1) for a, b in steps if b - a > 1 and (planes[a] & planes[b]).any())
    if 2 * skipped.total() > len(steps):
        raise MaskError(
            f"{name}: {skipped.total()} of {len(steps)} steps from one outlined slice to the next skip slices; "
            "expected an outline on every slice: interpolate it where it was drawn and export it again"
        )
    blank = sum(count * slices for slices, count in skipped.items())
    were = "slices between outlines were" if blank > 1 else "slice between outlines was"
    return [Remark("contour_gaps", f"{blank} {were} left blank; nothing was filled in there")] if blank else []
