"""A data set of phantoms in MSD layout, with its truth beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tumorspread.data.cases import DatasetInfo, new_folder, write_case, write_dataset_json
from tumorspread.data.phantom import PhantomConfig, TrueLesion, make_phantom
from tumorspread.errors import DatasetError

TRUTH = "truth.json"


def write_phantoms(
    out: Path,
    count: int,
    *,
    seed: int = 0,
    config: PhantomConfig = PhantomConfig(),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `count` phantoms in MSD layout, and `truth.json` with their lesions by case name.

    Args:
        out: folder to make; must be missing or empty. It appears whole or not at all.
        count: number of phantoms.
        seed: of the first; the next ones count on.
        config: what they look like.
        progress: called with (phantoms done, phantoms in all).

    Returns:
        `out`.

    Raises:
        DatasetError: the folder exists and is not empty, or a count below 1.
        OutputError: the folder cannot be written.
    """
    if count < 1:
        raise DatasetError(f"{count} phantoms asked for; expected 1 or more")
    names = [f"phantom_{i:03d}" for i in range(count)]
    info = DatasetInfo("Phantoms", training=tuple(names))
    truth = {}
    with new_folder(out) as folder:
        for i, name in enumerate(names):
            phantom = make_phantom(seed + i, config)
            write_case(folder, name, phantom.scan, phantom.mask, info)
            truth[name] = [asdict(lesion) for lesion in phantom.lesions]
            if progress is not None:
                progress(i + 1, count)
        (folder / TRUTH).write_text(json.dumps(truth, indent=1) + "\n")
        write_dataset_json(folder, info)
    return out


def read_truth(folder: Path) -> dict[str, tuple[TrueLesion, ...]]:
    """The lesions by case name that `write_phantoms` left in `folder`.

    Raises:
        DatasetError: no readable `truth.json` there.
    """
    try:
        return TypeAdapter(dict[str, tuple[TrueLesion, ...]]).validate_json((folder / TRUTH).read_bytes())
    except (OSError, ValidationError) as error:
        raise DatasetError(f"{folder}/{TRUTH} cannot be read; was this folder made by `data phantoms`?") from error
