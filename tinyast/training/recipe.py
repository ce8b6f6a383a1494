"""A training recipe: every number that shapes a training, read from TOML in `config/`."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tinyast.errors import TinyASTError

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


class RecipeError(TinyASTError):
    """A recipe cannot be read, or holds a key or a value that means nothing."""


# Keys that shape the network.
NETWORK = (
    "stem_channels",
    "stem_depths",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "drop_path",
    "hidden_dropout_prob",
    "classifier_dropout",
)
# What a kind of value is called, where not by its own name.
KINDS: dict[type, str] = {tuple: "whole numbers as in 16,32,96"}


@dataclass(frozen=True)
class Recipe:
    """Defaults are those of the shipped checkpoint; see `config/recipe-full.toml` for why."""

    # How long and how fast.
    seed: int = 0
    epochs: int = 220  # passes over the training clips
    batch_size: int = 32  # clips
    learning_rate: float = 2e-3  # at the top of the one-cycle schedule
    warmup: float = 0.1  # part of the training spent rising to it
    weight_decay: float = 0.05
    clip_norm: float = 2.0  # gradients longer than this are shortened to it
    ema_decay: float = 0.998  # per step, of the averaged weights that are kept
    bfloat16: bool = True  # multiply in bfloat16 where the processor can
    # What is trained on.
    variants: int = 16  # pictures computed of each clip, the first one plain
    varied: float = 0.5  # part of the clips met as a variant, and not as they are
    max_speed: float = 1.25  # fastest playback of a variant; the slowest is its inverse
    reverb: float = 0.2  # part of the variants put into a made-up room
    clipping: float = 0.12  # part of the variants recorded too loud
    limit: int = 0  # use only this many clips; 0 means all
    leave_out: int = 0  # classes, drawn by the seed, that are not learnt: to judge unknown sound
    held_out_clips: int = 0  # with no fold held out, keep this many clips for testing
    # What is done to each batch.
    mix: float = 0.5  # part of the clips mixed with another one
    label_smoothing: float = 0.1
    stretch: float = 0.15  # most that time is stretched or squeezed, as a part
    mel_shift: float = 2.5  # most bands that a picture is moved up or down
    equaliser_db: float = 4.0  # standard deviation of a random frequency response
    shift: float = 0.3  # part of the clips moved in time with silence following, not rolled
    background: float = 0.25  # part of the clips given other clips behind them
    noise: float = 0.15  # part of the clips given steady noise
    narrow: float = 0.1  # part of the clips given less bandwidth
    mask_time: int = 12  # widest stripe of frames blanked
    mask_mel: int = 8  # widest stripe of bands blanked
    masks: int = 1  # stripes blanked in each direction
    # What is learnt from teachers, if there are any.
    distil: float = 0.8  # part of the loss that is about their scores
    distil_temperature: float = 2.0  # their logits are divided by it
    # The network, as in TinyASTConfig.
    stem_channels: tuple[int, ...] = (32, 64, 128, 256)
    stem_depths: tuple[int, ...] = (2, 2, 2, 2, 0)
    hidden_size: int = 256
    num_hidden_layers: int = 1
    intermediate_size: int = 512
    drop_path: float = 0.05
    hidden_dropout_prob: float = 0.05
    classifier_dropout: float = 0.3

    def model_settings(self) -> dict[str, Any]:
        """The part of the recipe that goes into a `TinyASTConfig`."""
        return {name: getattr(self, name) for name in NETWORK}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def load_recipe(path: Path, overrides: dict[str, str] | None = None) -> Recipe:
    """Read a recipe and put `overrides` (as typed on a command line) over it.

    Raises RecipeError naming the file and the key at fault.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    recipe = _apply(Recipe(), values, str(path))
    return _apply(recipe, dict(overrides or {}), "the command line")


def _apply(recipe: Recipe, values: dict[str, Any], origin: str) -> Recipe:
    kinds = {field.name: type(getattr(recipe, field.name)) for field in fields(recipe)}
    for key in values:
        if key not in kinds:
            raise RecipeError(
                f"{origin}: no recipe key is called {key!r}; there is {', '.join(kinds)}"
            )
    return replace(recipe, **{key: _cast(key, v, kinds[key], origin) for key, v in values.items()})


def _cast(key: str, value: Any, kind: type, origin: str) -> Any:
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        if kind is bool and not isinstance(value, bool):
            raise ValueError
        if kind is tuple:
            given: Any = value.split(",") if isinstance(value, str) else value
            return tuple(_whole(number) for number in given)
        result = _whole(value) if kind is int else kind(value)
    except (TypeError, ValueError, OverflowError):  # of a number that is infinite
        raise RecipeError(
            f"{origin}: {key} must be {KINDS.get(kind, kind.__name__)}, not {value!r}"
        ) from None
    return result


def _whole(value: Any) -> int:
    """`value` as an int. Raises ValueError where something would be lost."""
    number = int(value)
    if float(value) != number:
        raise ValueError
    return number


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
