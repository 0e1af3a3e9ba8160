"""The documents name every field that is written."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from tumorspread.followup import record
from tumorspread.measurement import findings, parts
from tumorspread.pacs import record as queued

DOCS = Path(__file__).resolve().parents[1] / "docs"
DOCUMENTED = {
    "findings.md": (
        findings.Findings, parts.ScanInfo, parts.Origin, parts.LungPart, parts.Lungs, parts.Lesion, parts.Burden,
        parts.SideBurden, parts.PartBurden, parts.Spread, parts.Stage,
    ),
    "followup.md": (record.FollowUp, record.TimePoint, record.Track, record.TrackPoint, record.Change),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_field_is_documented(name):
    text = (DOCS / name).read_text()
    names = {field.name for part in DOCUMENTED[name] for field in fields(part)}
    assert [field for field in sorted(names) if field not in text] == []


def test_every_state_of_a_track_is_documented():
    text = (DOCS / "followup.md").read_text()
    assert all(f"`{state}`" in text for state in get_args(record.State))


def test_every_state_of_a_series_in_the_queue_is_documented():
    text = (DOCS / "pacs.md").read_text()
    assert all(f"`{state}`" in text for state in get_args(queued.State))


def test_the_tables_of_scale_are_those_that_are_computed():
    root = DOCS.parent
    printed = subprocess.run([sys.executable, root / "bench" / "scale.py"], capture_output=True, text=True, check=True)
    inside = (DOCS / "scale.md").read_text().partition("<!-- make scale -->\n")[2].partition("<!-- end -->")[0]
    assert inside.strip() == printed.stdout.strip()
    assert len(inside.splitlines()) > 15


def test_no_placeholder_is_left():
    for path in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        words = {line.strip() for line in path.read_text().splitlines()}
        assert not words & {"PLACE", "TODO", "TBD", "FIXME"}, path.name
