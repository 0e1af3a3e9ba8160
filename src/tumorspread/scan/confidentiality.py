"""What happens to each attribute: PS3.15 Table E.1-1, and where it is silent.

The codes of the table come from the package dicom-anonymizer. Where a code leaves a choice (X/Z, X/D, Z/D, X/Z/D),
the one is taken that fits every information object: what was there stays there, empty or with a dummy value.
What the table does not name is free text in the wrong hands as well: an attribute that may hold a person, a place
or prose is emptied, one that is not in the dictionary is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR, tag_for_keyword


class Action(Enum):
    """What is done to an attribute that is there."""

    KEEP = "keep; the items of a sequence are looked through"
    REMOVE = "take out"
    EMPTY = "leave without a value"
    REPLACE = "give a dummy value"
    UID = "give a keyed UID, unless DICOM registers it"
    PSEUDONYM = "give a keyed pseudonym"


@dataclass(frozen=True)
class Rule:
    """What to do with one attribute.

    Attributes:
        action: what to do; for a date that is shifted, when its value cannot be.
        vr: its value representation by the dictionary.
        is_shifted: whether it is a date or time that is kept, shifted (the option with code 113107).
    """

    action: Action
    vr: str
    is_shifted: bool = False


_BY_CODE = (
    (table.X_TAGS, Action.REMOVE),
    (table.Z_TAGS, Action.EMPTY),
    (table.D_TAGS, Action.REPLACE),
    (table.U_TAGS, Action.UID),
    (table.Z_D_TAGS, Action.REPLACE),
    (table.X_Z_TAGS, Action.EMPTY),
    (table.X_D_TAGS, Action.REPLACE),
    (table.X_Z_D_TAGS, Action.REPLACE),
    # Sequences of references: kept, and the UIDs in them replaced.
    (table.X_Z_U_STAR_TAGS, Action.KEEP),
)
# Entries of four numbers are the curves and overlays, whose whole groups go.
_LISTED = {(tag[0] << 16) + tag[1]: action for tags, action in _BY_CODE for tag in tags if len(tag) == 2}


def _tags(keywords: str) -> set[int]:
    found = [tag_for_keyword(keyword) for keyword in keywords.split()]
    return {tag for tag in found if tag is not None}


# Keyed, so that what belongs together still does.
_PSEUDONYM = _tags("PatientID PatientName TrackingID")
# A content tree and its texts are cleaned item by item (the option with code 113104).
_CLEANED = _tags("ContentSequence")
_REMOVED = _tags(
    "PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar "
    "BreedRegistrationNumber DeviceID NTPSourceAddress ErrorComment ImageID ReferenceToRecordedSound "
    "PlacerOrderNumberProcedure FillerOrderNumberProcedure PlacerOrderNumberImagingServiceRequestRetired "
    "FillerOrderNumberImagingServiceRequestRetired RouteOfAdmissions SystemStatusComment TestResultComment "
    "DoseComment SubstanceAdministrationNotes SubstanceAdministrationDeviceID ContactDisplayName WorklistLabel "
    "ProcedureStepLabel ImagingDeviceSpecificAcquisitionParameters BoardingPassID ItineraryID OwnerID CarrierID "
    "RouteID AssignedLocation DataSetTrailingPadding DeidentificationMethod DeidentificationMethodCodeSequence"
)
_EMPTIED = _tags(
    "ContentDescription RadiationMachineName PrinterName StorageMediaFileSetID HangingProtocolCreator "
    "HangingProtocolUserGroupName FrameOfReferenceTransformationComment RTImageName RTImageLabel PatientSetupLabel"
)
_REPLACED = _tags("TextValue")
# Prose by its VR, yet words of a standard, of a maker or of a code.
_HARMLESS = _tags(
    "CodingSchemeName CodingSchemeURL CodingSchemeResponsibleOrganization URNCodeValue LongCodeValue "
    "ExtendedCodeMeaning DetectorMode EXIFVersion ImageDisplayFormat SpectralSensitivity DelayLawIdentifier "
    "ConceptualVolumeCombinationExpression"
)
_PROSE = {"PN", "AE", "UR", "LT", "ST", "UT", "UC"}
# UIDs of kinds of things, not of things; a maker's own SOP class is among them.
_KINDS = _tags(
    "SOPClassesInStudy SOPClassesSupported PertinentSOPClassesInStudy PertinentSOPClassesInSeries CodingSchemeUID "
    "ContextUID MappingResourceUID ContextGroupExtensionCreatorUID"
)
# Dates that are no patient's history. Those of versions are printed in books: shifted, they would tell the shift.
_UNSHIFTED = _tags(
    "PatientBirthDate PatientBirthTime ContextGroupVersion ContextGroupLocalVersion TemplateVersion "
    "TemplateLocalVersion EffectiveDateTime InformationIssueDateTime ProductExpirationDateTime DateOfManufacture "
    "DateOfInstallation EthicsCommitteeApprovalEffectivenessStartDate EthicsCommitteeApprovalEffectivenessEndDate "
    "HangingProtocolCreationDateTime GPSDateStamp GPSTimeStamp SelectorDAValue SelectorDTValue SelectorTMValue "
    "ExpirationDateTime ExpiryDate ProcedureCreationDate ProcedureExpirationDate ProcedureLastModifiedDate"
)


@cache
def rule_of(tag: int) -> Rule:
    """The rule for an attribute, at any depth of the dataset."""
    group, element = tag >> 16, tag & 0xFFFF
    is_plane = group & 0xFF00 in (0x5000, 0x6000)
    # Group FFFE holds the marks between items; as an attribute it is the trace of a damaged file.
    if group % 2 or group < 8 or group == 0xFFFE or element == 0 or is_plane or not dictionary_has_tag(tag):
        return Rule(Action.REMOVE, "UN")
    # Some attributes may have one of two VRs, `US or SS`.
    vr = dictionary_VR(tag).split(" or ")[0]
    if vr in ("DA", "DT", "TM"):
        return Rule(_LISTED.get(tag, Action.EMPTY), vr, is_shifted=tag not in _UNSHIFTED)
    return Rule(_action(tag, vr), vr)


def _action(tag: int, vr: str) -> Action:
    ours = (
        (_PSEUDONYM, Action.PSEUDONYM),
        (_CLEANED, Action.KEEP),
        (_REMOVED, Action.REMOVE),
        (_EMPTIED, Action.EMPTY),
        (_REPLACED, Action.REPLACE),
    )
    for tags, action in ours:
        if tag in tags:
            return action
    if tag in _LISTED:
        return _LISTED[tag]
    if vr == "UI":
        is_kind = tag in _KINDS or dictionary_keyword(tag).endswith(("ClassUID", "ClassUIDInFile", "SyntaxUID"))
        return Action.KEEP if is_kind else Action.UID
    return Action.EMPTY if vr in _PROSE and tag not in _HARMLESS else Action.KEEP
