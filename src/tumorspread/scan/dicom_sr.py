"""The measurements of a DICOM structured report: what another program says it measured, to compare with our own.

Imaging Measurement Reports (TID 1500) hold measurement groups (TID 1410, 1411, 1501), each on one finding. Codes are
kept as they are stored; SRT and SNOMED CT name the same things with other values. Templates: DICOM PS3.16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import open_bundle, plain
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS, Header, read_dataset
from tumorspread.scan.dicom_values import fault
from tumorspread.scan.quiet import quiet

# Enhanced, Comprehensive and Comprehensive 3D SR: the classes that take numbers and images, so TID 1500.
SR_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in ("22", "33", "34"))
TAGS = ["SOPClassUID", "Modality", "ConceptNameCodeSequence", "ContentSequence"]
# DCM codes of the content items that are looked for (PS3.16 CID and TID tables).
REPORT, GROUP = "126000", "125007"
TRACKING_ID, TRACKING_UID, SEGMENT = "112039", "112040", "121191"
# The same concept in SRT, in SNOMED CT or in DCM.
FINDING, SITE = {"121071"}, {"G-C0E3", "363698007"}
DERIVATION, METHOD = {"121401"}, {"G-C036", "370129005"}
# Trees of real reports are less than 10 deep.
MAX_DEPTH = 50


@dataclass(frozen=True)
class Code:
    """A coded concept, as stored: value and scheme for machines, meaning for people."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Measurement:
    """One number.

    Attributes:
        name: what was measured, such as Volume.
        value: in `unit`; None where the report gives none, with `reason`.
        unit: in UCUM, such as `ml`; empty where there is none.
        derivation: such as Mean or Maximum; None where it is not given.
        method: of measurement; None where it is not given.
        reason: why there is no value; empty where there is one or no reason is given.
    """

    name: Code
    value: float | None
    unit: str
    derivation: Code | None
    method: Code | None
    reason: str = ""


@dataclass(frozen=True)
class MeasurementGroup:
    """What was measured on one finding.

    Attributes:
        tracking_id: its name through time.
        tracking_uid: its UID through time.
        finding: such as Neoplasm; None where it is not given.
        sites: where it is.
        segments: pairs of the SOPInstanceUID of a SEG and the number of a segment in it.
        measurements: in the report's order.
    """

    tracking_id: str
    tracking_uid: str
    finding: Code | None
    sites: tuple[Code, ...]
    segments: tuple[tuple[str, int], ...]
    measurements: tuple[Measurement, ...]


def read_measurements(path: Path) -> tuple[MeasurementGroup, ...]:
    """The measurement groups of a TID 1500 report, in its order.

    Returns:
        One group a finding; none for a report that says nothing was found.

    Raises:
        ReadError: missing, damaged, no structured report, one of another template, or a value that is no number.
    """
    name = plain(path.name)
    with quiet():
        try:
            return tuple(_group(name, item) for item in _groups(_read(path), 0))
        except PYDICOM_FAULTS as error:
            raise ReadError(f"{name}: a damaged report ({fault(error)}); export it again") from error


def _read(path: Path) -> Any:
    name = plain(path.name)
    with open_bundle(path) as bundle:
        dataset = read_dataset(bundle, path.name, TAGS, pixels=False)
    header = Header(path.name, dataset)
    if header.text("SOPClassUID") not in SR_CLASSES:
        found = plain(header.text("Modality")) or "something unknown"
        raise ReadError(f"{name}: a DICOM file of {found}; expected a structured report with measurements (TID 1500)")
    title = _code(dataset, "ConceptNameCodeSequence")
    if title is None or (title.value, title.scheme) != (REPORT, "DCM"):
        shown = plain(title.meaning) if title else "none"
        raise ReadError(f"{name}: a report titled {shown}; expected an Imaging Measurement Report (TID 1500)")
    return dataset


def _groups(item: Any, depth: int) -> Iterator[Any]:
    """The measurement groups at any depth below an item."""
    if depth > MAX_DEPTH:
        raise ValueError(f"content nested deeper than {MAX_DEPTH}")
    for child in item.get("ContentSequence") or ():
        if _value(child) == GROUP:
            yield child
        else:
            yield from _groups(child, depth + 1)


def _group(name: str, item: Any) -> MeasurementGroup:
    children = list(item.get("ContentSequence") or ())
    texts = {_value(child): str(child.get("TextValue") or child.get("UID") or "") for child in children}
    findings = [_code(child, "ConceptCodeSequence") for child in children if _value(child) in FINDING]
    sites = [_code(child, "ConceptCodeSequence") for child in children if _value(child) in SITE]
    return MeasurementGroup(
        tracking_id=texts.get(TRACKING_ID, ""),
        tracking_uid=texts.get(TRACKING_UID, ""),
        finding=next((code for code in findings if code), None),
        sites=tuple(code for code in sites if code),
        segments=tuple(pair for child in children if _value(child) == SEGMENT for pair in _segments(child)),
        measurements=tuple(_measurement(name, child) for child in children if child.get("ValueType") == "NUM"),
    )


def _segments(item: Any) -> Iterator[tuple[str, int]]:
    for reference in item.get("ReferencedSOPSequence") or ():
        numbers = reference.get("ReferencedSegmentNumber")
        for number in [numbers] if isinstance(numbers, int) else numbers or ():
            yield str(reference.ReferencedSOPInstanceUID), int(number)


def _measurement(name: str, item: Any) -> Measurement:
    concept = _code(item, "ConceptNameCodeSequence")
    if concept is None:
        raise ReadError(f"{name}: a number without a name among its measurements; export it again")
    measured = list(item.get("MeasuredValueSequence") or ())[:1]
    value = float(measured[0].get("FloatingPointValue") or measured[0].NumericValue) if measured else None
    if value is not None and not math.isfinite(value):
        raise ReadError(f"{name}: {plain(concept.meaning)} is {value}; expected a finite number, export it again")
    unit = _code(measured[0], "MeasurementUnitsCodeSequence") if measured else None
    reason = _code(item, "NumericValueQualifierCodeSequence")
    return Measurement(
        name=concept,
        value=value,
        unit="" if unit is None else unit.value,
        derivation=_modifier(item, DERIVATION),
        method=_modifier(item, METHOD),
        reason=reason.meaning if reason is not None and value is None else "",
    )


def _modifier(item: Any, values: set[str]) -> Code | None:
    codes = (
        _code(child, "ConceptCodeSequence") for child in item.get("ContentSequence") or () if _value(child) in values
    )
    return next((code for code in codes if code is not None), None)


def _value(item: Any) -> str:
    """The code value of an item's concept name; empty where it has none."""
    code = _code(item, "ConceptNameCodeSequence")
    return "" if code is None else code.value


def _code(item: Any, keyword: str) -> Code | None:
    for code in list(item.get(keyword) or ())[:1]:
        value = code.get("CodeValue") or code.get("LongCodeValue") or code.get("URNCodeValue") or ""
        return Code(str(value), str(code.get("CodingSchemeDesignator") or ""), str(code.get("CodeMeaning") or ""))
    return None
