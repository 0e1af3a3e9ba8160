"""A scan that somebody sends: on the disk piece by piece, and judged by its headers before any voxel is unpacked."""

from __future__ import annotations

import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from fastapi import HTTPException
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from tumorspread.errors import ReadError
from tumorspread.scan.bundle import ZIP_FAULTS, file_kind, open_bundle
from tumorspread.scan.nifti import check_nifti
from tumorspread.scan.read import scan_kind
from tumorspread.viewer.edits import check_name

# A chest of 2,000 slices of 512 x 512 holds 1 GiB unpacked.
MOST_BYTES = 4 * 2**30
MOST_VOXELS = 2**30
MOST_FIELD_BYTES = 4096
SUFFIXES = {"nifti": ".nii", "gzip": ".nii.gz", "zip": ".zip", "dicom": ".dcm"}


class Upload:
    """Takes the parts of a multipart body: `scan`, a file, and perhaps `name`.

    Args:
        kind: the Content-Type of the request.
        folder: where the file grows.

    Raises:
        HTTPException: 415 not multipart.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        told, options = parse_options_header(kind)
        boundary = options.get(b"boundary")
        if told != b"multipart/form-data" or not boundary or len(boundary) > 200:
            raise HTTPException(415, "expected multipart/form-data with a file `scan`")
        self.path = folder / "upload"
        self.name = ""
        self.file_name = ""
        self._fields: dict[str, bytearray] = {}
        self._header = bytearray(), bytearray()
        self._part: str | None = None
        self._is_whole = False
        self._stream = self.path.open("xb")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, a, b: self._grow(self._header[0], data[a:b]),
                "on_header_value": lambda data, a, b: self._grow(self._header[1], data[a:b]),
                "on_header_end": self._end_header,
                "on_part_data": self._take,
                "on_end": self._end,
            },
        )

    async def read(self, pieces: AsyncIterator[bytes], most_bytes: int = MOST_BYTES) -> None:
        """Take the whole body.

        Raises:
            HTTPException: 413 larger than allowed, 422 broken or without a scan.
        """
        size = 0
        try:
            async for piece in pieces:
                size += len(piece)
                if size > most_bytes:
                    raise HTTPException(413, f"more than {most_bytes / 2**30:.3g} GiB; analyse it with the command")
                self._parser.write(piece)
            self._parser.finalize()
        except MultipartParseError as error:
            raise HTTPException(422, "the body is broken: its parts do not end as they begin") from error
        finally:
            self._stream.close()
        if not self._is_whole or "scan" not in self._fields:
            raise HTTPException(422, "expected a file `scan`, whole")
        self.name = self._shown_name()

    def _shown_name(self) -> str:
        """The name that was given, or that of the file; checked."""
        given = self._fields.get("name")
        try:
            if given:
                return check_name(given.decode("utf-8"))
        except ValueError as error:
            raise HTTPException(422, f"name: {error}") from error
        stem = re.sub(r"[^\w .,()+-]+", "-", PurePosixPath(self.file_name.replace("\\", "/")).name)
        stem = re.sub(r"(\.nii)?(\.gz)?(\.zip)?(\.dcm)?$", "", stem.strip(" .-"))[:60]
        try:
            return check_name(stem)
        except ValueError:
            return "uploaded scan"

    def _begin(self) -> None:
        self._part = None

    def _grow(self, target: bytearray, data: bytes) -> None:
        target += data
        if len(target) > MOST_FIELD_BYTES:
            raise HTTPException(422, "a header or field is too long")

    def _end_header(self) -> None:
        field, value = (bytes(part) for part in self._header)
        self._header[0].clear()
        self._header[1].clear()
        if field.lower() != b"content-disposition":
            return
        _, options = parse_options_header(value)
        part = options.get(b"name", b"").decode("latin-1")
        if part not in ("scan", "name") or part in self._fields:
            raise HTTPException(422, "expected one file `scan`, and perhaps one `name`")
        self._part, self._fields[part] = part, bytearray()
        if part == "scan":
            self.file_name = options.get(b"filename", b"").decode("utf-8", "replace")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._part is None:
            raise HTTPException(422, "a part without a name")
        if self._part == "scan":
            self._stream.write(data[start:end])
        else:
            self._grow(self._fields[self._part], data[start:end])

    def _end(self) -> None:
        self._is_whole = True


def judge_scan(path: Path) -> Path:
    """Look at the headers of what was sent, and give it the name that its kind has.

    Args:
        path: the file.

    Returns:
        Where it lies now, in the same folder.

    Raises:
        ReadError, GeometryError: no scan that is read here, or one that claims more than it can hold.
    """
    kind = file_kind(path)
    if kind not in SUFFIXES:
        raise ReadError("not a scan: expected NIfTI (.nii, .nii.gz), or a zip of DICOM slices")
    if kind == "zip":
        _judge_zip(path)
    elif kind != "dicom":
        check_nifti(path, most_voxels=MOST_VOXELS)
    return path.rename(path.with_name(f"scan{SUFFIXES[kind]}"))


def _judge_zip(path: Path) -> None:
    """Read in place, a zip can lead nowhere; names that try to are refused all the same."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.replace("\\", "/")
                is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
                if is_link or name.startswith("/") or ".." in name.split("/") or ":" in name or "\0" in name:
                    raise ReadError("the zip holds links, or names that lead out of it")
    except ZIP_FAULTS as error:
        raise ReadError(f"a damaged zip ({type(error).__name__})") from error
    with open_bundle(path):
        pass
    if scan_kind(path) != "dicom":
        raise ReadError("the zip holds no DICOM; send NIfTI as it is")
