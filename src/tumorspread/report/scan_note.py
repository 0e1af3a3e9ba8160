"""Where the scan of a result folder lies: `scan.json`, so that `view` finds it again.

Not part of the findings: a path names folders, and so perhaps a patient. Results that were deidentified have none.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tumorspread.errors import ReadError
from tumorspread.scan.dicom import Tilt

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE = "scan.json"


@dataclass(frozen=True)
class ScanNote:
    """How the scan was read and measured.

    Attributes:
        scan: its absolute path; relative to the result folder where it lies in that.
        series: for DICOM the series, as `read` took it.
        tilt: what became of a tilted gantry.
        lobes: absolute path of the lobe mask that was brought along.
    """

    scan: str
    series: str | None = None
    tilt: Tilt = "resample"
    lobes: str | None = None


def note_scan(
    folder: Path, scan: Path, *, series: str | None = None, tilt: Tilt = "resample", lobes: Path | None = None
) -> None:
    """Write the note into a result folder that is being made."""
    _write(folder, ScanNote(os.path.abspath(scan), series, tilt, None if lobes is None else os.path.abspath(lobes)))


def note_own_scan(folder: Path, name: str) -> None:
    """The same for a scan that lies in the result folder."""
    _write(folder, ScanNote(name))


def _write(folder: Path, note: ScanNote) -> None:
    (folder / FILE).write_text(json.dumps(asdict(note), indent=2) + "\n", encoding="utf-8")


def read_note(path: Path) -> ScanNote:
    """Read it back.

    Raises:
        ReadError: damaged.
    """
    from pydantic import ValidationError

    try:
        return _adapter().validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise ReadError(f"{path.parent.name}/{FILE}: not a note of tumorspread; name the scan with --scan") from error


@cache
def _adapter() -> TypeAdapter[ScanNote]:
    from pydantic import TypeAdapter

    return TypeAdapter(ScanNote)
