"""A folder of DICOM files, written again without its patients: neutral names, every file or none."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pydicom
from pydicom.dataelem import RawDataElement

from tumorspread.errors import OutputError, ReadError
from tumorspread.scan.bundle import Bundle, open_bundle, plain
from tumorspread.scan.burned_in import find_pixel_risks
from tumorspread.scan.deidentify import Deidentifier
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS
from tumorspread.scan.quiet import quiet_to_the_end
from tumorspread.scan.volume import Remark

OnRisk = Literal["warn", "skip", "refuse"]
# A list of files by names, which would no longer hold (PS3.10 8.6).
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
UNDEFINED_LENGTH = 0xFFFFFFFF
# Digits that tell a patient's studies and series apart in the folders' names.
FOLDER_DIGITS = 10
CHECK_LIST = "look-at.csv"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL")


@dataclass(frozen=True)
class Risk:
    """Why the patient may still show in some of the files: their new names, or the old ones of those left out."""

    remark: Remark
    files: tuple[str, ...]


@dataclass(frozen=True)
class Tally:
    """What became of the files of a folder.

    Attributes:
        written: number of files written.
        patients: number of patients among them.
        not_dicom: number of files left out that are not DICOM.
        directories: number of DICOMDIR files, left out.
        damaged: names of the files left out that cannot be read.
        risks: where the patient may still show, among the written files.
        risks_left_out: the same of files that were left out for it.
    """

    written: int
    patients: int
    not_dicom: int
    directories: int
    damaged: tuple[str, ...]
    risks: tuple[Risk, ...]
    risks_left_out: tuple[Risk, ...]


@dataclass(frozen=True)
class _Outcome:
    """What became of one file; `name` is the new one where it was written, else the old one."""

    what: Literal["written", "not DICOM", "DICOMDIR", "damaged", "at risk"]
    name: str = ""
    risks: tuple[Remark, ...] = ()

    @property
    def patient(self) -> str:
        return self.name.split("/")[0]


def deidentify_folder(
    source: Path,
    folder: Path,
    deidentifier: Deidentifier,
    *,
    on_risk: OnRisk = "warn",
    skip_damaged: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Tally:
    """Write a de-identified copy of every DICOM file, as PATIENT/STUDY/SERIES/INSTANCE.dcm by keyed names.

    Args:
        source: folder (searched with its folders), zip or file.
        folder: to write into; on a refusal it holds only a part.
        deidentifier: with the key.
        on_risk: what is done with a file whose pixels may show the patient, see `find_pixel_risks`: written and
            named in the answer, left out, or a refusal of all.
        skip_damaged: leave out files that cannot be read, rather than refuse.
        progress: called with (done, total) files.

    Raises:
        ReadError: nothing there, no DICOM file among them, a damaged one or one at risk, by its name.
        OutputError: the folder cannot be written.
    """
    outcomes = []
    with open_bundle(source) as bundle:
        for number, file in enumerate(bundle.files):
            progress(number, len(bundle.files))
            try:
                outcome = _copy_file(bundle, file, folder, deidentifier, writes_risky=on_risk == "warn")
            except ReadError:
                if not skip_damaged:
                    raise
                outcome = _Outcome("damaged", plain(file))
            if outcome.what == "at risk" and on_risk == "refuse":
                raise ReadError(
                    f"{outcome.name}: {outcome.risks[0].text}; clean it first, or leave such files out with "
                    "--on-risk skip"
                )
            outcomes.append(outcome)
    tally = _count(outcomes)
    if not tally.written:
        raise ReadError(f"{plain(source.name)}: no DICOM files to write among {len(outcomes)} files")
    return tally


def write_check_list(tally: Tally, folder: Path) -> None:
    """Write `look-at.csv`, which names every written file whose pixels may show the patient, and why; none, no list.

    Raises:
        OutputError: it cannot be written.
    """
    rows = [(risk.remark.code, file) for risk in tally.risks for file in risk.files]
    if not rows:
        return
    path = folder / CHECK_LIST
    try:
        path.write_text("".join(f"{code},{file}\n" for code, file in [("why", "file"), *rows]), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{CHECK_LIST}: cannot be written ({error.strerror or error})") from error


def check_places(source: Path, out: Path, key: Path) -> None:
    """Refuse places that would mix what must stay apart.

    Raises:
        OutputError: `out` lies in `source`, or the key in `out` or in no folder.
    """
    inside, around = out.resolve(), source.resolve()
    if inside.is_relative_to(around):
        raise OutputError(f"{out} lies in {source}; name a folder outside, so that the two cannot be mixed up")
    if key.resolve().is_relative_to(inside):
        raise OutputError(f"the key {key} would lie in {out}, and be given away with it; keep it elsewhere")
    if not key.absolute().parent.is_dir():
        raise OutputError(f"the key {key} cannot be written: there is no folder {key.parent}; make it first")


def _count(outcomes: Sequence[_Outcome]) -> Tally:
    counts = Counter(outcome.what for outcome in outcomes)
    return Tally(
        written=counts["written"],
        patients=len({outcome.patient for outcome in outcomes if outcome.what == "written"}),
        not_dicom=counts["not DICOM"],
        directories=counts["DICOMDIR"],
        damaged=tuple(outcome.name for outcome in outcomes if outcome.what == "damaged"),
        risks=_gather(outcome for outcome in outcomes if outcome.what == "written"),
        risks_left_out=_gather(outcome for outcome in outcomes if outcome.what == "at risk"),
    )


def _gather(outcomes: Iterable[_Outcome]) -> tuple[Risk, ...]:
    risky: dict[Remark, list[str]] = defaultdict(list)
    for outcome in outcomes:
        for remark in outcome.risks:
            risky[remark].append(outcome.name)
    return tuple(Risk(remark, tuple(files)) for remark, files in risky.items())


def _copy_file(bundle: Bundle, file: str, folder: Path, deidentifier: Deidentifier, *, writes_risky: bool) -> _Outcome:
    if bundle.kind(file) != "dicom":
        if PurePosixPath(file).suffix.lower() == ".dcm":
            raise ReadError(f"{plain(file)}: empty or not DICOM; copy it again, or leave it out with --skip-damaged")
        return _Outcome("not DICOM")
    with quiet_to_the_end():
        dataset = _read(bundle, file)
        try:
            if _is_directory(dataset):
                return _Outcome("DICOMDIR")
            risks = find_pixel_risks(dataset)
            if risks and not writes_risky:
                return _Outcome("at risk", plain(file), risks)
            return _Outcome("written", _write(deidentifier(dataset), folder), risks)
        except (ReadError, *PYDICOM_FAULTS) as error:
            # Only the kind of fault: a library's words may quote what the file holds.
            fault = type(error.__cause__ or error).__name__
            raise ReadError(
                f"{plain(file)}: damaged DICOM attributes ({fault}); export it again, or leave it out with "
                "--skip-damaged"
            ) from error


def _read(bundle: Bundle, file: str) -> Any:
    """The whole dataset.

    Raises:
        ReadError: damaged, or truncated.
    """
    try:
        with bundle.open(file) as stream:
            dataset = pydicom.dcmread(stream, force=True)
            size = stream.seek(0, 2)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            bare = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else bare
        fault = _fault(dataset, size)
    except (*PYDICOM_FAULTS, UserWarning) as error:
        # Not the library's words: they may quote what the file holds.
        fault = type(error).__name__
    if fault:
        raise ReadError(
            f"{plain(file)}: a damaged DICOM file ({fault}); export it again, or leave it out with --skip-damaged"
        )
    return dataset


def _fault(dataset: Any, size: int) -> str:
    """What is wrong with a dataset that was read from `size` bytes; empty where nothing is."""
    elements = [dataset.get_item(tag) for tag in list(dataset.keys())]
    raw = [e for e in elements if isinstance(e, RawDataElement) and e.length != UNDEFINED_LENGTH]
    if any(len(e.value or b"") != e.length for e in raw):
        return "truncated"
    if not dataset.get("SOPClassUID") and not _is_directory(dataset):
        return "no SOPClassUID"
    if "Rows" in dataset and not any(keyword in dataset for keyword in _PIXELS):
        return "no pixels"
    is_last_raw = bool(raw) and raw[-1] is elements[-1] and not dataset.file_meta.TransferSyntaxUID.is_deflated
    # pydicom stops without a word at the first bytes of an element that is not whole.
    if is_last_raw and 0 < size - raw[-1].value_tell - raw[-1].length < 8:
        return "truncated"
    return ""


def _is_directory(dataset: Any) -> bool:
    return bool(dataset.file_meta.get("MediaStorageSOPClassUID") == DIRECTORY_CLASS)


def _write(clean: Any, folder: Path) -> str:
    """Write a dataset under its keyed name, which is returned; one that is taken gets a number."""
    parts = [str(clean.get(keyword) or "0")[-FOLDER_DIGITS:] for keyword in ("StudyInstanceUID", "SeriesInstanceUID")]
    place = PurePosixPath(clean.PatientID, *parts)
    instance, number = str(clean.get("SOPInstanceUID") or "0"), 1
    name = place / f"{instance}.dcm"
    while (folder / name).exists():
        number += 1
        name = place / f"{instance}_{number}.dcm"
    # Encoded first: what cannot be encoded is the file's fault, what cannot be written is the disk's.
    encoded = io.BytesIO()
    clean.save_as(encoded, enforce_file_format=True)
    try:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded.getbuffer())
    except OSError as error:
        raise OutputError(f"{name}: cannot be written ({error.strerror or error})") from error
    return str(name)
