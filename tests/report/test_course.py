"""The report of a course: what it says, what it pictures, where it is silent."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.followup.follow import Course, Visit, follow
from tumorspread.pipeline import measure
from tumorspread.report import course_figures
from tumorspread.report.course_figures import registration_figure, track_figure
from tumorspread.report.folder import write_course
from tumorspread.report.page import MOST_TRACKS, course_page
from tumorspread.report.tables import TRACK_COLUMNS, tracks_csv
from tumorspread.report.timeline import timeline_figure
from tumorspread.report.wording import COURSE_LIMITS

COARSE = PhantomConfig(spacing_mm=(6.0, 5.0, 5.0), vessels=6, tumours=(2, 2), diameter_mm=(30.0, 40.0))
PNG = b"\x89PNG not decoded by these tests"


@pytest.fixture(scope="module")
def course():
    """Two lesions; one is erased from the second scan's mask; all is back in the third."""
    phantom = make_phantom(3, COARSE)
    whole = Visit.of(measure(phantom.scan, phantom.mask, source="ct <1>.nii.gz"))
    larger = phantom.mask.with_voxels((whole.lesions.voxels == 1).astype(np.uint8))
    alone = Visit.of(measure(phantom.scan, larger, source="second"))
    return follow([whole, alone, replace(whole, findings=replace(whole.findings))], days=[0, 30, 75])


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def test_the_page_tells_scans_tracks_response_and_limits(course):
    html = course_page(course)
    assert html.count("data:image/png;base64,") == 1 + 2 + 2
    assert "http" not in html.replace("http://www.w3.org", "")
    for words in ("ct &lt;1&gt;.nii.gz", "day 75", "returned", "gone", "Research use only", *COURSE_LIMITS):
        assert words in html.replace("&#39;", "'")
    assert "2 lesions with" in html
    assert "75 days later (+0" in html
    assert "2 lesions were followed: 1 there as before, 1 returned." in html.replace("\u00a0", " ")
    assert "progressive disease (PD)" in html


def test_without_scans_the_page_says_so_in_words_and_pictures_nothing(course):
    blind = Course(course.followup, tuple(replace(v, scan=None) for v in course.visits), course.registrations)
    assert course_page(blind).count("data:image/png;base64,") == 1
    assert track_figure(blind, course.followup.tracks[0]) is None
    assert registration_figure(blind.visits[1], blind.visits[0], course.registrations[0]) is None


def test_many_tracks_are_pictured_in_part_targets_first(course, monkeypatch):
    monkeypatch.setattr(course_figures, "track_figure", lambda *_: PNG)
    monkeypatch.setattr(course_figures, "registration_figure", lambda *_: None)
    track = course.followup.tracks[1]
    many = [replace(track, id=n, is_target=n == 20) for n in range(1, 31)]
    html = course_page(replace(course, followup=replace(course.followup, tracks=tuple(many))))
    assert f"{MOST_TRACKS} of 30 tracks are pictured" in html
    assert 'id="track-20"' in html
    assert html.count('class="lesion"') == MOST_TRACKS


def test_no_lesion_at_all_is_said_and_drawn(course):
    scan = course.visits[0].scan
    empty = Visit.of(measure(scan, scan.with_voxels(np.zeros(scan.shape, np.uint8))))
    html = course_page(follow([empty, empty]))
    assert "No lesion in any scan." in html
    assert "0 lesions with" in html


def test_the_track_of_a_lesion_outlines_it_where_it_is_and_only_there(course):
    shades = pixels(track_figure(course, course.followup.tracks[1])).astype(int)
    coloured = (shades.max(axis=-1) - shades.min(axis=-1)) > 60
    thirds = np.array_split(coloured, 3, axis=1)
    assert thirds[0].sum() > 100
    assert thirds[2].sum() > 100
    # In the second scan it is gone: what colour there is are a few pixels of the neighbours' frames.
    assert thirds[1].sum() < 0.1 * thirds[0].sum()


def test_what_a_scan_does_not_show_is_neither_pictured_nor_summed(course, monkeypatch):
    track = course.followup.tracks[1]
    away = replace(track.points[1], state="not_covered", lesion_ids=(), volume_ml=None)
    hidden = replace(track, points=(track.points[0], away, track.points[2]))
    thirds = np.array_split(pixels(track_figure(course, hidden)).astype(int), 3, axis=1)
    assert thirds[1].mean() > 240 > thirds[0].mean()  # an empty panel is white
    drawn = []
    monkeypatch.setattr(Axes, "errorbar", lambda self, x, y, *_, **options: drawn.append((options["label"], list(x))))
    monkeypatch.setattr(Axes, "legend", lambda *_, **__: None)
    timeline_figure(replace(course.followup, tracks=(course.followup.tracks[0], hidden)))
    assert ("all", [0, 75]) in drawn
    assert ("track 1", [0, 30, 75]) in drawn
    assert ("track 2", [0, 75]) in drawn


def test_registration_turns_blue_and_orange_into_grey(course):
    before, after = course.visits[:2]
    moved = replace(
        before, scan=replace(before.scan, affine=before.scan.affine + np.outer([18, 0, 0, 0], [0, 0, 0, 1]))
    )
    lungs = replace(before.lungs, affine=moved.scan.affine)
    found = follow([replace(moved, lungs=lungs, lesions=replace(before.lesions, affine=moved.scan.affine)), after])
    shades = pixels(registration_figure(after, found.visits[0], found.registrations[0])).astype(int)
    apart = (shades.max(axis=-1) - shades.min(axis=-1)) > 60
    left, right = np.array_split(apart, 2, axis=1)
    assert right.mean() < 0.3 * left.mean()


def test_the_timeline_draws_with_and_without_days(course):
    with_days = pixels(timeline_figure(course.followup))
    undated = replace(course.followup, time_points=tuple(replace(p, day=None) for p in course.followup.time_points))
    without = pixels(timeline_figure(undated))
    assert with_days.shape[1] == without.shape[1] > 1000
    assert (with_days < 128).any()


def test_tracks_are_a_row_each_scan_with_places_and_empty_cells_for_what_is_missing(course):
    lines = [line.split(",") for line in tracks_csv(course.followup).splitlines()]
    assert lines[0] == list(TRACK_COLUMNS)
    assert [(line[0], line[4]) for line in lines[1:]] == [
        ("1", "baseline"), ("1", "stays"), ("1", "stays"), ("2", "baseline"), ("2", "gone"), ("2", "returned"),
    ]  # fmt: skip
    assert lines[5][5:9] == ["", "0", "0", "0"]
    assert all(line[-1] for line in lines[1:])


def test_a_course_becomes_three_files(course, tmp_path):
    write_course(course, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"followup.json", "tracks.csv", "report.html"}
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
