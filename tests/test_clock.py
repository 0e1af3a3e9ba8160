from __future__ import annotations

import time

import pytest

from tumorspread.clock import Clock


def test_a_stage_that_runs_twice_has_the_sum_and_its_first_place():
    clock = Clock()
    for name in ("read", "network", "read"):
        with clock.stage(name):
            time.sleep(0.01)
    assert list(clock.seconds) == ["read", "network"]
    assert clock.seconds["read"] >= 0.02 > 0.01 <= clock.seconds["network"]


def test_what_ends_in_an_error_does_not_count():
    clock = Clock()
    with pytest.raises(ValueError, match="no"), clock.stage("read"):
        raise ValueError("no")
    assert clock.seconds == {}


def test_sums_keep_the_order_of_what_came_first():
    clock = Clock()
    clock.seconds = {"read": 1.0004, "check": 2.0}
    assert clock.sum({"check": 0.5, "measure": 3.0}) == {"read": 1.0, "check": 2.5, "measure": 3.0}
    assert list(clock.sum({"measure": 3.0})) == ["read", "check", "measure"]
