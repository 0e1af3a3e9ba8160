"""A folder for a cohort, and two workers for a module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from tumorspread.cohort.place import Place  # noqa: E402


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "study")


@pytest.fixture(scope="module")
def client():
    """Two workers on this machine, in processes that may die."""
    from tumorspread.cohort.engine import Engine, open_client

    with open_client(Engine(workers=2)) as client:
        yield client
