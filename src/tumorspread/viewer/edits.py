"""What people may do to a lesion map, as they send it and as the journal keeps it.

Indices are those of NIfTI: a flat voxel index runs fastest along x, a place is (x, y, z).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from tumorspread.errors import TumorspreadError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# A drawn stroke has a run for each row it crosses; a whole lung of 500 x 300 rows has 150,000.
MOST_RUNS = 200_000
LONGEST_NAME = 80
# Besides letters, digits and spaces: what names are written with, and no mark-up.
NAME_MARKS = ".,'’-_@()+"


class EditError(TumorspreadError):
    """The edit cannot be made of this map; it holds nothing that asks for it."""


def check_name(name: str) -> str:
    """A name of a person or a case, as it may be kept and shown.

    Raises:
        ValueError: empty, longer than 80 characters, or with characters that names do not have.
    """
    name = name.strip()
    if not name or len(name) > LONGEST_NAME:
        raise ValueError(f"expected a name of 1 to {LONGEST_NAME} characters")
    if not all(c.isalnum() or c == " " or c in NAME_MARKS for c in name):
        raise ValueError(f"expected a name of letters, digits, spaces and {NAME_MARKS}")
    return name


Name = Annotated[str, AfterValidator(check_name), Field(max_length=4 * LONGEST_NAME)]
LesionId = Annotated[int, Field(ge=1, le=2**16 - 1)]
Index = Annotated[int, Field(ge=0, le=2**40)]
Run = tuple[Index, Annotated[int, Field(ge=1, le=2**40)]]
Runs = Annotated[tuple[Run, ...], Field(min_length=1, max_length=MOST_RUNS)]
Place = tuple[Index, Index, Index]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a case: upon which revision, and by whom."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    revision: Annotated[int, Field(ge=0, le=2**31)]
    author: Name


@dataclass(frozen=True, kw_only=True)
class Paint(Step):
    """Voxels become part of a lesion; `lesion` null makes a new one of them."""

    kind: Literal["paint"] = "paint"
    lesion: LesionId | None = None
    runs: Runs


@dataclass(frozen=True, kw_only=True)
class Erase(Step):
    """Voxels are of no lesion any more."""

    kind: Literal["erase"] = "erase"
    runs: Runs


@dataclass(frozen=True, kw_only=True)
class Fill(Step):
    """The holes of a lesion are closed."""

    kind: Literal["fill"] = "fill"
    lesion: LesionId


@dataclass(frozen=True, kw_only=True)
class Delete(Step):
    """A lesion is none."""

    kind: Literal["delete"] = "delete"
    lesion: LesionId


@dataclass(frozen=True, kw_only=True)
class Accept(Step):
    """Somebody has looked at a lesion and takes it for one, or takes that back."""

    kind: Literal["accept"] = "accept"
    lesion: LesionId
    accepted: bool = True


@dataclass(frozen=True, kw_only=True)
class Split(Step):
    """A lesion becomes several: by what is nearer to which of two places inside it, or at its necks."""

    kind: Literal["split"] = "split"
    lesion: LesionId
    at: tuple[Place, Place] | None = None


@dataclass(frozen=True, kw_only=True)
class Merge(Step):
    """Two lesions become one, which keeps the id of the first."""

    kind: Literal["merge"] = "merge"
    lesions: tuple[LesionId, LesionId]


@dataclass(frozen=True, kw_only=True)
class Grow(Step):
    """What is as dense as a place and joined to it becomes part of a lesion; `lesion` null makes a new one."""

    kind: Literal["grow"] = "grow"
    seed: Place
    lesion: LesionId | None = None


@dataclass(frozen=True, kw_only=True)
class Undo(Step):
    """The last edit that stands is taken back."""

    kind: Literal["undo"] = "undo"


@dataclass(frozen=True, kw_only=True)
class Redo(Step):
    """The last edit that was taken back is made again."""

    kind: Literal["redo"] = "redo"


@dataclass(frozen=True, kw_only=True)
class Review:
    """Whether a case was read, and by whom."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    reviewed: bool
    author: Name


Change = Paint | Erase | Fill | Delete | Accept | Split | Merge | Grow


@cache
def change_adapter() -> TypeAdapter[Change]:
    """Reads an edit from JSON and describes it for the API."""
    from pydantic import TypeAdapter

    return TypeAdapter(Annotated[Change, Field(discriminator="kind")])


@cache
def step_adapter() -> TypeAdapter[Step]:
    """Reads `revision` and `author` alone, as undo and redo have them."""
    from pydantic import TypeAdapter

    return TypeAdapter(Step)


@cache
def review_adapter() -> TypeAdapter[Review]:
    """Reads `reviewed` and `author`."""
    from pydantic import TypeAdapter

    return TypeAdapter(Review)


def shown(step: Step) -> dict[str, Any]:
    """What the journal keeps of an edit: all but the voxels, which stand beside it."""
    kept = {name: value for name, value in asdict(step).items() if name not in ("runs", "revision", "author")}
    return dict(json.loads(json.dumps(kept)))
