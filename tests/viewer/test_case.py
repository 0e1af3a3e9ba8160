"""Edits of a case: what they change, what follows for the numbers, and that nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from tests.viewer.conftest import ball, comparable, measured_again, oracle, pieces_again, runs_of

from tumorspread.errors import MaskError
from tumorspread.report.scan_note import ScanNote
from tumorspread.scan.nifti import write_nifti
from tumorspread.viewer.case import Case, StaleError
from tumorspread.viewer.edits import Accept, Delete, EditError, Erase, Fill, Grow, Merge, Paint, Redo, Split, Undo


def edit(case, kind, **what):
    return case.edit(kind(revision=case.history.revision, author="A. Reader", **what))


def middle(case, lesion):
    found = next(n for n in case.findings.lesions if n.id == lesion)
    return tuple(round(i) for i in case.scan.to_index(found.centroid_mm))


def undo(case):
    return case.step_back(Undo(revision=case.history.revision, author="B"))


def redo(case):
    return case.step_back(Redo(revision=case.history.revision, author="B"))


def test_a_stroke_across_a_lesion_gives_the_numbers_of_measure(case):
    before = case.findings.lesions[0]
    made = edit(case, Paint, lesion=before.id, runs=runs_of(ball(case, middle(case, before.id), 26.0)))
    assert made.revision == 1
    assert before.id in made.changed
    assert made.findings.lesions[0].volume_ml > before.volume_ml
    assert comparable(made.findings) == comparable(oracle(case))


def test_random_edits_give_the_numbers_of_measure_each_time(case, lungs):
    rng = np.random.default_rng(8)
    within = np.argwhere(case.sides > 0)
    for _ in range(20):
        ids = sorted(case.lesions.boxes)
        near = rng.random() < 0.6 and ids
        centre = middle(case, int(rng.choice(ids))) if near else tuple(rng.choice(within))
        centre = np.clip(np.add(centre, rng.integers(-4, 5, 3)), 0, np.array(case.scan.shape) - 1)
        stroke = runs_of(ball(case, tuple(centre), float(rng.uniform(4, 22))))
        kind = rng.choice(
            ["paint", "new", "erase", "delete", "fill", "undo", "redo"], p=[0.3, 0.2, 0.2, 0.1, 0.06, 0.1, 0.04]
        )
        try:
            match kind:
                case "paint" if ids:
                    edit(case, Paint, lesion=int(rng.choice(ids)), runs=stroke)
                case "erase":
                    edit(case, Erase, runs=stroke)
                case "delete" if ids:
                    edit(case, Delete, lesion=int(rng.choice(ids)))
                case "fill" if ids:
                    edit(case, Fill, lesion=int(rng.choice(ids)))
                case "undo":
                    undo(case)
                case "redo":
                    redo(case)
                case _:
                    edit(case, Paint, runs=stroke)
        except EditError:
            continue
        assert comparable(case.findings) == comparable(pieces_again(case, lungs)), kind


def place_in_lung(case):
    """The voxel of the lungs that is furthest from all lesions."""
    away = distance_transform_edt(case.lesions.labels == 0) * (case.sides > 0)
    return np.unravel_index(away.argmax(), away.shape)


def test_deleting_a_lesion_lowers_the_burden_and_undo_brings_all_of_it_back(case):
    first = case.findings
    made = edit(case, Delete, lesion=2)
    gone = next(n for n in first.lesions if n.id == 2)
    assert made.findings.burden.volume_ml == pytest.approx(first.burden.volume_ml - gone.volume_ml)
    assert [n.id for n in made.findings.lesions] == [1, 3]
    assert undo(case).findings == first
    assert redo(case).findings == made.findings
    with pytest.raises(EditError, match="nothing to redo"):
        redo(case)


def test_an_id_is_never_given_twice(case):
    edit(case, Delete, lesion=3)
    assert edit(case, Paint, runs=runs_of(ball(case, place_in_lung(case), 6.0))).changed == (4,)
    undo(case)
    assert edit(case, Paint, runs=runs_of(ball(case, place_in_lung(case), 7.0))).changed == (5,)


def test_a_new_stroke_in_two_pieces_makes_two_lesions(case):
    centre = place_in_lung(case)
    two = ball(case, centre, 5.0) | ball(case, np.add(centre, (0, 6, 0)), 5.0)
    made = edit(case, Paint, runs=runs_of(two))
    assert len(made.changed) == 2
    assert comparable(made.findings) == comparable(oracle(case))


def test_lesions_that_come_to_touch_become_the_named_one(case):
    one, other = (middle(case, n) for n in (2, 3))
    bridge = sum(ball(case, np.round(step), 6.0) for step in np.linspace(one, other, 60)) > 0
    made = edit(case, Paint, lesion=3, runs=runs_of(bridge))
    assert 2 not in case.lesions.boxes
    assert {2, 3} <= set(made.changed)
    assert comparable(made.findings) == comparable(oracle(case))


def test_a_lesion_that_is_cut_becomes_two_and_the_larger_keeps_the_id(case):
    box = case.lesions.boxes[1]
    plane = np.zeros(case.scan.shape, bool)
    plane[:, box[1].start + 2] = True
    made = edit(case, Erase, runs=runs_of(plane & (case.lesions.labels == 1)))
    assert made.changed == (1, 4)
    sizes = {n.id: n.voxel_count for n in made.findings.lesions}
    assert sizes[1] > sizes[4]
    assert comparable(made.findings) == comparable(oracle(case))


def test_split_lesions_stay_apart_though_they_touch_and_merge_is_its_inverse(case, lungs):
    inside = np.argwhere(case.lesions.labels == 1)
    ends = inside[inside[:, 2].argmin()], inside[inside[:, 2].argmax()]
    made = edit(case, Split, lesion=1, at=tuple(tuple(int(i) for i in end[::-1]) for end in ends))
    assert made.changed == (1, 4)
    assert made.findings.burden.count == 4
    assert made.findings.burden.volume_ml == pytest.approx(case.first.burden.volume_ml)
    assert comparable(made.findings) == comparable(measured_again(case, lungs))
    edit(case, Erase, runs=runs_of(ball(case, ends[0], 6.0)))
    assert case.findings.burden.count == 4
    undo(case)
    assert comparable(edit(case, Merge, lesions=(1, 4)).findings) == comparable(case.first)


def test_two_balls_are_split_at_their_neck_and_a_ball_is_not(case, lungs):
    centre = place_in_lung(case)
    pair = ball(case, centre, 13.0) | ball(case, np.add(centre, (0, 6, 0)), 13.0)
    (number,) = edit(case, Paint, runs=runs_of(pair)).changed
    made = edit(case, Split, lesion=number)
    assert len(made.changed) == 2
    assert comparable(made.findings) == comparable(measured_again(case, lungs))
    with pytest.raises(EditError, match="no neck"):
        edit(case, Split, lesion=number)


def test_two_places_halve_a_ball_and_part_two_balls_at_their_neck(case):
    ball_of_both = ball(case, place_in_lung(case), 16.0)
    (number,) = edit(case, Paint, runs=runs_of(ball_of_both)).changed
    rows = np.argwhere(ball_of_both)
    middle = rows.mean(axis=0).round().astype(int)
    seeds = [tuple(int(i) for i in np.add(middle, (0, 0, step))[::-1]) for step in (-1, 1)]
    halves = edit(case, Split, lesion=number, at=tuple(seeds)).changed
    sizes = {n.id: n.voxel_count for n in case.findings.lesions}
    assert min(sizes[id_] for id_ in halves) > 0.35 * ball_of_both.sum()
    undo(case)
    edit(case, Delete, lesion=number)

    # The smaller ball, without what lies in the larger.
    other = np.add(middle, (0, 0, round(17 / case.scan.spacing_mm[2])))
    large, small = ball(case, middle, 12.0), ball(case, other, 7.0)
    (number,) = edit(case, Paint, runs=runs_of(large | small)).changed
    places = tuple(tuple(int(i) for i in place[::-1]) for place in (middle, other))
    parts = edit(case, Split, lesion=number, at=places).changed
    sizes = {n.id: n.voxel_count for n in case.findings.lesions}
    assert min(sizes[id_] for id_ in parts) == pytest.approx((small & ~large).sum(), rel=0.3)


def test_two_lesions_far_apart_merge_into_one_and_split_again(case, lungs):
    made = edit(case, Merge, lesions=(2, 1))
    assert made.findings.burden.count == 2
    assert comparable(made.findings) == comparable(measured_again(case, lungs))
    assert edit(case, Split, lesion=2).findings.burden.count == 3


def test_fill_closes_a_hole(case):
    first = case.findings
    edit(case, Erase, runs=runs_of(ball(case, middle(case, 1), 3.0)))
    assert case.findings.lesions[0].volume_ml < first.lesions[0].volume_ml
    made = edit(case, Fill, lesion=1)
    assert made.findings.burden.volume_ml == pytest.approx(first.burden.volume_ml)
    with pytest.raises(EditError, match="changes nothing"):
        edit(case, Fill, lesion=1)


def test_a_click_grows_a_deleted_lesion_again(case):
    place = middle(case, 1)
    truth = case.lesions.labels == 1
    edit(case, Delete, lesion=1)
    (number,) = edit(case, Grow, seed=place[::-1]).changed
    grown = case.lesions.labels == number
    assert 2 * np.count_nonzero(grown & truth) / (np.count_nonzero(grown) + np.count_nonzero(truth)) > 0.8
    assert comparable(case.findings) == comparable(oracle(case))


def test_a_click_into_lung_or_beyond_the_scan_grows_nothing(case):
    airy = np.unravel_index(np.where(case.sides > 0, case.scan.voxels, 0).argmin(), case.scan.shape)
    with pytest.raises(EditError, match="nothing to grow"):
        edit(case, Grow, seed=tuple(int(i) for i in airy[::-1]))
    with pytest.raises(EditError, match="outside the scan"):
        edit(case, Grow, seed=(10**6, 0, 0))


def test_accepting_changes_no_number_and_can_be_undone(case):
    assert edit(case, Accept, lesion=2).findings == case.first
    assert case.history.accepted == {2}
    undo(case)
    assert case.history.accepted == set()


def test_an_edit_of_an_older_revision_is_refused_and_nothing_is_lost(case):
    edit(case, Delete, lesion=1)
    with pytest.raises(StaleError) as refused:
        case.edit(Delete(revision=0, author="B", lesion=2))
    assert refused.value.current == 1
    assert sorted(case.lesions.boxes) == [2, 3]


def test_a_reopened_case_is_as_it_was_left(case):
    edit(case, Delete, lesion=1)
    edit(case, Paint, lesion=2, runs=runs_of(ball(case, middle(case, 2), 20.0)))
    undo(case)
    case.review(True, "A. Reader")
    again = Case(case.folder, case.note)
    assert (again.lesions.labels == case.lesions.labels).all()
    assert again.findings == case.findings
    assert again.history.reviewed
    redo(again)
    assert [(e.kind, e.author) for e in case.log()][-1] == ("redo", "B")


def test_findings_say_that_somebody_edited_them_down_to_no_lesion(case):
    origin = edit(case, Delete, lesion=1).findings.origin
    assert origin.mask_source.endswith("edited by hand")
    assert edit(case, Delete, lesion=2).findings.origin.mask_source == origin.mask_source
    made = edit(case, Delete, lesion=3)
    assert made.findings.burden.count == 0
    assert comparable(made.findings) == comparable(oracle(case))


def test_the_scan_of_another_patient_is_refused(case, tmp_path):
    other = case.scan.crop((0, 0, 0), tuple(n - 1 for n in case.scan.shape))
    write_nifti(other, tmp_path / "other.nii.gz")
    with pytest.raises(MaskError, match="--scan"):
        Case(case.folder, ScanNote(str(tmp_path / "other.nii.gz")))
