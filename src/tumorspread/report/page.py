"""The pages a person reads: one HTML file each, pictures inside, nothing fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tumorspread.measurement.findings import DISCLAIMER, Findings
from tumorspread.measurement.summary import Evaluation
from tumorspread.report import wording
from tumorspread.report.figures import canonical_boxes, lesion_figure, overview_figure
from tumorspread.report.rendering import Footnotes, data_uri, render
from tumorspread.report.timeline import timeline_figure
from tumorspread.scan.volume import Volume

if TYPE_CHECKING:
    from tumorspread.followup.follow import Course
    from tumorspread.followup.record import Track

# With a picture of 0.3 to 0.6 MB each, more would make a page that mail and browsers choke on.
MOST_PICTURES = 12


def report_page(findings: Findings, scan: Volume, lesions: Volume, lungs: Volume | None) -> str:
    """The report of one scan.

    Args:
        findings: what was measured.
        scan: HU.
        lesions: label map on the scan's grid, ids as in `findings`.
        lungs: label map on the scan's grid, above 0 inside the lungs; None where they are unknown.

    Returns:
        HTML, complete in itself. The 12 largest lesions are pictured; all stand in the table.

    Raises:
        MaskError: a mask is not on the scan's grid, or a lesion of `findings` is not in the label map.
    """
    shown = findings.lesions[:MOST_PICTURES]
    boxes = canonical_boxes(lesions)
    return render(
        "report.html.j2",
        findings=findings,
        summary=wording.summary(findings),
        overview=data_uri(overview_figure(scan, lesions, findings, lungs, boxes)),
        pictures=[(lesion, data_uri(lesion_figure(scan, lesions, lesion, boxes))) for lesion in shown],
        disclaimer=findings.disclaimer,
        limits=wording.LIMITS,
        footnotes=Footnotes(),
    )


def evaluation_page(evaluation: Evaluation, pictures: Sequence[tuple[str, bytes]]) -> str:
    """The page of an evaluation: summary with intervals, every case, pictures, and what the measures mean.

    Args:
        evaluation: the scores.
        pictures: captions and PNGs in the order of the page (worst, median, best).

    Returns:
        HTML, complete in itself.
    """
    return render(
        "evaluation.html.j2",
        evaluation=evaluation,
        columns=wording.METRICS,
        pictures=[(caption, data_uri(png)) for caption, png in pictures],
        disclaimer=DISCLAIMER,
        footnotes=Footnotes(),
    )


def course_page(course: Course) -> str:
    """The report of a patient's scans over time.

    Args:
        course: from `follow`.

    Returns:
        HTML, complete in itself. 12 tracks are pictured, targets first, then the largest; all stand in the table.
    """
    # Here, since SimpleITK comes with it, 90 MB that the report of one scan does without.
    from tumorspread.report.course_figures import registration_figure, track_figure

    followup = course.followup
    drawn = ((track, track_figure(course, track)) for track in _to_picture(followup.tracks))
    pictures = [(track, data_uri(picture)) for track, picture in drawn if picture is not None]
    registered = []
    for before, after, registration in zip(course.visits, course.visits[1:], course.registrations, strict=False):
        picture = registration_figure(after, before, registration)
        if picture is not None:
            caption = f"Orange: {before.findings.scan.source}. Blue: {after.findings.scan.source}. Grey: both agree."
            registered.append((caption, data_uri(picture)))
    return render(
        "course.html.j2",
        followup=followup,
        summary=wording.course_summary(followup),
        timeline=data_uri(timeline_figure(followup)),
        pictures=pictures,
        pictured={track.id for track, _ in pictures},
        gone=sum(track.points[-1].state in ("gone", "absent") for track in followup.tracks),
        new=sum(len(point.new_lesion_ids) for point in followup.time_points),
        registered=registered,
        disclaimer=followup.disclaimer,
        limits=wording.COURSE_LIMITS,
        footnotes=Footnotes(),
    )


def _to_picture(tracks: Sequence[Track]) -> list[Track]:
    ranked = sorted(tracks, key=lambda t: (not t.is_target, -max(p.volume_ml or 0.0 for p in t.points)))
    return sorted(ranked[:MOST_PICTURES], key=lambda track: track.id)
