"""What is known of a series in the queue, as one small file beside its slices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from tumorspread.errors import ReadError

State = Literal["received", "ready", "analysed", "sent", "done", "failed"]


@dataclass(frozen=True)
class Record:
    """The state of a series; each change of it is one rename.

    Attributes:
        state: `received`, more may come; `ready`, complete, waits for the analysis; `analysed`, the results wait to be
            sent; `sent`, the PACS has taken all of them; `done`, closed; `failed`, see the reason.
        caller: AET of the last one to send slices.
        whole: whether the last association that brought slices was released, not cut off.
        slices: `digest` of the slices that the state speaks of.
        sent: `digest` of the slices whose results the PACS has taken last.
        attempts: analyses of these slices that were begun and neither finished nor refused.
        reason: why it failed, or was closed without an analysis.
    """

    state: State = "received"
    caller: str = ""
    whole: bool = False
    slices: str = ""
    sent: str = ""
    attempts: int = 0
    reason: str | None = None

    def to_bytes(self) -> bytes:
        """As JSON."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def read_record(path: Path) -> Record:
    """The record in a file; a new one where there is none.

    Raises:
        ReadError: the file is damaged, which no crash of ours does.
    """
    if not path.exists():
        return Record()
    known = {field.name for field in fields(Record)}
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict) or set(found) != known or found["state"] not in get_args(State):
            raise ValueError
    except ValueError as error:
        raise ReadError(
            f"{path}: damaged, expected the record of a series; move the folder of this series away and send it again"
        ) from error
    return Record(**found)


def digest(slices: Iterable[str]) -> str:
    """A name for a set of slices, by their SOPInstanceUIDs: 32 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(slices)).encode()).hexdigest()[:32]
