"""The answer back into DICOM: what a PACS can file beside the scan, and a viewer can lay over it.

`seg.dcm` holds the outlines, `report-sr.dcm` the numbers (TID 1500), `rtstruct.dcm` on request the contours. They carry
the patient, study and frame of reference of the scan.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tumorspread.errors import GeometryError, OutputError
from tumorspread.pipeline import Analysis
from tumorspread.report.dicom_draft import Draft
from tumorspread.report.dicom_rtstruct import structure_set
from tumorspread.report.dicom_seg import segmentation
from tumorspread.report.dicom_sr import measurement_report
from tumorspread.scan.bundle import plain
from tumorspread.scan.dicom_source import Source, read_source

RESAMPLED = "gantry_tilt_resampled"


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
        ReadError: the scan cannot be read, or has no UID of study, series or instance.
        GeometryError: the analysis lies on another grid than the series.
        OutputError: the folder cannot be written to.
    """
    moment = _moment(analysis)
    stamp = (moment.strftime("%Y%m%d"), moment.strftime("%H%M%S"))
    source = read_source(scan, series=series, made_at=stamp, change=deidentify)
    draft = _draft(analysis, source, scan.name)
    objects: dict[str, Dataset] = {}
    with warnings.catch_warnings(), disable_value_validation():
        # highdicom warns of names and identifiers of the scan, with the values in the text.
        warnings.simplefilter("ignore")
        seg = segmentation(draft) if analysis.findings.lesions else None
        if seg is not None:
            objects["seg.dcm"] = seg
        objects["report-sr.dcm"] = measurement_report(draft, seg)
        if rtstruct and analysis.findings.lesions:
            objects["rtstruct.dcm"] = structure_set(draft)
        return tuple(_write(_flagged(made, source), folder / name) for name, made in objects.items())


def _moment(analysis: Analysis) -> datetime:
    """When the analysis was made, in the time of this place, as scanners write theirs."""
    made_at = analysis.findings.origin.made_at
    return datetime.now() if made_at is None else datetime.fromisoformat(made_at).astimezone()


def _draft(analysis: Analysis, source: Source, name: str) -> Draft:
    is_on_slices = source.grid.same_grid(analysis.lesions)
    if not is_on_slices and all(remark.code != RESAMPLED for remark in analysis.scan.remarks):
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


def _flagged(made: Dataset, source: Source) -> Dataset:
    """With the flag that dates were shifted, which belongs to the instance and not to patient or study."""
    flag = source.first.get("LongitudinalTemporalInformationModified")
    if flag:
        made.LongitudinalTemporalInformationModified = flag
    return made


def _write(made: Dataset, path: Path) -> Path:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save_as(unfinished, enforce_file_format=True)
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return path
