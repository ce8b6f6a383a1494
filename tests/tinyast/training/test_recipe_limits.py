"""Values of a recipe that cannot be trained with are named before anything is begun."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import ROOT

from tinyast.training.recipe import LIMITS, Recipe, RecipeError, check_limits, load_recipe


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("epochs", 0, "epochs of the recipe is a number from 1 up, not 0: .* --epochs"),
        ("batch_size", 0, "batch_size of the recipe .* --batch-size"),
        ("learning_rate", -1.0, "learning_rate"),
        ("learning_rate", float("nan"), "learning_rate .* not nan"),
        ("weight_decay", float("inf"), "weight_decay"),
        ("clip_norm", 0.0, "clip_norm"),
        ("ema_decay", 1.0, "ema_decay"),
        ("variants", 0, "variants"),
        ("max_speed", 0.5, "max_speed of the recipe is a number from 1 to 4"),
        ("mix", 1.5, "mix of the recipe is a number from 0 to 1"),
        ("seed", -1, "seed"),
        ("limit", -5, "limit"),
        (
            "stem_channels",
            (8, 0, 8, 256),
            "stem_channels of the recipe is a number from 1 up, not 0",
        ),
        ("stem_depths", (1, 1), "stem_depths of the recipe has one number more .* 2 and 4"),
        ("stem_depths", (1, 0, 2, 2, 0), "stem_depths of the recipe is 1 or more but for its last"),
        ("hidden_size", 160, "hidden_size of the recipe is the last of stem_channels"),
    ],
)
def test_a_value_out_of_range_is_named(key: str, value: object, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        check_limits(replace(Recipe(), **{key: value}))  # type: ignore[arg-type]


def test_more_stages_than_a_picture_can_be_halved_are_named() -> None:
    recipe = replace(Recipe(), stem_channels=(8,) * 7, stem_depths=(1,) * 8)
    with pytest.raises(RecipeError, match="stem_channels of the recipe has at most 6 numbers"):
        check_limits(recipe)


def test_a_width_that_the_heads_cannot_share_is_named() -> None:
    recipe = replace(Recipe(), stem_depths=(1, 1, 1, 1, 1), hidden_size=150)
    with pytest.raises(RecipeError, match=r"hidden_size of the recipe is a multiple of 4, .* 150"):
        check_limits(recipe)
    check_limits(replace(recipe, num_hidden_layers=0))


@pytest.mark.parametrize("name", ["full", "quick", "teacher", "unknown"])
def test_shipped_recipes_are_within(name: str) -> None:
    check_limits(load_recipe(ROOT / "config" / f"recipe-{name}.toml"))


def test_every_limit_is_of_a_key() -> None:
    assert set(LIMITS) <= set(Recipe().to_dict())
