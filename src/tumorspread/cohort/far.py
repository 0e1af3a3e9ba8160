"""A cohort at an address that fsspec opens: a bucket, an FTP server, another machine's disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from tumorspread.cohort.cases import Case, Found, Skipped, digest_of, safe_id
from tumorspread.cohort.folders import NIFTI
from tumorspread.cohort.place import open_address
from tumorspread.errors import DatasetError, NetworkError


def find_far(source: str) -> Iterator[Found]:
    """The NIFTI files and zips of DICOM series under an address; a folder of DICOM files counts as one series.

    Headers are not looked into, since each would be fetched: what a file is shows when its worker reads it.

    Raises:
        DatasetError: nothing there.
        NetworkError: it cannot be reached.
    """
    filesystem, root = open_address(source)
    protocol = source.partition("://")[0]
    try:
        found = filesystem.find(root, detail=True)
    except OSError as error:
        raise NetworkError(f"{source}: cannot be looked into ({error})") from error
    if not found:
        raise DatasetError(f"{source}: nothing there; expected a folder of scans")
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, detail in sorted(found.items()):
        name = PurePosixPath(path).name
        if name.endswith((*NIFTI, ".zip")):
            place = str(PurePosixPath(path).relative_to(root)) if path != root else name
            stem = place.removesuffix(".zip").removesuffix(".gz").removesuffix(".nii")
            yield _case(safe_id(stem), f"{protocol}://{path.lstrip('/')}", [detail], protocol)
        elif name.endswith((".dcm", ".DCM", ".ima", ".IMA")) or "." not in name:
            folders.setdefault(str(PurePosixPath(path).parent), []).append(detail)
        else:
            yield Skipped(f"{protocol}://{path}", "neither NIfTI, zip nor DICOM by its name")
    for folder, details in folders.items():
        place = str(PurePosixPath(folder).relative_to(root)) if folder != root else PurePosixPath(root).name
        yield _case(safe_id(place or "scan"), f"{protocol}://{folder.lstrip('/')}", details, protocol)


def _case(name: str, address: str, details: list[dict[str, Any]], protocol: str) -> Case:
    # A path of this machine keeps its first slash.
    if protocol in ("file", "local", "memory"):
        address = address.replace("://", ":///", 1)
    marks = [str(d.get("ETag") or d.get("mtime") or d.get("LastModified") or d.get("created") or "") for d in details]
    size = sum(int(detail.get("size") or 0) for detail in details)
    return Case(name, address, stamp=digest_of(f"{size} {marks}")[:12], size_bytes=size)
