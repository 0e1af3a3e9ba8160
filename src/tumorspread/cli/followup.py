"""`tumorspread follow`: the scans of one patient, in the order of time."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from tumorspread.cli.options import Force, OutFolder, Pdf
from tumorspread.cli.results import check_pdf
from tumorspread.cli.terminal import parse_numbers, print_table, progress_bar, tell
from tumorspread.errors import TumorspreadError

if TYPE_CHECKING:
    from tumorspread.followup.record import FollowUp, Track


def follow(
    places: Annotated[
        list[str],
        typer.Argument(
            help="The baseline and later scans: each a result folder, RESULT,SCAN or SCAN,MASK.",
            metavar="BASELINE FOLLOWUP...",
        ),
    ],
    out: OutFolder,
    dates: Annotated[
        str | None, typer.Option(help="Date of each scan, for doubling times.", metavar="YYYY-MM-DD,...")
    ] = None,
    days: Annotated[str | None, typer.Option(help="Or the day of each scan.", metavar="0,90,...")] = None,
    pdf: Pdf = False,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print followup.json instead of the table.")] = False,
) -> None:
    """Follow the lesions of one patient over time.

    Growth, doubling time and response: scans are registered by their lungs and lesions matched. Writes followup.json,
    tracks.csv and report.html. A result folder alone is registered by the outline of the lungs; with its scan
    (RESULT,SCAN) also by the vessels inside.

    \b
    Examples:
      tumorspread follow may,ct_may.nii.gz august,ct_august.nii.gz -o course --dates 2024-05-02,2024-08-01
      tumorspread follow ct1.nii.gz,mask1.nii.gz ct2.nii.gz,mask2.nii.gz -o course --days 0,91
      tumorspread follow may august november -o course
    """
    from tumorspread.followup import follow as course_of
    from tumorspread.report.folder import open_folder, write_course

    since = _days(dates, days)
    check_pdf(pdf)
    with open_folder(out, force=force) as folder:
        with progress_bar("reading") as progress:
            visits = []
            for number, place in enumerate(places, 1):
                visits.append(course_of.open_visit(place))
                progress(number, len(places))
        with progress_bar("registering") as progress:
            course = course_of.follow(visits, days=since, progress=progress)
        write_course(course, folder, pdf=pdf)
    tell(course.followup, lambda: _print_followup(course.followup), out / "report.html", as_json=as_json)


def _days(dates: str | None, days: str | None) -> list[float] | None:
    """Days since the first scan, from either option."""
    if dates is not None and days is not None:
        raise TumorspreadError("--dates and --days say the same thing; give one of them")
    if days is not None:
        return parse_numbers(days, "--days")
    if dates is None:
        return None
    try:
        found = [date.fromisoformat(text.strip()) for text in dates.split(",")]
    except ValueError as error:
        raise TumorspreadError(f"--dates {dates}: expected dates such as 2024-05-02,2024-08-01") from error
    return [float((day - found[0]).days) for day in found]


def _print_followup(followup: FollowUp) -> None:
    from tumorspread.report.tables import rounded

    rows = [
        (
            point.source,
            "-" if point.day is None else rounded(point.day),
            str(point.count),
            rounded(point.volume_ml),
            "-" if point.sum_of_target_axes_mm is None else rounded(point.sum_of_target_axes_mm),
            point.overall_response or "-",
            point.volume_response or "-",
        )
        for point in followup.time_points
    ]
    print_table(("scan", "day", "lesions", "volume mL", "targets mm", "RECIST 1.1", "by volume"), rows)
    if followup.tracks:
        print()
        header = ("track", "last scan", "volume change %", "long axis change mm", "doubling time days")
        print_table(header, [_row(track) for track in followup.tracks])


def _row(track: Track) -> tuple[str, ...]:
    from tumorspread.report.tables import rounded
    from tumorspread.report.wording import STATES

    change = track.change
    numbers = (change.volume_percent, change.long_axis_mm, change.doubling_time_days)
    return (str(track.id), STATES[track.points[-1].state], *("-" if n is None else rounded(n) for n in numbers))
