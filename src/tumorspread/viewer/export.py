"""The current revision of a case as files to take away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tumorspread.errors import ReadError
from tumorspread.measurement.parts import Lesion
from tumorspread.pipeline import Analysis
from tumorspread.report.tables import lesions_csv
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.read import scan_kind
from tumorspread.scan.volume import sparse_zeros
from tumorspread.viewer.case import Case

TYPES = {
    "mask.nii.gz": "application/gzip",
    "lesions.nii.gz": "application/gzip",
    "lesions.csv": "text/csv; charset=utf-8",
    "findings.json": "application/json",
    "seg.dcm": "application/dicom",
    "report-sr.dcm": "application/dicom",
}


def export_file(case: Case, name: str, folder: Path) -> bytes:
    """One file of the current revision.

    Args:
        case: the case.
        name: one of `TYPES`.
        folder: an empty one of this session, to write into.

    Raises:
        ReadError: DICOM is asked for and the scan is not DICOM, or it has no lesion to be a segment.
        GeometryError, OutputError: see `write_dicom_results`.
    """
    with case.lock:
        analysis = _analysis(case)
    if name == "findings.json":
        return analysis.findings.to_json().encode()
    if name == "lesions.csv":
        return lesions_csv(analysis.findings).encode()
    if name.endswith(".dcm"):
        return _dicom(case, analysis, name, folder)
    write_nifti(analysis.mask if name == "mask.nii.gz" else analysis.lesions, folder / name)
    return (folder / name).read_bytes()


def _analysis(case: Case) -> Analysis:
    # A copy: what is written out must not change under it.
    labels = case.scan.with_voxels(case.lesions.labels.copy())
    sides = None if case.sides is None else case.scan.with_voxels(case.sides)
    return Analysis(case.scan, labels, sides, case.findings)


def _dicom(case: Case, analysis: Analysis, name: str, folder: Path) -> bytes:
    scan = Path(case.note.scan)
    if scan_kind(scan) != "dicom":
        raise ReadError(f"{name} needs a scan in DICOM; this one is not, take lesions.nii.gz")
    from tumorspread.report.dicom_results import write_dicom_results

    write_dicom_results(_numbered(analysis), scan, folder, series=case.note.series)
    if not (folder / name).exists():
        raise ReadError("a segmentation needs a lesion, and none is left; report-sr.dcm says so")
    return (folder / name).read_bytes()


def _numbered(analysis: Analysis) -> Analysis:
    """With lesions numbered 1..n, largest first, as the segments of a SEG must be."""
    rank = {lesion.id: number for number, lesion in enumerate(analysis.findings.lesions, 1)}
    table = np.zeros(max(rank, default=0) + 1, np.uint16)
    for lesion, number in rank.items():
        table[lesion] = number
    labels = sparse_zeros(analysis.lesions.shape, np.uint16)
    for plane, target in zip(analysis.lesions.voxels, labels, strict=True):
        if plane.any():
            target[...] = table[plane]

    def called(lesion: Lesion) -> Lesion:
        nearest = lesion.nearest_lesion_id
        return replace(lesion, id=rank[lesion.id], nearest_lesion_id=None if nearest is None else rank[nearest])

    lesions = tuple(called(lesion) for lesion in analysis.findings.lesions)
    return replace(
        analysis, lesions=analysis.lesions.with_voxels(labels), findings=replace(analysis.findings, lesions=lesions)
    )
