"""The lesions as a DICOM Segmentation: one BINARY segment a lesion, on the slices of its scan.

BINARY, since dcmqi and the validators of today know it; LABELMAP is read by few yet. Attribute definitions: DICOM PS3.3
C.8.20 (segmentation).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom import Volume as PlacedArray
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from tumorspread.measurement.parts import Lesion, Origin
from tumorspread.report.dicom_draft import (
    ABNORMAL,
    FAMILY,
    MAKER,
    NEOPLASM,
    Draft,
    algorithm_name,
    parameters,
    place,
    tracking_id,
    version,
)


def segmentation(draft: Draft) -> Segmentation:
    """The label map of an analysis with at least one lesion; frames without any are left out."""
    lesions = draft.analysis.findings.lesions
    origin = draft.analysis.findings.origin
    return Segmentation(
        **_pixels(draft),
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(lesion, uid, origin) for lesion, uid in zip(lesions, draft.tracking_uids, strict=True)
        ],
        content_label="LUNG_LESIONS",
        content_description="Lung lesions, for research use only",
        content_date=draft.date,
        content_time=draft.time,
        **draft.instance("lesions"),
    )


def _pixels(draft: Draft) -> dict[str, Any]:
    """The arrays with what they were derived from: frame by frame where they lie on the slices of the scan."""
    source, labels = draft.source, draft.labels
    images = list(source.images)
    if draft.is_on_slices and len(images) == len(source.frames):
        return {"source_images": images, "pixel_array": labels}
    if draft.is_on_slices and len(images) == 1:
        order = np.argsort([frame for _, frame in source.frames])
        return {"source_images": images, "pixel_array": labels[order]}
    placed = PlacedArray(
        labels, draft.analysis.lesions.affine, "PATIENT", frame_of_reference_uid=source.frame_of_reference
    )
    if "NumberOfFrames" in source.first:
        return {"source_images": images[:1], "further_source_images": images[1:], "pixel_array": placed}
    return {"source_images": images, "pixel_array": placed}


def _segment(lesion: Lesion, tracking_uid: str, origin: Origin) -> SegmentDescription:
    region, side = place(lesion)
    segment = SegmentDescription(
        segment_number=lesion.id,
        segment_label=tracking_id(lesion),
        segmented_property_category=ABNORMAL,
        segmented_property_type=NEOPLASM,
        algorithm_type="MANUAL" if origin.weights is None else "AUTOMATIC",
        algorithm_identification=None if origin.weights is None else _algorithm(origin),
        tracking_uid=tracking_uid,
        tracking_id=tracking_id(lesion),
        anatomic_regions=[region],
    )
    if side is not None:
        segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_concept(side)]
    return segment


def _algorithm(origin: Origin) -> AlgorithmIdentificationSequence:
    return AlgorithmIdentificationSequence(
        name=algorithm_name(origin),
        family=FAMILY,
        version=version(origin),
        source=MAKER,
        parameters=parameters(origin),
    )


def _concept(code: Any) -> Dataset:
    return CodedConcept.from_code(code)
