"""`tumorspread`, with a record of what each process saw: FOLDER/RANK.json holds its patches, scans and steps' losses.

Usage: RECORD=FOLDER python -m tests.model.recorded train ...
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tumorspread.cli import main
from tumorspread.data.patches import PatchDataset
from tumorspread.model import training_data
from tumorspread.model.segmenter import Segmenter

SEEN: dict[str, list[Any]] = {"patches": [], "scans": [], "losses": []}


def recording(function: Callable[..., Any], name: str, of: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(*arguments: Any) -> Any:
        result = function(*arguments)
        SEEN[name].append(of(result, *arguments))
        return result

    return recorded


if __name__ == "__main__":
    PatchDataset.__getitem__ = recording(PatchDataset.__getitem__, "patches", lambda _, __, number: number)
    training_data._arrays = recording(training_data._arrays, "scans", lambda _, case: case and case.name)
    Segmenter.training_step = recording(Segmenter.training_step, "losses", lambda loss, *_: loss.item())
    try:
        main()
    finally:
        folder = Path(os.environ["RECORD"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0'))}.json").write_text(json.dumps(SEEN))
