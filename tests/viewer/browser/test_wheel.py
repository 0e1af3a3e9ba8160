"""A wheel carries all of the page: what is installed from it needs no network."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tumorspread.viewer.niivue import SCRIPT, STATIC

ROOT = Path(__file__).resolve().parents[3]


def test_a_wheel_holds_the_page_with_niivue_and_its_licence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=500)
    (path,) = tmp_path.glob("tumorspread-*.whl")
    with zipfile.ZipFile(path) as wheel:
        inside = {Path(name).name: name for name in wheel.namelist() if "/viewer/static/" in name}
        assert {source.name for source in STATIC.iterdir() if source.name != ".gitkeep"} <= set(inside)
        assert wheel.read(inside[SCRIPT]) == (STATIC / SCRIPT).read_bytes()
        assert b"BSD 2-Clause License" in wheel.read(inside["NOTICE"])
