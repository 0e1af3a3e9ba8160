"""Only one has a case at a time; of the dead it is taken over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tumorspread.cohort import claim
from tumorspread.cohort.claim import Claims


@pytest.fixture
def claims(tmp_path):
    return Claims(tmp_path)


def test_a_claim_is_had_once_and_again_after_its_release(claims):
    assert claims.take("a", "one")
    assert not claims.take("a", "two")
    claims.release("a", "two")
    assert claims.holds("a", "one")
    claims.release("a", "one")
    assert claims.take("a", "two")


def test_the_claim_of_a_dead_process_is_taken_over_at_once_but_not_under_its_own_token(claims, tmp_path):
    program = (
        "import sys; from pathlib import Path; from tumorspread.cohort.claim import Claims; "
        "assert Claims(Path(sys.argv[1])).take('a', 'one')"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    assert not claims.take("a", "one"), "whoever had this order died of it"
    assert claims.owner("a").token == "one"
    assert claims.take("a", "two")


def test_the_claim_of_another_machine_lasts_as_long_as_it_is_touched(claims, tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "LEASE_S", 60.0)
    owner = {"token": "far", "host": "another machine", "pid": os.getpid(), "born": 0.0, "is_late": False}
    (tmp_path / "a").write_text(json.dumps(owner))
    assert not claims.take("a", "one")
    past = time.time() - 61
    os.utime(tmp_path / "a", (past, past))
    assert claims.take("a", "one")


def test_a_torn_claim_counts_as_held_until_its_time_is_over(claims, tmp_path):
    (tmp_path / "a").write_text("{")
    assert not claims.take("a", "one")
    past = time.time() - claim.LEASE_S - 1
    os.utime(tmp_path / "a", (past, past))
    assert claims.take("a", "one")
