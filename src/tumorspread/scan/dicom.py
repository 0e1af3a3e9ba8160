"""A DICOM CT series as a `Volume`, straight from its tags.

DICOM's world is ours (LPS mm), so positions and directions are taken as they stand; what cannot be measured
right is refused by `dicom_gate`, never averaged.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from tumorspread.errors import GeometryError, ReadError, TumorspreadError
from tumorspread.scan.bundle import Bundle, open_bundle, plain, plain_list
from tumorspread.scan.dicom_frames import HEADER_TAGS, Frame, Header, frames_of, read_dataset
from tumorspread.scan.dicom_gate import Stack, extent_mm, stack_frames
from tumorspread.scan.dicom_pixels import PIXEL_TAGS, read_hu
from tumorspread.scan.volume import Remark, Volume

# Another series counts as a few stray slices when it spans no more than this share of the complete one.
STRAY_SHARE = 0.25
# Slices further apart than this multiple of their thickness leave tissue unseen between them.
GAP_RATIO = 1.1


def read_dicom(path: Path, *, series: str | None = None) -> Volume:
    """Read one CT series: a folder (searched with its folders), a zip, or an enhanced multi-frame file.

    Args:
        path: folder, zip or file. Files that are not DICOM, objects that are not CT images (structure sets,
            segmentations, reports) and localizers are passed over.
        series: SeriesInstanceUID, or a unique ending of it, where there are several.

    Returns:
        HU as int16, or float32 where int16 cannot hold them; array axis 0 along the slices' normal (to the
        head in an axial series), axis 1 down the image, axis 2 across. Remarks: `lossy_compression`,
        `stray_slices`, `copied_slices`, `slice_gaps`, `monochrome1`, `gantry_tilt_tag`.

    Raises:
        ReadError: nothing of CT there, several series, a damaged file, pixels that cannot be decoded, no HU.
        GeometryError: slices missing, doubled, unevenly spaced, tilted, of mixed kinds, or only one.
    """
    with open_bundle(path) as bundle, warnings.catch_warnings():
        # pydicom warns whenever a damaged value is touched, with the value itself in the text.
        warnings.simplefilter("ignore")
        headers, copies = _without_copies(bundle, _ct_headers(bundle))
        by_series = _by_series(headers)
        uid, strays = _choose_series(bundle.name, by_series, series)
        chosen = by_series[uid]
        stack = _stack(bundle.name, chosen)
        voxels = read_hu(bundle, stack.frames)
    return Volume(voxels, stack.affine, (*strays, *copies, *_remarks(chosen, stack)))


def find_uid(path: Path, *, series: str | None = None) -> str:
    """The SeriesInstanceUID of the series that `read_dicom` would read, where one can be chosen.

    Raises:
        ReadError: as `read_dicom`, as far as the choice goes.
    """
    with open_bundle(path) as bundle, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _choose_series(bundle.name, _by_series(_ct_headers(bundle)), series)[0]


def _by_series(headers: Sequence[Header]) -> dict[str, list[Header]]:
    by_series: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        by_series[header.text("SeriesInstanceUID")].append(header)
    return by_series


def _ct_headers(bundle: Bundle) -> list[Header]:
    files = [file for file in bundle.files if _is_dicom(bundle, file)]
    headers = [Header(file, read_dataset(bundle, file, HEADER_TAGS, pixels=False)) for file in files]
    nameless = [header.file for header in headers if not header.text("SOPClassUID")]
    if nameless:
        raise ReadError(f"{bundle.name}: damaged DICOM files without a SOPClassUID: {plain_list(nameless)}")
    found = [header for header in headers if header.is_ct_slice]
    if not found:
        kinds = Counter("localizer" if h.is_localizer else h.text("Modality") or "unknown" for h in headers)
        shown = ", ".join(f"{count} {plain(kind)}" for kind, count in sorted(kinds.items())) or "none"
        raise ReadError(f"{bundle.name}: no CT slices; DICOM files found: {shown}; expected a CT series")
    return found


def _is_dicom(bundle: Bundle, file: str) -> bool:
    """Whether to read the file; one that claims to be DICOM by its name alone may be a lost slice."""
    name = PurePosixPath(file).name.lower()
    if name.startswith("dicomdir"):
        return False
    if bundle.kind(file) == "dicom":
        return True
    if name.endswith(".dcm"):
        raise ReadError(f"{bundle.name}: {plain(file)} is empty or not DICOM; copy it again or take it away")
    return False


def _without_copies(bundle: Bundle, headers: Sequence[Header]) -> tuple[list[Header], list[Remark]]:
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
    return list(firsts.values()), [Remark("copied_slices", text)] if copies else []


def _choose_series(
    name: str, by_series: Mapping[str, Sequence[Header]], wanted: str | None
) -> tuple[str, list[Remark]]:
    """The UID of the series to read, and a remark on stray slices of others."""
    if wanted is not None:
        matches = [uid for uid in by_series if wanted and uid.endswith(wanted)]
        if len(matches) != 1:
            raise ReadError(f"{name}: {len(matches)} CT series end in {plain(wanted)!r}; found {_listed(by_series)}")
        return matches[0], []
    if len(by_series) == 1:
        return next(iter(by_series)), []
    main = [uid for uid in by_series if _is_alone_complete(uid, by_series)]
    if len(main) != 1:
        raise ReadError(
            f"{name}: {len(by_series)} CT series; expected one, choose with --series UID (or its ending): "
            f"{_listed(by_series)}"
        )
    strays = [h.file for uid, headers in by_series.items() if uid != main[0] for h in headers]
    text = f"{len(strays)} stray slices of other series were left out: {plain_list(strays)}"
    return main[0], [Remark("stray_slices", text)]


def _is_alone_complete(uid: str, by_series: Mapping[str, Sequence[Header]]) -> bool:
    """Whether this series is a complete stack and every other spans only a small share of it."""
    try:
        reach = extent_mm(stack_frames(_frames(by_series[uid])).frames)
        others = [extent_mm(_frames(headers)) for key, headers in by_series.items() if key != uid]
    except TumorspreadError:
        return False
    return all(other <= STRAY_SHARE * reach for other in others)


def _listed(by_series: Mapping[str, Sequence[Header]]) -> str:
    """UID, series number and number of files of the largest eight series."""
    largest = sorted(by_series, key=lambda uid: -len(by_series[uid]))
    return plain_list(_entry(uid, by_series[uid]) for uid in largest)


def _entry(uid: str, headers: Sequence[Header]) -> str:
    number = headers[0].text("SeriesNumber") or "none"
    return f"{uid or 'no UID'} (number {number}, {len(headers)} file{'s' * (len(headers) > 1)})"


def _frames(headers: Sequence[Header]) -> list[Frame]:
    return [frame for header in headers for frame in frames_of(header)]


def _stack(name: str, headers: Sequence[Header]) -> Stack:
    try:
        return stack_frames(_frames(headers))
    except GeometryError as error:
        raise GeometryError(f"{plain(name)}: {error}") from error


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
    if any(_is_tilted(tilt) for tilt in tilts) and abs(stack.affine[2, 0]) >= 0.9999 * stack.step_mm:
        text = "the header names a gantry tilt, but its slices lie upright; the tilt was taken as corrected"
        remarks.append(Remark("gantry_tilt_tag", text))
    return remarks


def _is_tilted(tilt: str) -> bool:
    try:
        return abs(float(tilt)) > 0.1
    except ValueError:
        return False
