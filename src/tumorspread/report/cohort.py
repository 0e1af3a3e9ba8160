"""The cohort report: every case of a study on one page, those that want a look first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from tumorspread.measurement.findings import DISCLAIMER
from tumorspread.report.cohort_case import CONCERNS, CohortCase, Concern, Ranked, rank_cases
from tumorspread.report.cohort_courses import patient_courses
from tumorspread.report.cohort_figures import (
    MOST_SWIMMERS,
    agreement,
    agreement_figure,
    distributions_figure,
    swimmer_figure,
    waterfall_figure,
)
from tumorspread.report.cohort_followup import MOST_FOLLOWED, FollowedPatient, worst_first
from tumorspread.report.rendering import data_uri, render
from tumorspread.report.thumbnail import thumbnail

__all__ = ["CohortCase", "FollowedPatient", "cohort_page", "thumbnail"]

# Of each kind of concern so many stand at the top; the table holds all.
MOST_SHOWN = 8
ROWS_A_PAGE = 50


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        name: heading.
        field: of `CohortCase`.
        decimals: of its numbers, the same in all rows so that they can be compared; None for text.
    """

    name: str
    field: str
    decimals: int | None = None


COLUMNS = (
    Column("Case", "case"),
    Column("Patient", "patient"),
    Column("Date", "date"),
    Column("Lesions", "lesions", 0),
    Column("Volume, mL", "volume_ml", 2),
    Column("Of the lungs, %", "lung_fraction_percent", 2),
    Column("Longest axis, mm", "largest_mm", 1),
    Column("Reference, mL", "reference_volume_ml", 2),
    Column("Dice", "dice", 3),
    Column("Time, s", "seconds", 1),
)
CONCERN_WORDS: dict[Concern, str] = {
    "failed": "failed",
    "volume": "unusual volume",
    "dice": "far from the reference",
    "warning": "with a warning",
    "skipped": "skipped",
    "": "nothing to remark",
}


def cohort_page(
    cases: Sequence[CohortCase], *, followed: Sequence[FollowedPatient] = (), title: str = "Cohort report"
) -> str:
    """The report of a study.

    Args:
        cases: one or none or many, in any order.
        followed: patients whose lesions were matched from scan to scan, in any order.
        title: heading of the page.

    Returns:
        HTML. Table, search and sorting work from a file without a server and fetch nothing; thumbnails and the
        reports of the cases are links relative to the page. Without JavaScript the first 50 cases are shown.
    """
    ranked = rank_cases(cases)
    counts = Counter(entry.concern for entry in ranked)
    columns = [column for column in COLUMNS if any(getattr(case, column.field) is not None for case in cases)]
    rows = [_row(entry, columns) for entry in ranked]
    return render(
        "cohort.html.j2",
        title=title,
        disclaimer=DISCLAIMER,
        tiles=_tiles(cases, counts),
        concerns=[(c, CONCERN_WORDS[c], counts[c]) for c in CONCERNS if counts[c]],
        shown=[(CONCERN_WORDS[c], counts[c], _first(ranked, rows, c)) for c in CONCERNS[:4] if counts[c]],
        columns=columns,
        rows=rows[:ROWS_A_PAGE],
        count=len(rows),
        data=_as_json({"rows": rows, "page": ROWS_A_PAGE, "decimals": [column.decimals for column in columns]}),
        followed=[(one, _link(one.report)) for one in worst_first(followed)[:MOST_FOLLOWED]],
        followed_count=len(followed),
        **_charts(cases),
    )


def _row(ranked: Ranked, columns: Sequence[Column]) -> dict[str, Any]:
    """What the table shows of a case; the keys are short since they stand there twenty thousand times."""
    case = ranked.case
    return {
        "r": _link(case.report),
        "t": _link(case.thumbnail),
        "c": ranked.concern,
        "w": ranked.why,
        "v": [_short(getattr(case, column.field), column.decimals) for column in columns],
    }


def _short(value: str | float | None, decimals: int | None) -> str | float | None:
    return value if decimals is None or value is None or isinstance(value, str) else round(value, decimals)


def _link(path: str | None) -> str | None:
    """An address that leads to a path beside the page and to nothing else, whatever it holds."""
    return None if path is None else quote(path.lstrip("/"), safe="/")


def _as_json(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _first(ranked: Sequence[Ranked], rows: Sequence[dict[str, Any]], concern: Concern) -> list[dict[str, Any]]:
    found = [{**row, "case": r.case.case} for r, row in zip(ranked, rows, strict=True) if r.concern == concern]
    return found[:MOST_SHOWN]


def _tiles(cases: Sequence[CohortCase], counts: Counter[Concern]) -> list[tuple[str, int]]:
    ok = [case for case in cases if case.status == "ok"]
    return [
        ("cases", len(cases)),
        ("measured", len(ok)),
        ("failed", counts["failed"]),
        # What was no scan at all is not among the cases: a 0 would say that nothing was left out.
        *([("skipped", counts["skipped"])] if counts["skipped"] else []),
        ("patients", len({case.patient for case in cases if case.patient})),
        ("with tumour", sum(bool(case.lesions) for case in ok)),
    ]


def _charts(cases: Sequence[CohortCase]) -> dict[str, Any]:
    ok = [case for case in cases if case.status == "ok"]
    measures: list[tuple[str, list[float | None], bool]] = [
        ("tumour volume, mL", [case.volume_ml for case in ok], True),
        ("lesions", [case.lesions for case in ok], False),
        ("longest axis, mm", [case.largest_mm for case in ok], False),
        ("time a case, s", [case.seconds for case in ok], False),
    ]
    known = [(name, [float(v) for v in values if v is not None], log) for name, values, log in measures]
    courses = patient_courses(cases)
    measurable = [course for course in courses if course.best is not None]
    pairs = np.array(
        [
            (case.volume_ml, case.reference_volume_ml)
            for case in ok
            if case.volume_ml is not None and case.reference_volume_ml is not None
        ]
    ).reshape(-1, 2)
    dices = [case.dice for case in ok if case.dice is not None]
    return {
        "distributions": data_uri(distributions_figure(known)) if ok else None,
        "courses": courses,
        "measurable": len(measurable),
        "waterfall": data_uri(waterfall_figure(measurable)) if measurable else None,
        "swimmer": data_uri(swimmer_figure(courses)) if courses else None,
        "most_swimmers": MOST_SWIMMERS,
        "agreement": agreement(*pairs.T) if len(pairs) else None,
        "bland_altman": data_uri(agreement_figure(*pairs.T)) if len(pairs) else None,
        "dice": float(np.median(dices)) if dices else None,
        "dices": len(dices),
    }
