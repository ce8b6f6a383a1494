"""Which values of a recipe make sense. What is not listed is a number from 0 up."""

from __future__ import annotations

import math

from tinyast.training.recipe import Recipe, RecipeError

PART = (0.0, 1.0)
MOST = math.inf
MOST_STAGES, HEADS = 6, 4
LIMITS = {
    "epochs": (1, MOST),
    "batch_size": (1, MOST),
    "learning_rate": (1e-8, 1.0),
    "warmup": (0.0, 0.99),
    "clip_norm": (1e-6, MOST),
    "ema_decay": (0.0, 0.999999),
    "variants": (1, MOST),
    "max_speed": (1.0, 4.0),
    "varied": PART,
    "reverb": PART,
    "clipping": PART,
    "mix": PART,
    "label_smoothing": PART,
    "distil": PART,
    "distil_temperature": (0.1, 100.0),
    "stretch": (0.0, 0.9),
    "shift": PART,
    "background": PART,
    "noise": PART,
    "narrow": PART,
    "stem_channels": (1, MOST),
    "stem_depths": (0, MOST),
    "hidden_size": (1, MOST),
    "drop_path": (0.0, 0.99),
    "hidden_dropout_prob": (0.0, 0.99),
    "classifier_dropout": (0.0, 0.99),
}


def check_limits(recipe: Recipe) -> None:
    """Raise RecipeError naming the first key whose value cannot be trained with."""
    _check_network(recipe)
    for key, given in recipe.to_dict().items():
        least, most = LIMITS.get(key, (0, MOST))
        value = min(given, default=0) if isinstance(given, tuple) else given
        # Written so that NaN, which is neither less nor more, does not get through.
        if not (least <= value <= most and math.isfinite(value)):
            to = "up" if most == MOST else f"to {most:g}"
            raise RecipeError(
                f"{key} of the recipe is a number from {least:g} {to}, not {value:g}: "
                f"change it in the file, or with --{key.replace('_', '-')}"
            )


def _check_network(recipe: Recipe) -> None:
    stages = len(recipe.stem_channels)
    if len(recipe.stem_depths) != stages + 1:
        raise RecipeError(
            "stem_depths of the recipe has one number more than stem_channels, for the stage of "
            f"hidden_size channels, not {len(recipe.stem_depths)} and {stages}"
        )
    *depths, last = recipe.stem_depths
    if not all(depths):
        raise RecipeError(
            "stem_depths of the recipe is 1 or more but for its last number: a stage without "
            "convolutions cannot halve the picture"
        )
    if not last and recipe.hidden_size != [1, *recipe.stem_channels][-1]:
        raise RecipeError(
            "hidden_size of the recipe is the last of stem_channels where the last of stem_depths "
            f"is 0, not {recipe.hidden_size}"
        )
    if stages > MOST_STAGES:
        raise RecipeError(
            f"stem_channels of the recipe has at most {MOST_STAGES} numbers, as each halves a "
            f"picture of 64 cells a side, not {stages}"
        )
    if recipe.num_hidden_layers and recipe.hidden_size % HEADS:
        raise RecipeError(
            f"hidden_size of the recipe is a multiple of {HEADS}, the heads of attention, not "
            f"{recipe.hidden_size}"
        )
