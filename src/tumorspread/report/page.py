"""The pages a person reads: one HTML file each, pictures inside, nothing fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tumorspread.measurement.findings import DISCLAIMER, Findings
from tumorspread.measurement.hits import Comparison
from tumorspread.measurement.parts import Lesion
from tumorspread.measurement.summary import Evaluation
from tumorspread.report import wording
from tumorspread.report.figures import lesion_figure, overview_figure
from tumorspread.report.histogram import density_histogram
from tumorspread.report.panel import lesion_style
from tumorspread.report.reference import LEGEND, comparison_pictures, comparison_rows
from tumorspread.report.rendering import Footnotes, data_uri, render
from tumorspread.report.scene import Picture, Scene
from tumorspread.report.timeline import timeline_figure
from tumorspread.scan.volume import Volume

if TYPE_CHECKING:
    from tumorspread.followup.follow import Course
    from tumorspread.followup.record import Track

# With 0.1 to 0.2 MB of pictures each, more would make a page that mail and browsers choke on.
MOST_PICTURES = 24
# Those of a course show a plane a scan, and have 0.3 to 0.6 MB.
MOST_TRACKS = 12


# Of a picture: its title, the address that holds it, and its width in pixels.
Packed = tuple[str, str, int]


@dataclass(frozen=True)
class LesionSection:
    """What the report shows of a lesion: its pictures by name, and its densities."""

    lesion: Lesion
    colour: str
    pictures: dict[str, Packed]
    histogram: Markup


def report_page(
    findings: Findings,
    scan: Volume,
    lesions: Volume,
    lungs: Volume | None,
    comparison: Comparison | None = None,
) -> str:
    """The report of one scan.

    Args:
        findings: what was measured.
        scan: HU.
        lesions: label map on the scan's grid, ids as in `findings`.
        lungs: label map on the scan's grid, above 0 inside the lungs; None where they are unknown.
        comparison: of `compare_lesions(lesions, reference)`, where there is a reference.

    Returns:
        HTML, complete in itself. The 24 largest lesions have a section each; all stand in the table.

    Raises:
        MaskError: a mask is not on the scan's grid, or a lesion of `findings` is not in the label map.
    """
    scene = Scene.of(scan, lesions, lungs)
    shown = findings.lesions[:MOST_PICTURES]
    # Two at a time: OpenCV and the packing of pictures let each other work.
    with ThreadPoolExecutor(2) as pool:
        overview = pool.submit(lambda: [_packed(picture) for picture in overview_figure(scene, findings)])
        sections = list(pool.map(lambda lesion: _section(scene, lesion), shown))
        compared = None if comparison is None else _compared(scene, comparison)
        return render(
            "report.html.j2",
            findings=findings,
            summary=wording.summary(findings),
            overview=overview.result(),
            colours={lesion.id: lesion_style(lesion.id)[0] for lesion in findings.lesions},
            sections=sections,
            zones=wording.zone_rows(findings.spread),
            comparison=compared,
            disclaimer=findings.disclaimer,
            limits=wording.LIMITS,
            footnotes=Footnotes(),
        )


def _section(scene: Scene, lesion: Lesion) -> LesionSection:
    pictures = {picture.name: _packed(picture) for picture in lesion_figure(scene, lesion)}
    colour, _ = lesion_style(lesion.id)
    box = scene.box_of(lesion.id)
    values = scene.turned.voxels[box][scene.labels[box] == lesion.id]
    return LesionSection(lesion, colour, pictures, density_histogram(values, colour))


def _packed(picture: Picture) -> Packed:
    return picture.title, data_uri(picture.plate.packed()), picture.plate.pixels.shape[1]


def _compared(scene: Scene, comparison: Comparison) -> dict[str, Any]:
    return {
        "metrics": comparison.metrics,
        "columns": wording.METRICS,
        "pictures": [_packed(picture) for picture in comparison_pictures(scene, comparison)],
        "rows": [(row, row.picture and _packed(row.picture)[1]) for row in comparison_rows(scene, comparison)],
        "legend": LEGEND,
    }


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
    return sorted(ranked[:MOST_TRACKS], key=lambda track: track.id)
