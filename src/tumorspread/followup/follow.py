"""Lesions over time, the whole story: scans in order, each registered to the next, lesions matched, tracks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from tumorspread._version import __version__
from tumorspread.errors import MaskError, ReadError
from tumorspread.followup.matching import Match, match_lesions
from tumorspread.followup.record import FollowUp
from tumorspread.followup.recurrence import find_absences, shows
from tumorspread.followup.registration import Registration, register
from tumorspread.followup.time_points import History, build_time_points
from tumorspread.followup.tracks import build_tracks, expect_places
from tumorspread.measurement.findings import Findings
from tumorspread.pipeline import Analysis, measure
from tumorspread.scan.dicom import Tilt
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.read import read, read_labels
from tumorspread.scan.volume import Remark, Reorientation, Volume

MARGIN_MM = 20.0


@dataclass(frozen=True, eq=False)
class Visit:
    """One scan of a patient, measured.

    Attributes:
        findings: what was measured.
        lesions: label map, ids as in the findings.
        lungs: label map on the same grid; None where they are unknown.
        scan: HU on the same grid; None where only a result folder is at hand.
    """

    findings: Findings
    lesions: Volume
    lungs: Volume | None
    scan: Volume | None

    @classmethod
    def of(cls, analysis: Analysis) -> Visit:
        """The visit of an analysis."""
        return cls(analysis.findings, analysis.lesions, analysis.lungs, analysis.scan)


@dataclass(frozen=True, eq=False)
class Course:
    """A patient's scans over time with what was found; what a report is made of.

    Attributes:
        followup: the numbers.
        visits: the scans in the order of time.
        registrations: of each scan with the next, from the points of the later to those of the earlier.
    """

    followup: FollowUp
    visits: tuple[Visit, ...]
    registrations: tuple[Registration, ...]


def open_visit(place: str) -> Visit:
    """A visit from the command line.

    Args:
        place: `RESULT` (a folder of `analyse` or `measure`), `RESULT,SCAN`, or `SCAN,MASK`.

    Raises:
        ReadError, GeometryError, MaskError: something of it is missing, damaged, or lies on another grid.
    """
    first, second = _split_place(place)
    if not _is_there(first):
        raise ReadError(f"{first[:120]}: no such file or folder; expected RESULT, RESULT,SCAN or SCAN,MASK")
    folder = Path(first)
    if (folder / "findings.json").is_file():
        return open_result(folder, Path(second) if second else None)
    if not second:
        raise ReadError(f"{first}: no result folder; expected RESULT, RESULT,SCAN or SCAN,MASK")
    return Visit.of(measure(first, second))


def _split_place(place: str) -> tuple[str, str]:
    """The two halves at the comma that leaves a file or folder on both sides; names may hold commas too."""
    if _is_there(place):
        return place, ""
    parts = place.split(",")
    halves = [(",".join(parts[:n]), ",".join(parts[n:])) for n in range(1, len(parts))]
    both = [(one, other) for one, other in halves if _is_there(one) and _is_there(other)]
    return (both or halves or [(place, "")])[0]


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name that is too long for a file is none
        return False


def open_result(folder: Path, scan: Path | None = None, *, series: str | None = None, tilt: Tilt = "resample") -> Visit:
    """A visit from a result folder.

    Args:
        folder: of `analyse` or `measure`.
        scan: that it was made of; None leaves the lungs alone to register by.
        series, tilt: as it was read then, see `read`.

    Raises:
        ReadError, GeometryError, MaskError: something of it is missing, damaged, or lies on another grid.
    """
    try:
        text = (folder / "findings.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{folder.name}: findings.json cannot be read ({error}); make the result anew") from error
    findings = Findings.from_json(text)
    lesions = read_nifti(folder / "lesions.nii.gz")
    labels = np.unique(lesions.voxels[lesions.voxels > 0]).tolist()
    if labels != [lesion.id for lesion in findings.lesions]:
        raise MaskError(f"{folder.name}: lesions.nii.gz and findings.json hold different lesions; make them anew")
    path = folder / "lungs.nii.gz"
    lungs = read_labels(path, lesions) if path.is_file() else None
    volume = read(scan, series=series, tilt=tilt) if scan is not None else None
    if volume is not None and not volume.same_grid(lesions):
        raise MaskError(f"{scan}: not the scan of {folder.name}: it lies on another grid")
    return Visit(findings, lesions, lungs if lungs is not None and lungs.voxels.any() else None, volume)


def follow(
    visits: Sequence[Visit],
    *,
    days: Sequence[float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Course:
    """Follow the lesions of one patient.

    Args:
        visits: two or more, in the order of time; the first is the baseline.
        days: of each visit, ascending; the first counts as 0. None where unknown.
        progress: called with (pairs of scans registered, pairs in all).

    Raises:
        ReadError: fewer than two visits, or days that are not ascending or not as many.
        MaskError: two scans with neither images nor lungs to register by.
    """
    if len(visits) < 2:
        raise ReadError(f"found {len(visits)} scan; expected the baseline and at least one later scan")
    if days is not None and (len(days) != len(visits) or not (np.diff(days) > 0).all()):
        raise ReadError(f"found the days {', '.join(f'{d:g}' for d in days)}; expected {len(visits)}, ascending")
    since = None if days is None else [float(day - days[0]) for day in days]
    registrations, matches = [], []
    for number, (before, after) in enumerate(pairwise(visits), 1):
        registrations.append(_register(before, after))
        matches.append(_match(before, after, registrations[-1]))
        if progress is not None:
            progress(number, len(visits) - 1)
    findings = [visit.findings for visit in visits]
    absences = find_absences(findings, matches, registrations, [visit.lesions for visit in visits])
    tracks = expect_places(build_tracks(findings, matches, since, absences), registrations)
    followup = FollowUp(
        software=f"tumorspread {__version__}",
        time_points=build_time_points(History(findings, tracks, matches, absences, registrations), since),
        tracks=tracks,
        warnings=tuple(_warnings(visits, registrations)),
    )
    return Course(followup, tuple(visits), tuple(registrations))


def _register(before: Visit, after: Visit) -> Registration:
    """The way from points of the later scan to those of the earlier one."""
    scans = after.scan is not None and before.scan is not None
    lungs = after.lungs is not None and before.lungs is not None
    if not scans and not lungs:
        raise MaskError(
            f"{before.findings.scan.source}, {after.findings.scan.source}: neither both scans nor both lungs are at "
            "hand to register; name each as RESULT,SCAN or SCAN,MASK"
        )
    return register(after.scan, before.scan, after.lungs, before.lungs)


def _match(before: Visit, after: Visit, registration: Registration) -> tuple[Match, ...]:
    if not before.findings.lesions and not after.findings.lesions:
        return ()
    ids = [lesion.id for lesion in before.findings.lesions]
    back = [registration.map_back(lesion.centroid_mm) for lesion in before.findings.lesions]
    there = [registration.map_points(lesion.centroid_mm) for lesion in after.findings.lesions]
    grid = _around(after, np.array(back).reshape(-1, 3))
    brought = registration.bring(before.lesions, grid)
    return match_lesions(
        np.asarray(brought.voxels),
        np.asarray(grid.voxels),
        grid.spacing_mm,
        ids_before=ids,
        outside_before=[n for n, point in zip(ids, back, strict=True) if not shows(after.lesions, point)],
        outside_after=[
            lesion.id
            for lesion, point in zip(after.findings.lesions, there, strict=True)
            if not shows(before.lesions, point)
        ],
    )


def _around(visit: Visit, points_mm: np.ndarray) -> Volume:
    """The box of the later label map around its lesions and where the earlier ones are expected."""
    places = [visit.lesions.to_index(points_mm)]
    for axis in range(3):
        filled = np.flatnonzero((visit.lesions.voxels > 0).any(tuple({0, 1, 2} - {axis})))
        if len(filled):
            ends = np.tile(np.array(visit.lesions.shape) / 2, (2, 1))
            ends[:, axis] = filled[[0, -1]]
            places.append(ends)
    margin = [_largest_mm(visit) / mm for mm in visit.lesions.spacing_mm]
    index = np.concatenate(places)
    last = np.array(visit.lesions.shape)
    start = np.clip(np.floor(index.min(axis=0) - margin), 0, last - 1).astype(int)
    stop = np.clip(np.ceil(index.max(axis=0) + margin) + 1, start + 1, last).astype(int)
    return visit.lesions.crop(start.tolist(), stop.tolist())


def _largest_mm(visit: Visit) -> float:
    """Room for the largest lesion about its centre, and for what registration is off by."""
    return MARGIN_MM + max((lesion.max_3d_mm or lesion.long_axis_mm for lesion in visit.findings.lesions), default=60.0)


def _warnings(visits: Sequence[Visit], registrations: Sequence[Registration]) -> list[Remark]:
    named = []
    for visit, registration in zip(visits[1:], registrations, strict=True):
        source = visit.findings.scan.source
        named += [replace(remark, text=f"{source}: {remark.text}") for remark in registration.remarks]
    slices = {
        round(Reorientation.to_canonical(visit.lesions).apply(visit.lesions).spacing_mm[0], 1) for visit in visits
    }
    if max(slices) > 1.5 * min(slices):
        text = f"the scans have slices of {min(slices):g} to {max(slices):g} mm: part of a change may be theirs"
        named.append(Remark("slices_differ", text))
    return named
