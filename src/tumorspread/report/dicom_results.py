"""The answer back into DICOM: what a PACS can file beside the scan, and a viewer can lay over it.

`seg.dcm` holds the outlines, `report-sr.dcm` the numbers (TID 1500), `rtstruct.dcm` on request the contours. They carry
the patient, study and frame of reference of the scan.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tumorspread.errors import GeometryError, OutputError, ReadError
from tumorspread.pipeline import Analysis
from tumorspread.report.dicom_draft import Draft
from tumorspread.report.dicom_rtstruct import structure_set
from tumorspread.report.dicom_seg import segmentation
from tumorspread.report.dicom_sr import measurement_report
from tumorspread.scan.bundle import plain
from tumorspread.scan.dicom_source import Source, read_source
from tumorspread.scan.quiet import quiet

RESAMPLED = "gantry_tilt_resampled"
# What highdicom lets out on headers that hold other values than the standard allows.
HIGHDICOM_FAULTS = (AttributeError, KeyError, IndexError, ValueError, TypeError, OverflowError)


def write_dicom_results(
    analysis: Analysis,
    scan: Path,
    folder: Path,
    *,
    series: str | None = None,
    rtstruct: bool = False,
    deidentify: Callable[[Dataset], Dataset] | None = None,
) -> tuple[Path, ...]:
    """Write the lesions of a DICOM scan as DICOM.

    Args:
        analysis: of that scan.
        scan: the DICOM series, as `read` took it.
        folder: to write into; made where it is not there.
        series: the series, as `read` took it.
        rtstruct: also the contours, as a structure set.
        deidentify: makes a header of the scan into the one that the results may show; what they say of patient, study
            and time, and every UID they refer to, is taken from that.

    Returns:
        The files: `seg.dcm` (without a lesion none, since a segmentation needs a segment), `report-sr.dcm` (without a
        lesion it says so), `rtstruct.dcm`. Each appears whole or not at all.

    Raises:
        ReadError: the scan cannot be read, has no UID of study, series or instance, or headers too damaged to refer to.
        GeometryError: the analysis lies on another grid than the series.
        OutputError: the folder cannot be written to.
    """
    moment = _moment(analysis)
    stamp = (moment.strftime("%Y%m%d"), moment.strftime("%H%M%S"))
    source = read_source(scan, series=series, made_at=stamp, change=deidentify)
    draft = _draft(analysis, source, scan.name)
    # highdicom, too, warns of names and identifiers of the scan, with the values in the text.
    with quiet(), disable_value_validation():
        try:
            objects = _objects(draft, rtstruct)
            if deidentify is not None:
                for made in objects.values():
                    _undate(made)
            files = {name: _packed(made, source) for name, made in objects.items()}
        except HIGHDICOM_FAULTS as error:
            # Without the text of the error, which may hold values of the header.
            raise ReadError(
                f"{plain(scan.name)}: its headers do not allow for DICOM results ({type(error).__name__}); export the "
                "scan again, or leave the DICOM results out with --no-dicom"
            ) from error
    return tuple(_write(content, folder / name) for name, content in files.items())


def _objects(draft: Draft, rtstruct: bool) -> dict[str, Dataset]:
    """The objects by the name of their file."""
    if not draft.analysis.findings.lesions:
        return {"report-sr.dcm": measurement_report(draft, None)}
    seg = segmentation(draft)
    objects = {"seg.dcm": seg, "report-sr.dcm": measurement_report(draft, seg)}
    return {**objects, "rtstruct.dcm": structure_set(draft)} if rtstruct else objects


def _moment(analysis: Analysis) -> datetime:
    """When the analysis was made, in the time of this place, as scanners write theirs."""
    made_at = analysis.findings.origin.made_at
    return datetime.now() if made_at is None else datetime.fromisoformat(made_at).astimezone()


def _draft(analysis: Analysis, source: Source, name: str) -> Draft:
    is_on_slices = source.grid.same_grid(analysis.lesions)
    is_resampled = any(remark.code == RESAMPLED for remark in analysis.scan.remarks)
    if not is_on_slices and not (is_resampled and len(source.frames) == analysis.lesions.shape[0]):
        raise GeometryError(
            f"{plain(name)}: the analysis lies on a grid of {analysis.lesions.shape} voxels, the series on one of "
            f"{source.grid.shape}, or elsewhere; give the series that was analysed"
        )
    return Draft(
        analysis=analysis,
        source=source,
        tracking_uids=tuple(str(generate_uid(prefix=None)) for _ in analysis.findings.lesions),
        date=str(source.first.get("ContentDate") or source.first.StudyDate or ""),
        time=str(source.first.get("ContentTime") or source.first.StudyTime or ""),
        is_on_slices=is_on_slices,
    )


def _undate(made: Dataset) -> None:
    """Without the moment at which the object was made: beside the same day, shifted, it would tell the shift."""
    for part in (made, *made.get("ContributingEquipmentSequence", ())):
        for keyword in ("InstanceCreationDate", "InstanceCreationTime", "ContributionDateTime"):
            if keyword in part:
                del part[keyword]


def _packed(made: Dataset, source: Source) -> bytes:
    flag = source.first.get("LongitudinalTemporalInformationModified")
    if flag:
        # That dates were shifted belongs to the instance, not to patient or study, which highdicom copies.
        made.LongitudinalTemporalInformationModified = flag
    stream = BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _write(content: bytes, path: Path) -> Path:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return path
