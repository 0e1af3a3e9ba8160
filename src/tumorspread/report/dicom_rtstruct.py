"""The lesions as a DICOM RT structure set: one ROI a lesion, its outline on each slice.

Contours run at half level (marching squares at 0.5), midway between voxels inside and outside. Contours through the
centres of the outermost voxels, as some tools draw them, lose 8 to 17 % of the volume of a small tumour. Holes are
joined to the outline around them by a keyhole, which readers by the even-odd rule and by the winding rule see alike
(PS3.3 C.8.8.6.3). Attribute definitions: DICOM PS3.3 A.19, C.8.8.5, C.8.8.6 and C.8.8.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from highdicom.base import SOPClass
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.measure import find_contours, points_in_poly

from tumorspread.measurement.parts import Lesion
from tumorspread.measurement.pieces import lesion_boxes
from tumorspread.report.dicom_draft import Draft, tracking_id
from tumorspread.scan.rtstruct import RT_STRUCTURE_SET

# Red first, as the report draws the largest lesion; then around the circle of colours.
COLOURS = ((230, 60, 50), (250, 160, 40), (80, 180, 70), (60, 140, 220), (160, 90, 200), (220, 90, 160))
# A tenth of a micrometre: far below the third of a pixel by which a half-level contour keeps off the voxels' centres.
DECIMALS = 4

Points = NDArray[np.float64]


def structure_set(draft: Draft) -> Dataset:
    """The contours of an analysis with at least one lesion."""
    made = _instance(draft)
    made.StructureSetLabel = "LUNG_LESIONS"
    made.StructureSetName = "Lung lesions"
    made.StructureSetDescription = "Lung lesions found by software, for research use only"
    made.StructureSetDate, made.StructureSetTime = draft.date, draft.time
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(draft)]
    made.FrameOfReferenceUID = draft.source.frame_of_reference
    made.PositionReferenceIndicator = draft.source.first.get("PositionReferenceIndicator")
    lesions = draft.analysis.findings.lesions
    made.StructureSetROISequence = [_roi(draft, lesion) for lesion in lesions]
    boxes = lesion_boxes(draft.analysis.lesions.voxels)
    made.ROIContourSequence = [_contours(draft, lesion, box) for lesion, box in zip(lesions, boxes, strict=True)]
    made.RTROIObservationsSequence = [_observation(lesion) for lesion in lesions]
    made.ApprovalStatus = "UNAPPROVED"
    return made


def _instance(draft: Draft) -> Dataset:
    first = draft.source.first
    made = SOPClass(
        study_instance_uid=first.StudyInstanceUID,
        sop_class_uid=RT_STRUCTURE_SET,
        modality="RTSTRUCT",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        patient_id=first.PatientID,
        patient_name=first.PatientName,
        patient_birth_date=first.PatientBirthDate,
        patient_sex=first.PatientSex,
        accession_number=first.AccessionNumber,
        study_id=first.StudyID,
        study_date=first.StudyDate,
        study_time=first.StudyTime,
        referring_physician_name=first.ReferringPhysicianName,
        specific_character_set=first.get("SpecificCharacterSet"),
        **draft.instance("contours"),
    )
    made.copy_patient_and_study_information(first)
    made.OperatorsName = ""
    return made


def _frame_of_reference(draft: Draft) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = draft.source.first.SeriesInstanceUID
    series.ContourImageSequence = [_image(image, None) for image in draft.source.images]
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = draft.source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = draft.source.frame_of_reference
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(image: Any, frame: int | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    if frame is not None and "NumberOfFrames" in image:
        item.ReferencedFrameNumber = frame + 1
    return item


def _roi(draft: Draft, lesion: Lesion) -> Dataset:
    origin = draft.analysis.findings.origin
    item = Dataset()
    item.ROINumber = lesion.id
    item.ReferencedFrameOfReferenceUID = draft.source.frame_of_reference
    item.ROIName = tracking_id(lesion)
    item.ROIVolume = f"{lesion.volume_ml:.6g}"
    item.ROIGenerationAlgorithm = "" if origin.weights is None else "AUTOMATIC"
    return item


def _observation(lesion: Lesion) -> Dataset:
    item = Dataset()
    item.ObservationNumber = lesion.id
    item.ReferencedROINumber = lesion.id
    item.ROIObservationLabel = tracking_id(lesion)
    item.RTROIInterpretedType = "GTV"
    item.ROIInterpreter = ""
    return item


def _contours(draft: Draft, lesion: Lesion, box: tuple[slice, slice, slice]) -> Dataset:
    labels = draft.analysis.lesions
    start = [side.start for side in box]
    item = Dataset()
    item.ROIDisplayColor = list(COLOURS[(lesion.id - 1) % len(COLOURS)])
    item.ReferencedROINumber = lesion.id
    item.ContourSequence = []
    for plane, mask in enumerate(labels.voxels[box] == lesion.id):
        for outline in outlines(mask):
            index = np.column_stack([np.full(len(outline), plane), outline]) + start
            item.ContourSequence.append(_contour(draft, start[0] + plane, labels.to_world(index)))
    return item


def _contour(draft: Draft, plane: int, points_mm: Points) -> Dataset:
    item = Dataset()
    image, frame = draft.source.frames[plane]
    item.ContourImageSequence = [_image(draft.source.images[image], frame)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points_mm)
    item.ContourData = [f"{number:.{DECIMALS}f}" for number in points_mm.ravel()]
    return item


def outlines(mask: NDArray[np.bool_]) -> Iterator[Points]:
    """The half-level contours of a plane, each (n, 2) as row and column, its last point not its first again.

    Args:
        mask: (rows, columns). Pixels that touch at a corner alone are outlined apart.

    Yields:
        One for each outer outline, with its holes joined on by keyholes. A pixel's centre is inside by the even-odd
        rule just where the mask is set.
    """
    rings = [ring[:-1] - 1 for ring in find_contours(np.pad(mask, 1).astype(np.float32), 0.5)]
    # `find_contours` keeps lower values on one side, so that holes run the other way round.
    areas = [_signed_area(ring) for ring in rings]
    sign = np.sign(areas[int(np.abs(areas).argmax())]) if rings else 1
    outers = [(ring, abs(area)) for ring, area in zip(rings, areas, strict=True) if area * sign > 0]
    holes = [ring for ring, area in zip(rings, areas, strict=True) if area * sign < 0]
    around = [_around(hole, outers) for hole in holes]
    for place, (ring, _) in enumerate(outers):
        yield _with_keyholes(ring, [hole for hole, outer in zip(holes, around, strict=True) if outer == place])


def _signed_area(ring: Points) -> float:
    rows, columns = ring.T
    return float(rows @ np.roll(columns, -1) - columns @ np.roll(rows, -1)) / 2


def _around(hole: Points, outers: Sequence[tuple[Points, float]]) -> int:
    """Which outline the hole lies in: of those around it the smallest, since outlines nest."""
    inside = [place for place, (ring, _) in enumerate(outers) if points_in_poly(hole[:1], ring)[0]]
    return min(inside, key=lambda place: outers[place][1])


def _with_keyholes(ring: Points, holes: Sequence[Points]) -> Points:
    """The outline that goes to each hole, around it and back on the same line.

    On the shortest diagonal: points of half-level contours lie midway between two pixels, so a diagonal through one
    passes all centres at 0.35 pixels, and ends on a point of the outline. Other lines may run through a centre, and
    whether that is inside would be left to the reader's rounding.
    """
    for hole in holes:
        rows, columns = np.abs(ring[:, None] - hole[None]).transpose(2, 0, 1)
        length = np.where(rows == columns, rows, np.inf)
        leave, arrive = np.unravel_index(int(length.argmin()), length.shape)
        around = np.roll(hole, -int(arrive), axis=0)
        ring = np.concatenate([ring[: leave + 1], around, around[:1], ring[leave:]])
    return ring
