"""Edits of a case: what they change, what follows for the numbers, and that nothing is lost."""

from __future__ import annotations

import os

import numpy as np
from tests.viewer.conftest import ball, comparable, oracle, pieces_again, runs_of

from tumorspread.viewer.edits import (
    Delete,
    EditError,
    Erase,
    Fill,
    Paint,
    Redo,
    Undo,
)

SEED = int(os.environ.get("SEED", 7))


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


def test_a_hundred_random_edits_give_the_numbers_of_measure_each_time(case, lungs):
    rng = np.random.default_rng(SEED)
    within = np.argwhere(case.sides > 0)
    for _ in range(60):
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
