"""The whole road, trained to its bar. Slow: run by `make test-slow`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(*arguments: object) -> dict[str, float]:
    """The figures that an example prints as lines `name value`."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: float(value) for name, value in re.findall(r"^(\w+) (-?[\d.]+)$", done.stdout, re.MULTILINE)}


def test_the_demo_learns_to_find_and_measure_tumours_it_has_not_seen(tmp_path):
    figures = run("examples/demo.py", tmp_path / "demo")
    assert figures["test_dice"] >= 0.85
    assert figures["test_lesion_recall"] == 1
    assert (tmp_path / "demo" / "result" / "report.html").stat().st_size > 100_000


@pytest.mark.real
def test_the_2d_network_reaches_its_bar_on_unseen_patients(shared_data, tmp_path):
    figures = run("examples/msd_patches.py", shared_data / "msd_patches", tmp_path / "work")
    assert figures["test_dice_per_patient"] >= 0.76
