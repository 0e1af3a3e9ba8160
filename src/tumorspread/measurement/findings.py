"""The measured answer, and its JSON.

`Findings` is what travels from `measurement` to `report`, and what stands in `findings.json` (docs/findings.md).
Its parts are described in `parts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tumorspread.measurement.parts import Burden, Lesion, Lungs, Origin, ScanInfo, Spread, Stage
from tumorspread.measurement.written import Written
from tumorspread.scan.volume import Remark

SCHEMA_VERSION = 1
DISCLAIMER = "Research use only. Not a medical device; not for diagnosis or treatment."


@dataclass(frozen=True)
class Findings(Written):
    """The whole answer for one scan, lesions largest first."""

    file: ClassVar[str] = "findings.json"
    version: ClassVar[int] = SCHEMA_VERSION

    scan: ScanInfo
    origin: Origin
    lungs: Lungs
    lesions: tuple[Lesion, ...]
    burden: Burden
    spread: Spread
    warnings: tuple[Remark, ...] = ()
    disclaimer: str = DISCLAIMER
    schema: int = SCHEMA_VERSION
    stage: Stage | None = None
