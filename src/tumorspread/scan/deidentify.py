"""A DICOM dataset without its patient: the Basic Application Level Confidentiality Profile of PS3.15 Annex E.

With two options: dates shifted (113107) and structured content cleaned (113104). Everything is keyed: one key
gives one patient the same pseudonym, the same shift and the same UIDs in every file and on every run, so that
references within a study hold. Pixels are not touched; `burned_in` says where they need a look.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from tumorspread._version import __version__
from tumorspread.errors import ReadError
from tumorspread.scan.confidentiality import Action, rule_of
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS
from tumorspread.scan.pseudonyms import Pseudonyms, read_key
from tumorspread.scan.quiet import quiet_to_the_end
from tumorspread.scan.shifted_dates import shift_back

__all__ = ["Deidentifier", "read_key"]

DUMMY = "ANONYMIZED"
# One per VR that cannot hold the word; `.invalid` names no host (RFC 2606).
_DUMMIES: dict[str, Any] = {
    "AS": "000D", "DA": "19000101", "DT": "19000101000000", "TM": "000000", "DS": "0", "IS": "0",
    "UR": "http://anonymized.invalid", "AT": 0, "FD": 0.0, "FL": 0.0, "SL": 0, "SS": 0, "SV": 0, "UL": 0, "US": 0,
    "UV": 0, "OB": bytes(2), "OW": bytes(2), "OF": bytes(4), "OL": bytes(4), "OD": bytes(8), "OV": bytes(8),
    "UN": bytes(2),
}  # fmt: skip
# PS3.16 CID 7050: the profile and the options that were followed.
METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113104", "Clean Structured Content Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
# What an earlier hand did to the pixels is still done: these codes of it stay.
_PIXEL_METHODS = {"113101": "Clean Pixel Data Option", "113102": "Clean Recognizable Visual Features Option"}
# Texts of a report by the code (DCM) of their name: what a program says of itself stays (PS3.16 TID 4019, 1004).
_PROGRAM_TEXTS = ("111001", "111003", "121014", "121015")
_TRACKING_ID = "112039"
# What a value of these VRs is made of (PS3.5 6.2); padding and the signs between values aside.
_REPERTOIRES = {
    "AS": re.compile(rb"[\d DWMY\\\0]*"), "DS": re.compile(rb"[\d +\-.eE\\\0]*"), "IS": re.compile(rb"[\d +\-\\\0]*"),
    "UI": re.compile(rb"[\d. \\\0]*"),
}  # fmt: skip
_KNOWN_VRS = {*pydicom.valuerep.STANDARD_VR, *pydicom.valuerep.AMBIGUOUS_VR}
_TEXT_VRS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}


class Deidentifier:
    """De-identifies DICOM datasets with one key.

    Args:
        key: at least 16 random bytes, see `read_key`. Who has it can tell whether a known patient is among the
            de-identified ones, so it stays where the patients' files are.

    Raises:
        ReadError: the key is too short.
    """

    def __init__(self, key: bytes) -> None:
        self._pseudonyms = Pseudonyms(key)

    def pseudonym(self, text: str) -> str:
        """A keyed stand-in for a text that may name a patient, such as the name of a folder."""
        return self._pseudonyms.name(text)

    def uid(self, uid: str) -> str:
        """The UID that stands for `uid` in what was de-identified with this key."""
        return self._pseudonyms.uid(uid)

    def __call__(self, dataset: Dataset) -> Dataset:
        """A de-identified copy; the dataset itself, as it is in memory or was read from a file, stays as it is.

        A dataset that was de-identified with this key comes out as it went in.

        Raises:
            ReadError: an attribute is damaged.
        """
        try:
            with quiet_to_the_end():
                return self._clean(dataset)
        except (*PYDICOM_FAULTS, UserWarning) as error:
            # The library's words may quote the value.
            raise ReadError(f"damaged DICOM attributes ({type(error).__name__}); export the file again") from error

    def for_results(self, header: Dataset) -> Dataset:
        """A de-identified header of a scan for its results, their content dated as the study.

        The day they are made, shifted, would tell the shift to everyone who knows when they were made. Dates that the
        study lacks are dummies, since a report must have them.

        Raises:
            ReadError: an attribute is damaged.
        """
        clean = self(header)
        clean.ContentDate = clean.get("StudyDate") or _DUMMIES["DA"]
        clean.ContentTime = clean.get("StudyTime") or _DUMMIES["TM"]
        return clean

    def _clean(self, dataset: Dataset) -> Dataset:
        patient = self._patient(dataset)
        clean = self._copy(dataset, 0 if self._is_done(dataset) else self._pseudonyms.days(patient))
        clean.PatientName = clean.PatientID = patient
        _state_method(clean, dataset)
        if hasattr(dataset, "file_meta"):
            clean.file_meta = self._meta(dataset)
        return clean

    def _patient(self, dataset: Dataset) -> str:
        """The patient's pseudonym: of the ID, without one of the name, without both of the study or the object."""
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "SOPInstanceUID"):
            text = str(dataset.get(keyword) or "").strip(" \0")
            if text:
                return self.pseudonym(text)
        return self.pseudonym("")

    def _is_done(self, dataset: Dataset) -> bool:
        """Whether its dates were shifted with this key: it says so, and bears a name that only the key makes."""
        states = (dataset.get("PatientIdentityRemoved"), dataset.get("LongitudinalTemporalInformationModified"))
        return states == ("YES", "MODIFIED") and self._pseudonyms.is_own_name(str(dataset.get("PatientID") or ""))

    def _copy(self, dataset: Dataset, days: int) -> Dataset:
        """The dataset or the item of a sequence by the rules, its dates `days` earlier."""
        clean = _new_like(dataset)
        for tag in sorted(dataset.keys()):
            element = self._element(dataset, tag, days)
            if element is not None:
                clean[tag] = element
        return clean

    def _element(self, dataset: Dataset, tag: int, days: int) -> DataElement | RawDataElement | None:
        """What stands for one attribute; None where it goes."""
        rule = rule_of(tag)
        action = rule.action
        if rule.is_shifted:
            shifted = self._shifted(dataset, tag, rule.vr, days)
            if shifted is not None:
                return DataElement(tag, rule.vr, shifted)
        if action is Action.REMOVE:
            return None
        if action is Action.KEEP:
            return self._kept(dataset, tag, rule.vr, days)
        if action is Action.EMPTY:
            return _emptied(dataset, tag, rule.vr)
        return DataElement(tag, rule.vr, self._stand_in(dataset, tag, rule.vr, action))

    def _shifted(self, dataset: Dataset, tag: int, vr: str, days: int) -> list[str] | None:
        values = [shift_back(text, vr, days) if text else "" for text in _texts(dataset, tag)]
        return None if None in values else [value for value in values if value is not None]

    def _kept(self, dataset: Dataset, tag: int, vr: str, days: int) -> DataElement | RawDataElement | None:
        element = dataset.get_item(tag)
        if not _fits(element, vr):
            # Whatever that is, it is not what the rule was made for: a name in the place of a number.
            return None
        if vr != "SQ":
            # Raw bytes of the file go on as they are; unread, they cannot be changed.
            return element if isinstance(element, RawDataElement) else copy.deepcopy(element)
        items = dataset[tag].value
        if not isinstance(items, Sequence):
            return None
        return DataElement(tag, "SQ", Sequence([self._copy(item, days) for item in items]))

    def _stand_in(self, dataset: Dataset, tag: int, vr: str, action: Action) -> Any:
        """A value in the place of another; nothing in the place of nothing."""
        texts = _texts(dataset, tag) if vr in _TEXT_VRS else []
        if vr in _TEXT_VRS and not any(texts):
            return None
        if action is Action.UID or vr == "UI":
            return [self.uid(text) for text in texts]
        if action is Action.PSEUDONYM:
            return self.pseudonym(str(dataset[tag].value))
        if pydicom.datadict.keyword_for_tag(tag) == "TextValue":
            return self._content_text(dataset)
        if vr == "SQ":
            return Sequence([self._dummy_item(item) for item in _items(dataset, tag)])
        return _DUMMIES.get(vr, DUMMY)

    def _dummy_item(self, item: Dataset) -> Dataset:
        """An item of the same attributes that says nothing; its UIDs are keyed, so that references hold."""
        clean = Dataset()
        for tag in sorted(item.keys()):
            rule = rule_of(tag)
            if rule.action is Action.REMOVE:
                continue
            is_kind = rule.vr == "UI" and rule.action is Action.KEEP and _fits(item.get_item(tag), "UI")
            value = _texts(item, tag) if is_kind else self._stand_in(item, tag, rule.vr, Action.REPLACE)
            clean[tag] = DataElement(tag, rule.vr, value)
        return clean

    def _content_text(self, item: Dataset) -> str:
        """The text of a content item (PS3.3 C.17.3): a program's name stays, whatever a person wrote goes."""
        names = item.get("ConceptNameCodeSequence") or [Dataset()]
        code = (str(names[0].get("CodeValue") or ""), str(names[0].get("CodingSchemeDesignator") or ""))
        if code == (_TRACKING_ID, "DCM"):
            return self.pseudonym(str(item.TextValue))
        return str(item.TextValue) if code in [(name, "DCM") for name in _PROGRAM_TEXTS] else DUMMY

    def _meta(self, dataset: Dataset) -> FileMetaDataset:
        """File meta of what the file is and how it is coded; who sent it goes."""
        meta = FileMetaDataset()
        for keyword in ("MediaStorageSOPClassUID", "TransferSyntaxUID"):
            if keyword in dataset.file_meta:
                setattr(meta, keyword, dataset.file_meta[keyword].value)
        instance = dataset.get("SOPInstanceUID") or dataset.file_meta.get("MediaStorageSOPInstanceUID")
        if instance:
            meta.MediaStorageSOPInstanceUID = self.uid(str(instance))
        return meta


def _new_like(dataset: Dataset) -> Dataset:
    """An empty dataset that reads raw bytes as the old one did."""
    charset = dataset.original_character_set
    clean = Dataset(parent_encoding=charset) if charset else Dataset()
    clean.set_original_encoding(*dataset.original_encoding, charset or None)
    return clean


def _texts(dataset: Dataset, tag: int) -> list[str]:
    """The values of an attribute as text without its padding, whatever VR the file claims."""
    element = dataset.get_item(tag)
    value: Any = element.value
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    values: Iterable[Any] = value if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
    return ["" if one is None else str(one).strip(" \0") for one in values]


def _fits(element: DataElement | RawDataElement, vr: str) -> bool:
    """Whether a value may be what its attribute's VR says."""
    if element.VR not in (None, "UN", vr):
        kinds = [(one == "SQ", one in _TEXT_VRS) for one in (element.VR, vr)]
        if kinds[0] != kinds[1] or element.VR not in _KNOWN_VRS:
            return False
    repertoire = _REPERTOIRES.get(vr)
    if repertoire is None or element.value is None:
        return True
    value: Any = element.value
    if not isinstance(value, bytes):
        value = "\\".join(
            map(str, value if isinstance(value, list | pydicom.multival.MultiValue) else [value])
        ).encode()
    return repertoire.fullmatch(value) is not None


def _items(dataset: Dataset, tag: int) -> list[Dataset]:
    value = dataset[tag].value
    return list(value) if isinstance(value, Sequence) else []


def _emptied(dataset: Dataset, tag: int, vr: str) -> DataElement:
    if pydicom.datadict.keyword_for_tag(tag) == "ROIName":
        # Z allows a dummy; without one the ROIs of a structure set could not be told apart.
        number = dataset.get("ROINumber")
        return DataElement(tag, vr, "ROI" if number is None else f"ROI {int(number)}")
    return DataElement(tag, vr, Sequence() if vr == "SQ" else None)


def _state_method(clean: Dataset, dataset: Dataset) -> None:
    """Say what was done, as PS3.15 E.1.1 asks."""
    clean.PatientIdentityRemoved = "YES"
    clean.LongitudinalTemporalInformationModified = "MODIFIED"
    clean.DeidentificationMethod = f"tumorspread {__version__}: PS3.15 Annex E, Basic Profile"
    earlier = {str(item.get("CodeValue")) for item in dataset.get("DeidentificationMethodCodeSequence") or ()}
    kept = [(code, meaning) for code, meaning in _PIXEL_METHODS.items() if code in earlier]
    clean.DeidentificationMethodCodeSequence = Sequence(map(_coded, sorted([*METHODS, *kept])))


def _coded(method: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = method
    item.CodingSchemeDesignator = "DCM"
    return item
