from __future__ import annotations

import math

import numpy as np
import pytest

from tumorspread.errors import ReadError
from tumorspread.report import curves
from tumorspread.report.curves import CURVES, curves_figure


@pytest.fixture
def drawn(monkeypatch):
    kept = []
    monkeypatch.setattr(curves, "to_png", lambda figure: kept.append(figure) or b"")
    return kept


def log(epochs: int) -> list[dict[str, float]]:
    names = [column for column, _, _ in CURVES]
    return [{"epoch": float(e), **{name: (k + 1) / (e + 2) for k, name in enumerate(names)}} for e in range(epochs)]


def test_every_column_is_drawn_against_the_epoch(drawn):
    rows = log(5)
    curves_figure(rows)
    for axes, (column, title, _) in zip(drawn[0].axes, CURVES, strict=True):
        line = axes.lines[0]
        assert axes.get_title() == title
        np.testing.assert_allclose(line.get_xdata(), range(5))
        np.testing.assert_allclose(line.get_ydata(), [row[column] for row in rows])


def test_epochs_without_validation_leave_their_points_out(drawn):
    rows = log(4)
    del rows[1]["val_dice"]
    rows[2]["val_dice"] = math.nan
    curves_figure(rows)
    np.testing.assert_allclose(drawn[0].axes[1].lines[0].get_xdata(), [0, 3])


def test_the_epoch_of_the_best_dice_is_named(drawn):
    rows = log(6)
    rows[0]["val_dice"], rows[4]["val_dice"] = 0.1, 0.987
    curves_figure(rows)
    assert drawn[0].get_suptitle() == "best validation Dice 0.987 at epoch 4 (dotted line)"


def test_a_column_that_was_never_recorded_says_so(drawn):
    curves_figure([{"epoch": 0.0, "train_loss": 1.0}])
    assert [t.get_text() for t in drawn[0].axes[1].texts] == ["not recorded"]
    assert len(drawn[0].axes[0].lines) == 1


def test_a_learning_rate_of_0_does_not_break_the_scale():
    rows = log(3)
    rows[0]["lr"] = 0.0
    assert curves_figure(rows).startswith(b"\x89PNG")


@pytest.mark.parametrize("rows", [[], [{"train_loss": 1.0}]])
def test_a_log_without_epochs_is_refused(rows):
    with pytest.raises(ReadError, match="epoch"):
        curves_figure(rows)
