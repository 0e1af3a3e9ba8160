"""An analysis that knows its answer; light, since each job's process imports it anew."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from tumorspread.errors import ReadError
from tumorspread.viewer.analysis import Told

FIRST = "TUMORSPREAD_TEST_FIRST_RESULT"


def copy_result(folder, name, tell):
    tell(Told("network", 1, 2))
    if name == "refused":
        raise ReadError("not a chest")
    if name == "faulty":
        raise ZeroDivisionError("secret value")
    if name == "killed":
        os.kill(os.getpid(), 9)
    while name == "slow":
        time.sleep(0.05)
    file = next(path.name for path in folder.iterdir())
    shutil.copytree(Path(os.environ[FIRST]) / "result", folder / "result")
    (folder / file).rename(folder / "result" / file)
    (folder / "result" / "scan.json").write_text(json.dumps({"scan": file}))
