"""The series in a folder: a table of them, and which one to read where nobody chose.

A study holds the same chest several times, thick and thin, soft and sharp, beside scouts, reformats and reports. The
choice is made only where it is beyond doubt: one patient's one study, and one series thinner than all others that show
as much.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tumorspread.errors import ReadError, TumorspreadError
from tumorspread.scan.bundle import plain, plain_list
from tumorspread.scan.dicom_dir import Lost
from tumorspread.scan.dicom_frames import Frame, Header, frames_of
from tumorspread.scan.dicom_gate import Stack, extent_mm, stack_frames
from tumorspread.scan.dicom_values import shown
from tumorspread.scan.volume import Remark

# Another series counts as a few stray slices when it spans no more than this share of the complete one.
STRAY_SHARE = 0.25
# A series that shows less than this share of the largest one, along or across the slices, is a part of the chest.
WHOLE_SHARE = 0.75
# Slices are thinner than others when they are so by more than this share: positions are often rounded.
SAME_THICKNESS = 0.02
# A tilted gantry leans by up to 30 degrees; the cosine of 32.
ALONG_AXIS = 0.85
# What shows more may be a chest in itself, in a scan that goes on to the pelvis: then the choice is in doubt.
CHEST_MM = 200.0
# Words of descriptions, kernels and image types of what is neither soft-tissue nor lung CT, nor made of plain slices:
# other kernels and parts of the body, projections and reformats, maps, CT for attenuation correction.
UNSUITED_WORDS = {
    "BONE", "BONEPLUS", "BONES", "OSSEOUS", "SPINE", "BRAIN", "HEAD", "SKULL", "MIP", "MINIP", "MPR", "PROJECTION",
    "REFORMATTED", "REFORMAT", "VRT", "PERFUSION", "SUBTRACTION", "IODINE", "VNC", "AC", "CTAC", "ATTENUATION",
}  # fmt: skip
# Siemens' kernels for heads: H30s, Hr40f, Hc40.
HEAD_KERNEL = re.compile(r"H[a-z]?\d\d", re.ASCII)
# Soft tissue: Siemens' B30f, I40f, Br36d; GE's names; Philips' A to C; Canon's FC01 to FC19.
SOFT_KERNEL = re.compile(r"[BIQ][a-z]?[234]\d[a-z]*|STANDARD|STND|SOFT|[ABC]|FC[01]\d", re.ASCII)


@dataclass(frozen=True)
class Series:
    """A row of the table of series.

    Attributes:
        uid: SeriesInstanceUID; empty where the files have none.
        number: SeriesNumber, as it stands there.
        description: SeriesDescription, free text.
        kind: modality; `localizer` for scouts.
        plane: of CT: axial, coronal, sagittal or oblique.
        slices: of CT, else the number of files.
        size: rows, columns; None for what is not CT.
        spacing_mm: between slices, rows and columns; None where the slices make no stack.
        thickness_mm: of a slice; None where it is not given.
        kernel: ConvolutionKernel.
        problem: why it cannot be read; None for a complete stack of CT slices.
    """

    uid: str
    number: str
    description: str
    kind: str
    plane: str
    slices: int
    size: tuple[int, int] | None
    spacing_mm: tuple[float, float, float] | None
    thickness_mm: float | None
    kernel: str
    problem: str | None

    @property
    def is_complete(self) -> bool:
        """Whether it can be read."""
        return self.problem is None


@dataclass(frozen=True, eq=False)
class Found:
    """One series among the files: headers of one kind, the slices in them, and the stack they make or why not.

    Attributes:
        headers: of its files.
        frames: of CT, where every file has its place.
        stack: where the slices make one.
        fault: why they make none.
    """

    headers: tuple[Header, ...]
    frames: tuple[Frame, ...]
    stack: Stack | None
    fault: TumorspreadError | None

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.headers[0].text("SeriesInstanceUID")

    @property
    def number(self) -> str:
        """SeriesNumber, or `none`."""
        return self.headers[0].text("SeriesNumber") or "none"

    @property
    def extent_mm(self) -> float:
        """Largest distance between two slices; 0 where their places are unknown."""
        return extent_mm(self.frames) if self.frames else 0.0

    @property
    def across_mm(self) -> float:
        """The shorter edge of a slice; 0 where it is unknown."""
        return min(
            (n * mm for f in self.frames[:1] for n, mm in zip(f.size, f.pixel_spacing_mm, strict=True)), default=0
        )

    @property
    def plane(self) -> str:
        """axial, coronal, sagittal or oblique; empty where it is unknown."""
        if not self.frames:
            return ""
        normal = np.abs(np.cross(*np.reshape(self.frames[0].orientation, (2, 3))))
        return ("sagittal", "coronal", "axial")[int(normal.argmax())] if normal.max() >= ALONG_AXIS else "oblique"


def find_series(headers: Sequence[Header]) -> list[Found]:
    """The CT series among headers of CT slices, in the order of their files."""
    by_uid: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        by_uid[header.text("SeriesInstanceUID")].append(header)
    return [_find(tuple(own)) for own in by_uid.values()]


def _find(headers: tuple[Header, ...]) -> Found:
    frames: tuple[Frame, ...] = ()
    try:
        frames = tuple(frame for header in headers for frame in frames_of(header))
        return Found(headers, frames, stack_frames(frames), None)
    except TumorspreadError as fault:
        return Found(headers, frames, None, fault)


def choose_series(name: str, found: Sequence[Found], wanted: str | None) -> tuple[Found, list[Remark]]:
    """The series to read, and a remark on what was left out where nobody chose.

    Args:
        name: of the folder, for messages.
        found: its CT series, at least one.
        wanted: SeriesInstanceUID, or a unique ending of it; None for the only one, the only one beside a few stray
            slices, or the thinnest complete axial soft-tissue or lung CT that shows as much of the chest as any other;
            of two as thin, the one whose kernel is known as one for soft tissue.

    Raises:
        ReadError: `wanted` is not one of them, or without it the choice is in doubt.
    """
    if wanted is not None:
        matches = [one for one in found if wanted and one.uid.endswith(wanted)]
        if len(matches) != 1:
            raise ReadError(
                f"{name}: {len(matches)} CT series end in {plain(wanted)!r}; expected 1, found {_listed(found)}"
            )
        return matches[0], []
    if len(found) == 1:
        return found[0], []
    main = [one for one in found if _is_alone_complete(one, found)]
    if len(main) == 1:
        strays = [header.file for one in found if one is not main[0] for header in one.headers]
        text = f"{len(strays)} stray slices of other series were left out: {plain_list(strays)}"
        return main[0], [Remark("stray_slices", text)]
    thinnest = _thinnest(found)
    if thinnest is None:
        raise ReadError(
            f"{name}: {len(found)} CT series, none beyond doubt; expected one, choose with --series UID (or its end): "
            f"{_listed(found)}"
        )
    text = f"{_entry(thinnest)} was read of {len(found)} CT series, as the thinnest complete axial one of the chest"
    return thinnest, [Remark("series_chosen", text)]


def _is_alone_complete(one: Found, found: Sequence[Found]) -> bool:
    """Whether this series is a complete stack and every other spans only a small share of it."""
    others = [other for other in found if other is not one]
    if one.stack is None or not all(other.frames for other in others):
        return False
    return all(other.extent_mm <= STRAY_SHARE * one.extent_mm for other in others)


def _thinnest(found: Sequence[Found]) -> Found | None:
    """The complete axial series that is thinner than every other, or the soft one of several so; None in doubt."""
    if len({one.headers[0].text("StudyInstanceUID") for one in found}) > 1:
        return None
    axial = [one for one in found if one.plane == "axial" and _is_suited(one)]
    reach = max((one.extent_mm for one in axial), default=0)
    width = max((one.across_mm for one in axial), default=0)
    wide = [one for one in axial if one.stack is not None and one.across_mm >= WHOLE_SHARE * width]
    whole = [one for one in wide if one.extent_mm >= WHOLE_SHARE * reach]
    if not whole:
        return None
    best = min(whole, key=_thickness)
    if any(_thickness(one) < _thickness(best) and one.extent_mm >= CHEST_MM for one in wide):
        return None
    limits = [mm * (1 + SAME_THICKNESS) for mm in _thickness(best)]
    ties = [one for one in whole if all(mm <= limit for mm, limit in zip(_thickness(one), limits, strict=True))]
    soft = [one for one in ties if SOFT_KERNEL.fullmatch(_kernel(one))]
    left = soft if len(ties) > 1 else ties
    return left[0] if len(left) == 1 else None


def _thickness(one: Found) -> tuple[float, float]:
    """What a slice mixes or leaves out, in mm; and, where slices overlap, how finely they lie."""
    step = one.stack.step_mm if one.stack is not None else np.inf
    return max(step, one.frames[0].thickness_mm or 0), step


def _kernel(one: Found) -> str:
    """Its first value; the others are strengths of filters."""
    return one.headers[0].text("ConvolutionKernel").split("\\")[0]


def _is_suited(one: Found) -> bool:
    header, kernel = one.headers[0], _kernel(one)
    texts = (kernel, header.text("SeriesDescription"), header.text("ImageType"))
    words = set(re.findall("[A-Z]+", " ".join(texts).upper()))
    return not words & UNSUITED_WORDS and not HEAD_KERNEL.match(kernel)


def _listed(found: Sequence[Found]) -> str:
    """The largest eight series in one line."""
    largest = sorted(found, key=lambda one: -len(one.headers))
    entries = [f"{_entry(one)} {shown(one.uid) or 'no UID'}" for one in largest]
    rest = f" and {len(entries) - 8} more" if len(entries) > 8 else ""
    return ", ".join(entries[:8]) + rest


def _entry(one: Found) -> str:
    """Number and slices of a series, without its description: that is free text, which may name a patient."""
    count = len(one.frames) or len(one.headers)
    step = f" {one.stack.step_mm:.4g} mm apart" if one.stack is not None else " that make no stack"
    kernel = one.headers[0].text("ConvolutionKernel")
    sharpness = f", kernel {shown(kernel)}" if kernel else ""
    return f"series {shown(one.number)} ({count} slice{'s' * (count > 1)}{step}{sharpness})"


def describe(found: Sequence[Found], others: Sequence[Header], lost: Lost) -> tuple[Series, ...]:
    """The table: a row for each series, CT first, then by number."""
    rows = [_describe_ct(one, lost.of(one.uid, is_chosen=True)) for one in found]
    by_kind: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in others:
        kind = "localizer" if header.is_localizer else header.text("Modality") or "unknown"
        by_kind[header.text("SeriesInstanceUID"), kind].append(header)
    rows += [_describe_other(kind, headers) for (_, kind), headers in by_kind.items()]
    return tuple(sorted(rows, key=lambda row: (row.kind != "CT", row.number.rjust(12), row.uid)))


def _describe_ct(one: Found, lost: Sequence[str]) -> Series:
    problem = str(one.fault) if one.fault is not None else None
    if problem is None and lost:
        problem = f"files that the DICOMDIR lists are not there: {plain_list(lost)}"
    first = one.frames[0] if one.frames else None
    spacing = None
    if one.stack is not None:
        spacing = (one.stack.step_mm, *one.stack.frames[0].pixel_spacing_mm)
    return _row(one.headers[0], "CT", len(one.frames) or len(one.headers), problem, first, spacing, one.plane)


def _describe_other(kind: str, headers: Sequence[Header]) -> Series:
    return _row(headers[0], kind, len(headers), "not a CT of slices", None, None, "")


def _row(
    header: Header,
    kind: str,
    count: int,
    problem: str | None,
    frame: Frame | None,
    spacing_mm: tuple[float, float, float] | None,
    plane: str,
) -> Series:
    return Series(
        uid=header.text("SeriesInstanceUID"),
        number=header.text("SeriesNumber"),
        description=header.text("SeriesDescription"),
        kind=kind,
        plane=plane,
        slices=count,
        size=None if frame is None else frame.size,
        spacing_mm=spacing_mm,
        thickness_mm=None if frame is None else frame.thickness_mm,
        kernel=header.text("ConvolutionKernel"),
        problem=problem,
    )
