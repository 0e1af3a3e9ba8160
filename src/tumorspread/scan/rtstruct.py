"""The contours of a DICOM RT structure set as a mask: what a radiation oncologist drew, on the grid of its CT.

DICOM's world is ours (LPS mm), so points are taken as they stand. Attribute definitions: DICOM PS3.3 C.8.8.5
(structure set) and C.8.8.6 (ROI contour).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import RawDataElement

from tumorspread.errors import MaskError, ReadError
from tumorspread.scan.bundle import open_bundle, plain, plain_list
from tumorspread.scan.contour_planes import Planes, Points, fill_outlines, interpolate_outlines, usual_step
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, Header, read_dataset
from tumorspread.scan.dicom_values import fault
from tumorspread.scan.quiet import quiet
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
# Contours nearer than this share of the slice distance are in one plane: pieces and holes of one outline.
SAME_PLANE = 0.1
# Outlines are drawn on every second or third slice of 3 to 5 mm; further apart, what lies between is a guess.
MAX_STEP_MM = 12.0


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
    that neighbours share no voxel. Where the contours lie between the scan's slices, as those drawn on another series
    do, or skip slices at most steps, the outline is interpolated, see `interpolate_outlines`.

    Args:
        path: the file.
        scan: the CT that was drawn on, its axes in any order. Contours lie on its slices or parallel to them, along one
            of its axes.
        roi: the ROI's name, where several have closed contours.

    Returns:
        bool voxels on the scan's grid, with the scan's remarks and `contour_gaps`: some slices between outlines were
        left blank, and stay blank in the mask; or `contours_interpolated`.

    Raises:
        ReadError: missing, damaged, cut off, or not an RTSTRUCT.
        MaskError: no closed contours, several ROIs and none chosen, the chosen one absent or not closed, contours
            oblique to the slices, outside the scan or around no voxel centre, a single one off the slices, or outlines
            so far apart that what lies between is a guess.
    """
    name = plain(path.name)
    with quiet():
        try:
            chosen = _choose(name, _read_rois(path), roi)
            points_mm = [_points(name, contour) for contour in chosen.contours]
        except PYDICOM_FAULTS as error:
            raise ReadError(f"{name}: a damaged RTSTRUCT ({fault(error)}); export it again") from error
    turn = Reorientation.to_canonical(scan)
    upright = turn.apply(scan)
    contours = [np.round(upright.to_index(points), INDEX_DECIMALS) for points in points_mm]
    # Turning first makes the outcome for centres on an outline the same for every order of the file's axes.
    voxels, remarks = _rasterise(name, contours, upright, _slice_axis(contours))
    mask = scan.with_voxels(np.ascontiguousarray(turn.invert_array(voxels)))
    return replace(mask, remarks=(*scan.remarks, *remarks))


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


def _rasterise(name: str, contours: Sequence[Points], upright: Volume, axis: int) -> tuple[Planes, list[Remark]]:
    """The voxels inside, from points in fractional indices (z, y, x), and what to say about them."""
    count, size = upright.shape[axis], tuple(np.delete(upright.shape, axis))
    outlines: dict[float, list[Points]] = defaultdict(list)
    for points, place in zip(contours, _places(name, contours, upright.shape, axis), strict=True):
        outlines[place].append(np.delete(points, axis, axis=1))
    planes = {place: fill_outlines(outlines[place], size) for place in sorted(outlines)}
    planes = {place: plane for place, plane in planes.items() if plane.any()}
    if not planes:
        raise MaskError(f"{name}: its contours hold no centre of a voxel; they are too small for this scan")
    skipped = _skipped(planes)
    if all(place.is_integer() for place in planes) and 2 * skipped.total() < len(planes):
        across, remarks = np.zeros((count, *size), bool), _gap_remarks(skipped)
        for place, plane in planes.items():
            across[int(place)] = plane
    else:
        across, remarks = _interpolate(name, {place: outlines[place] for place in planes}, upright, axis)
    if not across.any():
        raise MaskError(f"{name}: its contours hold no centre of a voxel; they are too small for this scan")
    return np.moveaxis(across, 0, axis), remarks


def _places(name: str, contours: Sequence[Points], shape: Shape, axis: int) -> list[float]:
    """Where each contour lies along the axis: on the number of a slice, or if one does not, each between them."""
    for points in contours:
        _check_extent(name, points, shape)
    exact = [float(points[:, axis].mean()) for points in contours]
    slices = [float(np.clip(np.round(place), 0, shape[axis] - 1)) for place in exact]
    bends = [float(np.ptp(points[:, axis])) / 2 for points in contours]
    off = [float(np.abs(points[:, axis] - z).max()) for points, z in zip(contours, slices, strict=True)]
    if max(off) <= OFF_SLICE_TOLERANCE:
        return slices
    between = _merge(exact)
    if max(bends) > OFF_SLICE_TOLERANCE or len(set(between)) == 1:
        raise MaskError(
            f"{name}: a contour lies {max(off):.2f} of the slice distance off the nearest slice of the scan; expected "
            "contours on its slices, or several parallel to them; give the scan they were drawn on"
        )
    return between


def _merge(places: Sequence[float]) -> list[float]:
    """The places, with those that are the same but for rounding made one."""
    order = np.argsort(places)
    merged, held = [0.0] * len(places), -np.inf
    for index in order:
        if places[index] - held > SAME_PLANE:
            held = places[index]
        merged[index] = float(held)
    return merged


def _check_extent(name: str, points: Points, shape: Shape) -> None:
    beyond = np.maximum(-0.5 - points, points - (np.array(shape) - 0.5)).max()
    if beyond > OFF_SLICE_TOLERANCE:
        raise MaskError(
            f"{name}: a contour reaches {beyond:.1f} voxels beyond the scan; give the scan they were drawn on, whole"
        )


def _interpolate(
    name: str, outlines: dict[float, list[Points]], upright: Volume, axis: int
) -> tuple[Planes, list[Remark]]:
    """The slices from outlines on other planes, or on every second slice or fewer."""
    if len(outlines) == 1:
        raise MaskError(f"{name}: one outline that is on no slice; expected several, or the scan it was drawn on")
    usual = usual_step(list(outlines))
    step_mm = usual * upright.spacing_mm[axis]
    if step_mm > MAX_STEP_MM:
        raise MaskError(
            f"{name}: outlines {step_mm:.1f} mm apart that skip slices; expected an outline on every slice, or at most "
            f"{MAX_STEP_MM:g} mm between them: interpolate it where it was drawn and export it again"
        )
    shape, (row_mm, column_mm) = np.delete(upright.shape, axis), np.delete(upright.spacing_mm, axis)
    slices = interpolate_outlines(
        outlines, (upright.shape[axis], int(shape[0]), int(shape[1])), (float(row_mm), float(column_mm))
    )
    text = f"outlines on {len(outlines)} planes, {step_mm:.2f} mm apart, were interpolated onto the slices of the scan"
    return slices, [Remark("contours_interpolated", text)]


def _skipped(planes: dict[float, Planes]) -> Counter[int]:
    """How many slices are skipped between outlines that overlap, as parts of one tumour do."""
    steps = [(a, b) for a, b in pairwise(planes) if b - a > 1 and (planes[a] & planes[b]).any()]
    return Counter(int(b - a - 1) for a, b in steps)


def _gap_remarks(skipped: Counter[int]) -> list[Remark]:
    """Where few steps skip slices, the gap may be meant and stays blank; where most do, it is to be interpolated."""
    blank = sum(count * slices for slices, count in skipped.items())
    were = "slices between outlines were" if blank > 1 else "slice between outlines was"
    return [Remark("contour_gaps", f"{blank} {were} left blank; nothing was filled in there")] if blank else []
