"""A recipe with unusable values is refused by name before any work begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT
from msgspec.structs import replace

from tinyast.training.recipe import Recipe, RecipeError, load_recipe


def load(folder: Path, **typed: object) -> Recipe:
    """An empty recipe with these values typed on the command line."""
    path = folder / "recipe.toml"
    path.touch()
    return load_recipe(path, {key: str(value).strip("()") for key, value in typed.items()})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("epochs", 0, "epochs of the recipe is a number from 1 up, not 0: .* --epochs"),
        ("batch_size", 0, "batch_size of the recipe .* --batch-size"),
        ("learning_rate", -1.0, "learning_rate"),
        ("learning_rate", float("nan"), "learning_rate .* not nan"),
        ("weight_decay", float("inf"), "weight_decay .* from 0 up, not inf"),
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
        ("picture", "large", "picture must be one of .*fine.*, not 'large'"),
        ("picture", "fine", 'stem of the recipe is "mobilenet" with a picture'),
        ("stretched", (128, 256, 3), "stretched of the recipe is two numbers, bands and columns"),
    ],
)
def test_a_value_out_of_range_is_named(tmp_path: Path, key: str, value: object, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load(tmp_path, **{key: value})


def test_more_stages_than_a_picture_can_be_halved_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="stem_channels of the recipe has at most 6 numbers"):
        load(tmp_path, stem_channels=(8,) * 7, stem_depths=(1,) * 8)


def test_a_width_that_the_heads_cannot_share_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"hidden_size of the recipe is a multiple of 4, .* 150"):
        load(tmp_path, stem_depths=(1, 1, 1, 1, 1), hidden_size=150)
    load(tmp_path, stem_depths=(1, 1, 1, 1, 1), hidden_size=150, num_hidden_layers=0)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config").glob("recipe-*.toml")), ids=lambda p: p.stem
)
def test_shipped_recipes_are_within(path: Path) -> None:
    load_recipe(path)


def test_the_recipe_unknown_is_the_fine_one_but_for_the_kinds_left_out() -> None:
    fine, unknown = (
        load_recipe(ROOT / "config" / f"recipe-{name}.toml") for name in ("fine", "unknown")
    )
    assert replace(unknown, leave_out=0) == fine
    assert unknown.leave_out == 10


@pytest.mark.parametrize(
    "key", [name for name, value in Recipe().to_dict().items() if not isinstance(value, bool | str)]
)
def test_every_number_has_a_least_value(tmp_path: Path, key: str) -> None:
    with pytest.raises(RecipeError, match=f"{key} of the recipe is a number from .*, not -1"):
        load(tmp_path, **{key: -1 if not isinstance(getattr(Recipe(), key), tuple) else (-1, -1)})


def test_a_number_in_quotes_and_one_without_decimals_are_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('epochs = "7"\nbatch_size = 4.0\nmix = 1\nstem_channels = [8.0, 16]\n')
    recipe = load_recipe(path, {"noise": ".5", "stem_depths": "1,1,1", "bfloat16": "False"})
    assert (recipe.epochs, recipe.batch_size, recipe.mix) == (7, 4, 1.0)
    assert (recipe.noise, recipe.stem_channels, recipe.bfloat16) == (0.5, (8, 16), False)
