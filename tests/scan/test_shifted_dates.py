"""Dates by whole days, with Python's calendar as oracle."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorspread.scan.shifted_dates import shift_back

DAYS = st.integers(1, 5000)


@given(st.dates(date(1800, 1, 1), date(9999, 12, 31)), DAYS)
def test_a_date_goes_back_by_the_days(day, days):
    expected = f"{day - timedelta(days):%Y%m%d}"
    assert shift_back(f"{day:%Y%m%d}", "DA", days) == expected
    assert shift_back(f"{day:%Y.%m.%d}", "DA", days) == expected


@given(
    st.datetimes(datetime(1800, 1, 1), datetime(9999, 12, 31)),
    DAYS,
    st.sampled_from(["%H", "%H%M", "%H%M%S", "%H%M%S.%f"]),
    st.sampled_from(["", "+0100", "-1130"]),
)
def test_a_date_with_a_time_keeps_its_clock_and_its_precision_and_loses_its_zone(moment, days, layout, zone):
    expected = f"{moment - timedelta(days):%Y%m%d}{moment:{layout}}"
    assert shift_back(f"{moment:%Y%m%d{layout}}{zone}", "DT", days) == expected


@pytest.mark.parametrize(
    ("text", "days", "expected"),
    [("2020", 365, "2019"), ("2020", 367, "2018"), ("202003", 1, "202002"), ("20200301", 1, "20200229")],
)
def test_less_than_a_date_is_moved_from_its_first_day(text, days, expected):
    assert shift_back(text, "DT", days) == expected


@pytest.mark.parametrize("text", ["10", "1011", "101112", "235960", "101112.5", "101112.123456", "10:11:12"])
def test_a_time_of_day_stays(text):
    assert shift_back(text, "TM", 400) == text


@pytest.mark.parametrize(
    ("text", "vr"),
    [
        ("Doe^Jane", "DA"), ("20201301", "DA"), ("20200230", "DA"), ("2020-01-01", "DA"), ("202001", "DA"),
        ("20200101Doe", "DA"), ("00010101", "DA"), ("00000000", "DA"), ("", "DA"),
        ("Doe", "DT"), ("2020010199", "DT"), ("20200101101112.1234567", "DT"), ("0001", "DT"), ("", "DT"),
        ("99", "TM"), ("1", "TM"), ("101112 Doe", "TM"), ("24", "TM"), ("", "TM"),
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(text, vr):
    assert shift_back(text, vr, 400) is None


@given(st.text(max_size=20), st.sampled_from(["DA", "DT", "TM"]))
def test_any_text_gives_digits_or_nothing(text, vr):
    moved = shift_back(text, vr, 1000)
    assert moved is None or set(moved) <= set("0123456789.:")
