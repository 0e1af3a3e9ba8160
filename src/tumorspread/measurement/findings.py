"""The measured answer, and its JSON.

`Findings` is what travels from `measurement` to `report`, and what stands in `findings.json` (docs/findings.md).
Its parts are described in `parts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from tumorspread.errors import ReadError
from tumorspread.measurement.parts import Burden, Lesion, Lungs, Origin, ScanInfo, Spread, Stage
from tumorspread.scan.volume import Remark

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1
DISCLAIMER = "Research use only. Not a medical device; not for diagnosis or treatment."


@dataclass(frozen=True)
class Findings:
    """The whole answer for one scan, lesions largest first."""

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

    # Goes for every part: a number that is none would go on into tables and sums.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"allow_inf_nan": False}

    def to_json(self) -> str:
        """The JSON text of docs/findings.md, indented, ending in a newline."""
        return _adapter().dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """Read back what `to_json` wrote.

        Raises:
            ReadError: not JSON, another schema version, a missing field or one of the wrong type.
        """
        from pydantic import ValidationError

        try:
            findings = _adapter().validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ReadError(f"not a findings.json of tumorspread: {place}: {first['msg']}") from error
        if findings.schema != SCHEMA_VERSION:
            raise ReadError(f"findings.json has schema {findings.schema}; this version reads {SCHEMA_VERSION}")
        return findings


@cache
def _adapter() -> TypeAdapter[Findings]:
    from pydantic import TypeAdapter

    return TypeAdapter(Findings)
