"""`tumorspread series`: what is in a DICOM folder, and which of it can be read.

Everything heavy is imported inside the verb, so that `--help` answers at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorspread.cli.terminal import print_table

if TYPE_CHECKING:
    from tumorspread.scan.dicom_series import Series

HEADER = (
    "number", "description", "kind", "slices", "spacing mm", "thickness mm", "kernel", "UID ends in", "complete",
)  # fmt: skip
# Shorter endings look alike to people even where they differ.
SHORTEST_ENDING = 6


def series(
    folder: Annotated[Path, typer.Argument(help="Folder, zip or DICOMDIR of DICOM files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """List the series in a DICOM folder, for `--series`.

    Descriptions are shown as they stand in the files; some hospitals write names into them.

    \b
    Examples:
      tumorspread series dicom_folder/
      tumorspread analyse dicom_folder/ -o result --series 83921.7
    """
    from tumorspread.scan.dicom import list_series

    found = list_series(folder)
    if as_json:
        print(json.dumps([asdict(one) | {"is_complete": one.is_complete} for one in found], indent=2))
        return
    endings = _endings([one.uid for one in found])
    print_table(HEADER, [_row(one, ending) for one, ending in zip(found, endings, strict=True)])


def _row(one: Series, ending: str) -> tuple[str, ...]:
    from tumorspread.scan.bundle import plain

    spacing = "x".join(f"{mm:.4g}" for mm in one.spacing_mm) if one.spacing_mm is not None else ""
    cells = (
        one.number,
        one.description,
        f"{one.plane} {one.kind}".strip(),
        str(one.slices),
        spacing,
        "" if one.thickness_mm is None else f"{one.thickness_mm:g}",
        one.kernel,
        ending,
    )
    # What is wrong stands last, since it is long, and is not cut short: it says what to do.
    problem = "yes" if one.problem is None else f"no: {' '.join(one.problem.split())}"
    return (*(plain(cell) or "-" for cell in cells), problem)


def _endings(uids: Sequence[str]) -> list[str]:
    """The shortest ending of each UID that no other has."""

    def ending(uid: str) -> str:
        others = [other for other in set(uids) if other != uid]
        lengths = range(SHORTEST_ENDING, len(uid))
        return next((uid[-n:] for n in lengths if not any(o.endswith(uid[-n:]) for o in others)), uid)

    return [ending(uid) for uid in uids]
