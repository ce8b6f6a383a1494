"""Which values of a recipe make sense. What is not listed is a number from 0 up."""

from __future__ import annotations

import math

from tinyast.recipe import Recipe, RecipeError

PART = (0.0, 1.0)
MOST = math.inf
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
    "stretch": (0.0, 0.9),
    "shift": PART,
    "background": PART,
    "noise": PART,
    "narrow": PART,
    "drop_path": (0.0, 0.99),
    "hidden_dropout_prob": (0.0, 0.99),
    "classifier_dropout": (0.0, 0.99),
}


def check_limits(recipe: Recipe) -> None:
    """Raise RecipeError naming the first key whose value cannot be trained with."""
    for key, value in recipe.to_dict().items():
        least, most = LIMITS.get(key, (0, MOST))
        # Written so that NaN, which is neither less nor more, does not get through.
        if not (least <= value <= most and math.isfinite(value)):
            to = "up" if most == MOST else f"to {most:g}"
            raise RecipeError(
                f"{key} of the recipe is a number from {least:g} {to}, not {value:g}: "
                f"change it in the file, or with --{key.replace('_', '-')}"
            )
