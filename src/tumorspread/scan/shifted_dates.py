"""DICOM dates and times moved by whole days, so that what lay five days apart still does.

The time of day stays: what it tells about a patient is little, and an injection's delay is measured with it.
Formats: PS3.5 6.2, and those with points and colons of ACR-NEMA files.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})|(\d{4})\.(\d{2})\.(\d{2})")
_TIME = re.compile(r"\d{2}(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_DATE_TIME = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2})(\d{2}(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?)?)?")
_ZONE = re.compile(r"[+-]\d{4}$")


def shift_back(text: str, vr: str, days: int) -> str | None:
    """A value of VR DA, DT or TM, `days` earlier; None where it is not valid, or would lie before the year 1.

    A DT keeps its precision and loses its offset from UTC, which tells the place; the clock on the wall stays.
    A year or a month alone is moved from its first day.
    """
    if vr == "TM":
        return text if _TIME.fullmatch(text) and text[:2] < "24" else None
    if vr == "DA":
        match = _DATE.fullmatch(text)
        return _moved(*[part for part in match.groups() if part], days=days) if match else None
    match = _DATE_TIME.fullmatch(_ZONE.sub("", text))
    if match is None:
        return None
    year, month, day, time = match.groups()
    moved = _moved(year, month or "01", day or "01", days=days)
    if moved is None or (time and time[:2] > "23"):
        return None
    return moved[: 4 + 2 * bool(month) + 2 * bool(day)] + (time or "")


def _moved(year: str, month: str, day: str, *, days: int) -> str | None:
    try:
        moved = date(int(year), int(month), int(day)) - timedelta(days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04}{moved.month:02}{moved.day:02}"
