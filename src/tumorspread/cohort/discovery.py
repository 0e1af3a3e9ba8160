"""What INPUT is, and so where its cases are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tumorspread.cohort.archive import find_in_archive
from tumorspread.cohort.cases import Found, with_own_ids
from tumorspread.cohort.far import find_far
from tumorspread.cohort.folders import NIFTI, find_in_folders
from tumorspread.cohort.listing import read_listing
from tumorspread.cohort.place import is_far
from tumorspread.dicomweb.query import is_query
from tumorspread.dicomweb.server import Credentials
from tumorspread.errors import DatasetError


def find_cases(source: str, *, all_series: bool = False, credentials: Credentials = Credentials()) -> Iterator[Found]:
    """The cases of a cohort, and what was found and is none; each case with an id of its own.

    Args:
        source: a folder, a CSV, a DICOMweb query (see `is_query`), or an address of a folder that fsspec opens.
        all_series: of a DICOM study, take each CT series.
        credentials: for a DICOMweb server.

    Raises:
        DatasetError: nothing there, or nothing of that kind.
    """
    if is_query(source):
        return with_own_ids(find_in_archive(source, credentials, all_series=all_series))
    if credentials != Credentials():
        raise DatasetError(f"{source}: --header-file, --header-env and --ca are for a DICOMweb address; leave them out")
    if is_far(source):
        return with_own_ids(find_far(source))
    path = Path(source)
    if path.is_dir():
        return with_own_ids(find_in_folders(path, all_series=all_series))
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        return with_own_ids(read_listing(path))
    if path.is_file() and path.name.endswith(NIFTI):
        raise DatasetError(f"{source}: one scan; `tumorspread analyse` is for that, or give its folder")
    what = "a file of another kind" if path.exists() else "no such file or folder"
    raise DatasetError(f"{source}: {what}; expected a folder of scans, a CSV with the column scan, or an address")
