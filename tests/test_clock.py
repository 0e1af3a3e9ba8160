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


def test_what_is_added_comes_after_what_was_known():
    clock = Clock()
    clock.seconds = {"read": 1.0004, "write": 2.0}
    assert clock.added_to({"read": 0.5, "measure": 3.0}) == {"read": 1.5, "measure": 3.0, "write": 2.0}
    assert list(clock.added_to({"read": 0.5, "measure": 3.0})) == ["read", "measure", "write"]
