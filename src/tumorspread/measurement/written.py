"""Answers that are written as JSON and read back, each with a version of its schema."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from tumorspread.errors import ReadError
from tumorspread.scan.volume import Remark

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Written:
    """What a frozen dataclass needs to be written as JSON.

    Attributes:
        file: name of the file.
        version: of the schema that this version of tumorspread writes and reads; the field `schema` holds it.
        schema: as written.
        warnings: what the reader of the answer must know.
    """

    file: ClassVar[str]
    version: ClassVar[int]
    schema: int
    warnings: tuple[Remark, ...]

    # Goes for every part: a number that is none would go on into tables and sums.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"allow_inf_nan": False}

    def to_json(self) -> str:
        """The JSON text, indented, ending in a newline; its fields are described in docs/."""
        return str(_adapter(cast(Hashable, type(self))).dump_json(self, indent=2).decode()) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what `to_json` wrote.

        Raises:
            ReadError: not JSON, another schema version, a missing field or one of the wrong type.
        """
        from pydantic import ValidationError

        try:
            found: Self = _adapter(cast(Hashable, cls)).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ReadError(f"not a {cls.file} of tumorspread: {place}: {first['msg']}") from error
        if found.schema != cls.version:
            raise ReadError(f"{cls.file} has schema {found.schema}; this version reads {cls.version}")
        return found


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
