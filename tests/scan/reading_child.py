"""Reads one path after another in a process of its own, so that a crash, a hang or a flood of memory ends only that.

A request is a line of JSON `{"path": ..., "series": ..., "save": ...}` on stdin, the answer one on stdout: class and
message of the error (null where none), seconds, MiB at the most above what was held before, remarks, affine. The voxels
are saved at `save` where it is given.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from tumorspread.errors import TumorspreadError
from tumorspread.scan.dicom import list_series
from tumorspread.scan.read import read


def main() -> None:
    # pydicom logs what it meets; nobody reads it here.
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def answer(request: dict) -> dict:
    path, started, before = Path(request["path"]), time.perf_counter(), memory_mib("VmRSS")
    # Linux then counts the peak from here on.
    Path("/proc/self/clear_refs").write_text("5")
    found: dict = {"error": None, "message": "", "is_ours": True}
    try:
        if request.get("list"):
            found["rows"] = len(list_series(path))
        else:
            volume = read(path, series=request.get("series"))
            found |= {"affine": volume.affine.tolist(), "remarks": [remark.code for remark in volume.remarks]}
            if request.get("save"):
                np.save(request["save"], volume.voxels)
    except TumorspreadError as error:
        found |= {"error": type(error).__name__, "message": str(error)}
    except BaseException as error:
        found |= {"error": type(error).__name__, "message": traceback.format_exc(), "is_ours": False}
    return found | {"seconds": time.perf_counter() - started, "mib": memory_mib("VmHWM") - before}


def memory_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
