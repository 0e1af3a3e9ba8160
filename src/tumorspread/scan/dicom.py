"""A DICOM CT series as a `Volume`, straight from its tags.

DICOM's world is ours (LPS mm), so positions and directions are taken as they stand; what cannot be measured
right is refused by `dicom_gate`, never averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from tumorspread.errors import GeometryError, ReadError
from tumorspread.scan.bundle import Bundle, plain, plain_list
from tumorspread.scan.dicom_dir import Lost, open_dicom
from tumorspread.scan.dicom_frames import Header, read_dataset, read_header
from tumorspread.scan.dicom_gate import Stack
from tumorspread.scan.dicom_pixels import PIXEL_TAGS, read_hu
from tumorspread.scan.dicom_series import Found, Series, choose_series, describe, find_series
from tumorspread.scan.dicom_tilt import check_upright, stand_upright
from tumorspread.scan.dicom_values import HEADER_TAGS, shown
from tumorspread.scan.quiet import quiet
from tumorspread.scan.volume import Remark, Volume

Tilt = Literal["resample", "refuse"]

# Slices further apart than this multiple of their thickness leave tissue unseen between them.
GAP_RATIO = 1.1


@dataclass(frozen=True, eq=False)
class Opened:
    """The DICOM files at a path.

    Attributes:
        bundle: the files.
        lost: those that a DICOMDIR there lists in vain.
        slices: headers of the CT slices, without copies.
        others: headers of all other objects: scouts, structure sets, reports, other modalities.
        remarks: on copies.
    """

    bundle: Bundle
    lost: Lost
    slices: tuple[Header, ...]
    others: tuple[Header, ...]
    remarks: tuple[Remark, ...]


def read_dicom(path: Path, *, series: str | None = None, tilt: Tilt = "resample") -> Volume:
    """Read one CT series: a folder (searched with its folders), a zip, a DICOMDIR, or an enhanced multi-frame file.

    Args:
        path: folder, zip or file. Files that are not DICOM, objects that are not CT images (structure sets,
            segmentations, reports) and localizers are passed over.
        series: SeriesInstanceUID, or a unique ending of it, where there are several; by default see `choose_series`.
        tilt: what to do with a tilted gantry: bring the slices to an upright grid (see `stand_upright`), or refuse.

    Returns:
        HU as int16, or float32 where int16 cannot hold them; array axis 0 along the slices' normal (to the
        head in an axial series), axis 1 down the image, axis 2 across. Remarks: `series_chosen`, `stray_slices`,
        `copied_slices`, `lossy_compression`, `slice_gaps`, `monochrome1`, `gantry_tilt_tag`, `gantry_tilt_resampled`.

    Raises:
        ReadError: nothing of CT there, several series and no choice beyond doubt, a damaged file, one that a DICOMDIR
            lists and that is not there, pixels that cannot be decoded, no HU.
        GeometryError: slices missing, doubled, unevenly spaced, of mixed kinds, only one, or tilted and refused.
    """
    with _open(path) as opened:
        bundle = opened.bundle
        chosen, choice = _choose(opened, series)
        stack = _stack(bundle.name, chosen)
        if tilt == "refuse":
            check_upright(bundle.name, stack)
        volume = stand_upright(read_hu(bundle, stack.frames), stack)
        remarks = (*choice, *opened.remarks, *volume.remarks, *_remarks(chosen.headers, stack))
    return replace(volume, remarks=remarks)


def list_series(path: Path) -> tuple[Series, ...]:
    """The series at a path that `read_dicom` takes, CT first: what they are, and why they cannot be read.

    Raises:
        ReadError: nothing of DICOM there, or a damaged file.
    """
    with _open(path) as opened:
        if not opened.slices and not opened.others:
            raise ReadError(f"{opened.bundle.name}: no DICOM files in it; give the folder of a scan")
        return describe(find_series(opened.slices), opened.others, opened.lost)


def find_stack(path: Path, *, series: str | None = None) -> Stack:
    """The slices of the series that `read_dicom` reads: in which files of the bundle they are, and on which grid.

    Raises:
        ReadError, GeometryError: as `read_dicom`, as far as headers go.
    """
    with _open(path) as opened:
        return _stack(opened.bundle.name, _choose(opened, series)[0])


@contextmanager
def _open(path: Path) -> Iterator[Opened]:
    with open_dicom(path) as (bundle, lost), quiet():
        headers = [header for file in bundle.files if (header := _header(bundle, file)) is not None]
        nameless = [header.file for header in headers if not header.text("SOPClassUID")]
        if nameless:
            raise ReadError(
                f"{bundle.name}: damaged DICOM files without a SOPClassUID: {plain_list(nameless)}; copy or export "
                "them again, or take them away"
            )
        slices, copies = _without_copies(bundle, [header for header in headers if header.is_ct_slice])
        others = tuple(header for header in headers if not header.is_ct_slice)
        yield Opened(bundle, lost, slices, others, copies)


def _header(bundle: Bundle, file: str) -> Header | None:
    """The header of a file to read; one that claims to be DICOM by its name alone may be a lost slice."""
    name = PurePosixPath(file).name.lower()
    if name.startswith("dicomdir"):
        return None
    header = read_header(bundle, file)
    if header is None and name.endswith(".dcm"):
        raise ReadError(f"{bundle.name}: {plain(file)} is empty or not DICOM; copy it again or take it away")
    return header


def _without_copies(bundle: Bundle, headers: Sequence[Header]) -> tuple[tuple[Header, ...], tuple[Remark, ...]]:
    """One header for each SOP instance; files that repeat one pixel for pixel are left out and named."""
    firsts: dict[str, Header] = {}
    copies: list[str] = []
    for header in headers:
        first = firsts.setdefault(header.text("SOPInstanceUID") or header.file, header)
        if first is header:
            continue
        tags = [*HEADER_TAGS, *PIXEL_TAGS]
        one, other = (read_dataset(bundle, h.file, tags, pixels=True) for h in (first, header))
        if one != other:
            raise ReadError(
                f"{bundle.name}: {plain_list([first.file, header.file])} have one SOPInstanceUID but differ; "
                "keep the right one"
            )
        copies.append(header.file)
    text = f"{len(copies)} files repeat others exactly and were left out: {plain_list(copies)}"
    return tuple(firsts.values()), (Remark("copied_slices", text),) if copies else ()


def _choose(opened: Opened, series: str | None) -> tuple[Found, list[Remark]]:
    name = opened.bundle.name
    if not opened.slices:
        kinds = Counter("localizer" if h.is_localizer else h.text("Modality") or "unknown" for h in opened.others)
        listed = ", ".join(f"{count} {shown(kind)}" for kind, count in sorted(kinds.items())) or "none"
        raise ReadError(f"{name}: no CT slices; DICOM files found: {listed}; expected a CT series, give its folder")
    chosen, remarks = choose_series(name, find_series(opened.slices), series)
    lost = opened.lost.of(chosen.uid, is_chosen=series is not None)
    if lost:
        raise ReadError(
            f"{name}: files that the DICOMDIR lists are not there: {plain_list(lost)}; copy the whole "
            "medium, or choose a whole series with --series UID"
        )
    return chosen, remarks


def _stack(name: str, chosen: Found) -> Stack:
    if chosen.stack is not None:
        return chosen.stack
    if isinstance(chosen.fault, GeometryError):
        raise GeometryError(f"{plain(name)}: {chosen.fault}") from chosen.fault
    raise ReadError(f"{chosen.fault}") from chosen.fault


def _remarks(headers: Sequence[Header], stack: Stack) -> list[Remark]:
    remarks: list[Remark] = []
    lossy = sum(header.is_lossy for header in headers)
    if lossy:
        text = f"{lossy} of {len(headers)} files were compressed with loss; HU may be off by tens"
        remarks.append(Remark("lossy_compression", text))
    if any(header.text("PhotometricInterpretation") == "MONOCHROME1" for header in headers):
        # PS3.3 C.7.6.3.1.2: it inverts the display alone, so HU are taken as stored.
        remarks.append(Remark("monochrome1", "stored as MONOCHROME1; HU were taken as stored, not inverted"))
    thickness = stack.frames[0].thickness_mm
    if thickness and stack.step_mm > GAP_RATIO * thickness:
        text = f"slices {thickness:g} mm thick lie {stack.step_mm:.2f} mm apart; tissue between was not imaged"
        remarks.append(Remark("slice_gaps", text))
    tilts = {header.text("GantryDetectorTilt") for header in headers}
    is_level = abs(stack.affine[2, 0]) >= 0.9999 * stack.step_mm and stack.tilt_degrees == 0
    if is_level and any(_is_tilted(tilt) for tilt in tilts):
        text = "the header names a gantry tilt, but its slices lie upright; the tilt was taken as corrected"
        remarks.append(Remark("gantry_tilt_tag", text))
    return remarks


def _is_tilted(tilt: str) -> bool:
    try:
        return abs(float(tilt)) > 0.1
    except ValueError:
        return False
