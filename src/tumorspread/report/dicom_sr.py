"""The measures as a DICOM structured report: TID 1500, a measurement group a lesion.

The axes carry their ends as SCOORD3D, so that a viewer can draw them, and the groups refer to the segments of the
segmentation. Templates: DICOM PS3.16 TID 1500 (report), TID 1411 (volumetric ROI), TID 1501 (group), TID 300 and 320
(measurement and what it was inferred from); units in UCUM.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    ContentSequence,
    CoordinatesForMeasurement3D,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from tumorspread.measurement.parts import Lesion, Origin, Segment
from tumorspread.report.dicom_draft import (
    ABNORMAL,
    BY_HAND,
    FAMILY,
    LUNG,
    MAKER,
    NEOPLASM,
    Draft,
    algorithm_name,
    parameters,
    place,
    tracking_id,
    version,
)
from tumorspread.scan.dicom_source import made_uid

# The only CT of CID 100 that names no body region but the head; DicomSRValidator knows no chest there.
CT = Code("25045-6", "LN", "CT unspecified body region")
REPORT = Code("126000", "DCM", "Imaging Measurement Report")
DEVICE = Code("121007", "DCM", "Device")
NOT_DETECTED = Code("260415000", "SCT", "Not detected")
BOTH_SIDES = Code("51440002", "SCT", "Bilateral")
VOLUME = Code("118565006", "SCT", "Volume")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
MILLILITRE = Code("mL", "UCUM", "mL")
MILLIMETRE = Code("mm", "UCUM", "mm")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")


def measurement_report(draft: Draft, seg: Segmentation | None) -> Comprehensive3DSR:
    """The report of an analysis.

    Args:
        draft: what is to be written.
        seg: the segmentation that the groups refer to; None without lesions, of which the report then says that none
            was detected.
    """
    lesions = draft.analysis.findings.lesions
    if seg is None:
        groups = [_nothing(draft)]
    else:
        groups = [_group(draft, lesion, uid, seg) for lesion, uid in zip(lesions, draft.tracking_uids, strict=True)]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(draft.analysis.findings.origin)),
        procedure_reported=CT,
        imaging_measurements=groups,
        title=REPORT,
    )
    return Comprehensive3DSR(
        evidence=[*draft.source.images, *([] if seg is None else [seg])],
        content=content[0],
        is_complete=True,
        is_final=False,
        content_date=draft.date,
        content_time=draft.time,
        **draft.instance("measurements"),
    )


def _observer(origin: Origin) -> ObserverContext:
    return ObserverContext(
        observer_type=DEVICE,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=made_uid(MAKER, version(origin)),
            name=f"{MAKER} (research use only)",
            manufacturer_name=MAKER,
            model_name=algorithm_name(origin),
            serial_number=version(origin),
        ),
    )


def _group(
    draft: Draft, lesion: Lesion, tracking_uid: str, seg: Segmentation
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    region, side = place(lesion)
    measured = _measurements(lesion)
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(tracking_uid, tracking_id(lesion)),
        referenced_segment=ReferencedSegment(
            seg.SOPClassUID,
            seg.SOPInstanceUID,
            lesion.id,
            source_series=SourceSeriesForSegmentation(draft.source.first.SeriesInstanceUID),
        ),
        finding_category=ABNORMAL,
        finding_type=NEOPLASM,
        finding_sites=[FindingSite(region, laterality=side)],
        algorithm_id=_algorithm(draft.analysis.findings.origin),
        measurements=measured,
    )
    # TID 1419, the measurements of a region, names no coordinates, but may be extended by them; highdicom takes them
    # in TID 300 alone, so they are added to what it has made.
    frame_of_reference = draft.source.frame_of_reference
    _add_ends(measured[1], lesion.long_axis_ends_mm, frame_of_reference)
    _add_ends(measured[2], lesion.short_axis_ends_mm, frame_of_reference)
    return group


def _measurements(lesion: Lesion) -> Sequence[Measurement]:
    measured = [
        Measurement(VOLUME, lesion.volume_ml, MILLILITRE),
        Measurement(LONG_AXIS, lesion.long_axis_mm, MILLIMETRE),
        Measurement(SHORT_AXIS, lesion.short_axis_mm, MILLIMETRE),
    ]
    if lesion.mean_hu is not None:
        measured.append(Measurement(ATTENUATION, lesion.mean_hu, HOUNSFIELD, derivation=MEAN))
    return measured


def _add_ends(measurement: Measurement, ends: Segment, frame_of_reference: str) -> None:
    number = measurement[0]
    line = CoordinatesForMeasurement3D("POLYLINE", np.array(ends), frame_of_reference)
    number.ContentSequence = ContentSequence([*number.get("ContentSequence", []), line])


def _algorithm(origin: Origin) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=algorithm_name(origin),
        version=version(origin),
        parameters=[f"{name}={value}" for name, value in parameters(origin).items()] or None,
        family=BY_HAND if origin.weights is None else FAMILY,
        manufacturer=MAKER,
    )


def _nothing(draft: Draft) -> MeasurementsAndQualitativeEvaluations:
    """A group for the lungs as a whole: no neoplasm detected, which is no proof that there is none."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(str(generate_uid(prefix=None)), "Lungs"),
        finding_sites=[FindingSite(LUNG, laterality=BOTH_SIDES)],
        algorithm_id=_algorithm(draft.analysis.findings.origin),
        measurements=[Measurement(VOLUME, 0.0, MILLILITRE)],
        qualitative_evaluations=[QualitativeEvaluation(NEOPLASM, NOT_DETECTED)],
    )
