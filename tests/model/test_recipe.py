from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tumorspread.errors import RecipeError
from tumorspread.model.recipe import OptimConfig, Recipe, recipe_names


@pytest.mark.parametrize("name", [None, *recipe_names()])
def test_every_recipe_of_the_package_comes_back_from_its_own_text(name, tmp_path):
    recipe = Recipe.read(name)
    path = tmp_path / "r.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.read(str(path)) == recipe


def test_changes_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("seed = 7\n[run]\nepochs = 11\npatience = 3\n")
    recipe = Recipe.read(str(path), ["run.epochs=5", "loss.name=tversky", "unet.widths=[8, 16]"])
    assert (recipe.seed, recipe.run.epochs, recipe.run.patience) == (7, 5, 3)
    assert (recipe.loss.name, recipe.unet.widths) == ("tversky", (8, 16))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("run.epoch=3", "run.epoch: no such setting"),
        ("nothing=1", "nothing: no such setting"),
        ("run.epochs=soon", "run.epochs"),
        ("run.epochs=0", "1 or more"),
        ("unet.norm=layer", "unet.norm"),
        ("patch.size=[60, 60, 60]", "multiple"),
        ("patch.size=[64, 64]", "3 edges"),
        ("augment.flip_p=1.5", "probability"),
        ("preprocess.size_yx=[64, 64]", "2-D"),
        ("optim.learning_rate=0", "learning_rate"),
        ("run.threshold=1", "threshold"),
        ("epochs", "expected section.name=value"),
        ("=3", "not a setting"),
    ],
)
def test_a_wrong_change_is_refused_by_name(change, reason):
    with pytest.raises(RecipeError, match=reason):
        Recipe.read(None, [change])


def test_a_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="one of 2d, 3d, demo, lung, msd-patches"):
        Recipe.read("no-such-recipe")
    (tmp_path / "r.toml").write_text("[run\nepochs = 1")
    with pytest.raises(RecipeError, match="not TOML"):
        Recipe.read(str(tmp_path / "r.toml"))


def test_the_rate_rises_to_its_peak_and_falls_along_a_cosine():
    optim = OptimConfig(warmup_share=0.1, final_share=0.02)
    rates = [optim.rate_at(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(rates) == 1
    assert rates[55] == pytest.approx(0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * 45 / 90)))
    assert optim.rate_at(100, 100) == pytest.approx(0.02)
    assert all(a >= b for a, b in pairwise(rates[10:]))
