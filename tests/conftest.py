"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# A deadline on a shared machine measures its other users.
settings.register_profile("patient", deadline=None, derandomize=True)
settings.load_profile("patient")


_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL_DATA = Path(os.environ.get("TUMORSPREAD_TEST_DATA", _BESIDE))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans; a test that asks for it skips, with the reason, where it is missing."""
    if not (REAL_DATA / "scans").is_dir():
        pytest.skip(f"no real scans at {REAL_DATA}; set TUMORSPREAD_TEST_DATA to run this test")
    return REAL_DATA


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """Two test processes with two threads each on two cores spend their time waiting for one another."""
    torch.set_num_threads(1)
