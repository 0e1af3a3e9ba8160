"""A study fetched from a DICOMweb server, results stored in one (DICOM PS3.18: QIDO-RS, WADO-RS, STOW-RS)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client import DICOMwebClient

from tumorspread.dicomweb.server import NOT_THERE, Server, one_line, open_client, value
from tumorspread.errors import NetworkError, ReadError
from tumorspread.report.folder import open_folder
from tumorspread.scan.bundle import plain, plain_list
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS
from tumorspread.scan.dicom_values import fault, is_uid


def fetch(server: Server, study: str, folder: Path, *, series: str | None = None) -> list[Path]:
    """Fetch a study, or one series of it, as the server has it stored.

    Args:
        server: where from.
        study: StudyInstanceUID.
        folder: to be made; it appears when all of it has come, `SeriesInstanceUID/SOPInstanceUID.dcm` in it.
        series: SeriesInstanceUID; None takes all.

    Returns:
        The files.

    Raises:
        NetworkError: the server cannot be reached or refuses; the study came by half.
        ReadError: not a UID, or the study is not there.
        OutputError: the folder is there already, or cannot be written.
    """
    for uid in (study, *([] if series is None else [series])):
        if not is_uid(uid):
            raise ReadError(f"{plain(uid)!r} is no DICOM UID; expected digits and dots")
    with open_folder(folder) as growing, open_client(server) as client, one_line(server.url):
        wanted = _instances(client, study, series)
        if not wanted:
            raise ReadError(f"{server.url}: {NOT_THERE}")
        for one in sorted({name for name, _ in wanted}):
            instances = {instance for name, instance in wanted if name == one}
            _fetch_series(client, study, one, instances, growing / one)
        names = [path.relative_to(growing) for path in sorted(growing.rglob("*.dcm"))]
    return [folder / name for name in names]


def store(server: Server, files: Sequence[Path]) -> int:
    """Store files, a request each.

    To store a file again changes nothing in a server, so after an error all may be given once more.

    Args:
        server: where to.
        files: DICOM files.

    Returns:
        How many.

    Raises:
        NetworkError: the server cannot be reached or refuses; the message says how many it has taken.
        ReadError: a file is not DICOM; nothing is sent then.
    """
    for file in files:
        _read(file)
    with open_client(server) as client:
        for number, file in enumerate(files):
            try:
                with one_line(server.url):
                    answer = client.store_instances([_read(file)])
                    _check_stored(server.url, file, answer)
            except NetworkError as error:
                raise NetworkError(f"{error} ({number} of {len(files)} files are stored)") from error
    return len(files)


def _instances(client: DICOMwebClient, study: str, series: str | None) -> set[tuple[str, str]]:
    """SeriesInstanceUID and SOPInstanceUID of what there is to fetch."""
    found = client.search_for_instances(
        study, series, fields=["SeriesInstanceUID", "SOPInstanceUID"], get_remaining=True
    )
    pairs = {(value(one, "0020000E") or str(series), value(one, "00080018")) for one in found}
    if any(not is_uid(uid) for pair in pairs for uid in pair):
        raise NetworkError(f"{client.base_url}: its list of instances holds one without a UID")
    return pairs


def _fetch_series(client: DICOMwebClient, study: str, series: str, wanted: set[str], folder: Path) -> None:
    folder.mkdir()
    came: set[str] = set()
    # `*`: as it is stored; without, the server unpacks what is compressed, and lossy pixels lose their mark.
    parts = client.iter_series(study, series, media_types=(("application/dicom", "*"),))
    try:
        for dataset in parts:
            instance = str(dataset.SOPInstanceUID)
            if instance in wanted and instance not in came:
                dataset.save_as(folder / f"{instance}.dcm", enforce_file_format=True)
                came.add(instance)
    except requests.exceptions.RequestException:
        raise
    except PYDICOM_FAULTS as error:
        raise NetworkError(f"{client.base_url}: sent a damaged file ({type(error).__name__}); try again") from error
    if came != wanted:
        raise NetworkError(
            f"{client.base_url}: {len(came)} of {len(wanted)} files of a series came, without "
            f"{plain_list(sorted(wanted - came))}; try again"
        )


def _read(file: Path) -> Any:
    try:
        return pydicom.dcmread(file)
    except PYDICOM_FAULTS as error:
        raise ReadError(f"{plain(str(file))}: not a DICOM file that can be sent ({fault(error)})") from error


def _check_stored(url: str, file: Path, answer: Any) -> None:
    """PS3.18 table 10.5.1-2: a 200 or 202 may still hold a refusal."""
    failed = answer.get("FailedSOPSequence")
    if failed:
        code = int(failed[0].get("FailureReason") or 0)
        raise NetworkError(f"{url}: refused {plain(file.name)} (reason 0x{code:04X})")
    if not answer.get("ReferencedSOPSequence"):
        raise NetworkError(f"{url}: does not say that it has stored {plain(file.name)}")
