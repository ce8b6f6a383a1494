"""A training recipe: every number that shapes a training, read from TOML in `config/`."""

from __future__ import annotations

import difflib
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, inspect

from tinyast.data.variation import VariantSettings
from tinyast.errors import TinyASTError

# A number, its least and its greatest value; infinity never counts as a number.
Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Part = Annotated[float, Meta(ge=0, le=1)]
Dropout = Annotated[float, Meta(ge=0, le=0.99)]

Value = object  # of a key, as TOML or a command line gives it
MOST_STAGES, HEADS = 6, 4
# Keys that shape the network.
NETWORK = (
    "stem",
    "stretched",
    "stem_channels",
    "stem_depths",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "drop_path",
    "hidden_dropout_prob",
    "classifier_dropout",
)


class RecipeError(TinyASTError):
    """A recipe cannot be read, or has an unknown key or an unusable value."""


class Recipe(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Defaults are those of the shipped checkpoint; see `config/recipe-full.toml` for why."""

    # How long and how fast.
    seed: Count = 0
    epochs: AtLeastOne = 220  # passes over the training clips
    batch_size: AtLeastOne = 32  # clips
    # At the top of the one-cycle schedule.
    learning_rate: Annotated[float, Meta(ge=1e-8, le=1)] = 2e-3
    warmup: Dropout = 0.1  # part of the training spent rising to it
    weight_decay: Amount = 0.05
    clip_norm: Annotated[float, Meta(ge=1e-6)] = 2.0  # longer gradients are shortened to it
    # Per step, of the averaged weights that are kept.
    ema_decay: Annotated[float, Meta(ge=0, le=0.999999)] = 0.998
    bfloat16: bool = True  # multiply in bfloat16 where the processor can
    # What is trained on.
    variants: AtLeastOne = 16  # pictures computed of each clip, the first one plain
    varied: Part = 0.5  # part of the clips met as a variant, and not as they are
    # Fastest playback of a variant; the slowest is its inverse.
    max_speed: Annotated[float, Meta(ge=1, le=4)] = 1.25
    reverb: Part = 0.2  # part of the variants put into a made-up room
    clipping: Part = 0.12  # part of the variants recorded too loud
    limit: Count = 0  # use only this many clips; 0 means all
    leave_out: Count = 0  # classes, drawn by the seed, that are not learnt: to judge unknown sound
    held_out_clips: Count = 0  # with no fold held out, keep this many clips for testing
    short: Part = 0.0  # part of the variants that are a short piece of the clip in silence
    quiet: Part = 0.0  # part of the variants with hiss, hum or an offset far below them
    none_clips: Count = 0  # sounds of no kind that each epoch hears as well
    # What is seen of a clip: see tinyast/features/presets.py.
    picture: Literal["slaney", "small", "fine"] = "slaney"
    # What is done to each batch.
    mix: Part = 0.5  # part of the clips mixed with another one
    label_smoothing: Part = 0.1
    # Most that time is stretched or squeezed, as a part.
    stretch: Annotated[float, Meta(ge=0, le=0.9)] = 0.15
    mel_shift: Amount = 2.5  # most bands that a picture is moved up or down
    equaliser_db: Amount = 4.0  # standard deviation of a random frequency response
    shift: Part = 0.3  # part of the clips moved in time with silence following, not rolled
    background: Part = 0.25  # part of the clips given other clips behind them
    noise: Part = 0.15  # part of the clips given steady noise
    narrow: Part = 0.1  # part of the clips given less bandwidth
    room: Part = 0.0  # part of the clips that fade as in a room
    mask_time: Count = 12  # widest stripe of frames blanked
    mask_mel: Count = 8  # widest stripe of bands blanked
    masks: Count = 1  # stripes blanked in each direction
    last_layer: Part = 0.0  # how far the last layer moves at the end, to a logistic regression
    # What is learnt from teachers, if there are any.
    distil: Part = 0.8  # part of the loss that is about their scores
    # Their logits are divided by it.
    distil_temperature: Annotated[float, Meta(ge=0.1, le=100)] = 2.0
    # From 0 to 1, how far a clip is known for certain: sounds of no kind are none.
    familiar: Amount = 0.0  # weight of telling them from kinds by the sum of all logits
    audioset: Amount = 0.0  # weight of AudioSet's scores by the teachers, or by mn04 itself
    imitate: Amount = 0.0  # weight of the features that the first teacher has of the same sound
    # The network, as in TinyASTConfig. A stem of "mobilenet" starts from mn04's weights.
    stem: Literal["convolutions", "mobilenet"] = "convolutions"
    stretched: tuple[AtLeastOne, ...] = ()  # bands and columns; () leaves the picture as it is
    stem_rate: Amount = (
        1.0  # the stem's learning rate beside that of the rest; 0: it stays as it is
    )
    stem_channels: tuple[AtLeastOne, ...] = (32, 64, 128, 256)
    stem_depths: tuple[Count, ...] = (2, 2, 2, 2, 0)
    hidden_size: AtLeastOne = 256
    num_hidden_layers: Count = 1
    intermediate_size: Count = 512
    drop_path: Dropout = 0.05
    hidden_dropout_prob: Dropout = 0.05
    classifier_dropout: Dropout = 0.3

    def model_settings(self) -> dict[str, Any]:
        """The part of the recipe that goes into a `TinyASTConfig`."""
        return {name: getattr(self, name) for name in NETWORK} | {
            "stretched": self.stretched or None
        }

    def variation(self) -> VariantSettings:
        """How the variants of a clip are made; runs with other seeds share them."""
        return VariantSettings(
            self.variants, self.max_speed, self.reverb, self.clipping, self.short, self.quiet
        )

    def to_dict(self) -> dict[str, object]:
        """All keys with their values, in the order of this class."""
        return msgspec.structs.asdict(self)


_STRUCT = inspect.type_info(Recipe)
assert isinstance(_STRUCT, inspect.StructType)
KINDS = {field.name: field.type for field in _STRUCT.fields}


def load_recipe(path: Path, overrides: dict[str, str] | None = None) -> Recipe:
    """Read a recipe and put `overrides` (as typed on a command line) over it.

    Raises RecipeError naming the key at fault, and the file or the command line that gave it.
    """
    try:
        values: dict[str, Value] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    origins = dict.fromkeys(values, str(path)) | dict.fromkeys(overrides or {}, "the command line")
    values |= overrides or {}
    for key, origin in origins.items():
        if key not in KINDS:
            near = difflib.get_close_matches(key, KINDS, 1)
            hint = f"did you mean {near[0]}?" if near else "config/recipe-full.toml lists them"
            raise RecipeError(f"{origin}: no recipe key is called {key!r}; {hint}")
    recipe = _convert(values, origins)
    check_network(recipe)
    return recipe


def _convert(values: dict[str, Value], origins: dict[str, str]) -> Recipe:
    read = {key: _read(key, value) for key, value in values.items()}
    try:
        recipe = msgspec.convert(read, Recipe)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        key = place.rstrip("`").partition("[")[0]
        if ">=" in problem or "<=" in problem:
            raise _out_of_range(key, read[key]) from None
        raise RecipeError(
            f"{origins[key]}: {key} must be {_name(KINDS[key])}, not {values[key]!r}"
        ) from None
    for key, value in recipe.to_dict().items():
        if value == math.inf:
            raise _out_of_range(key, value)
    return recipe


def _read(key: str, value: Value) -> Value:
    """A value as typed on a command line, or in quotes, as TOML would give it; 3.0 as 3."""
    kind = KINDS[key]
    if isinstance(value, str):
        if isinstance(kind, inspect.StrType | inspect.LiteralType):
            return value
        if isinstance(kind, inspect.VarTupleType):
            return [_number(part) for part in value.split(",")]
        if isinstance(kind, inspect.BoolType):
            return {"true": True, "false": False}.get(value.lower(), value)
    return [_number(item) for item in value] if isinstance(value, list) else _number(value)


def _number(value: Value) -> Value:
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return _number(kind(value))
            except ValueError:
                continue
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _name(kind: inspect.Type) -> str:
    """Describe what a value of this kind looks like."""
    if isinstance(kind, inspect.LiteralType):
        return f"one of {', '.join(map(str, kind.values))}"
    if isinstance(kind, inspect.VarTupleType):
        return "whole numbers as in 16,32,96"
    return type(kind).__name__.removesuffix("Type").lower()


def _out_of_range(key: str, value: Value) -> RecipeError:
    kind = KINDS[key]
    if isinstance(kind, inspect.VarTupleType):
        kind = kind.item_type
    if isinstance(value, list):
        value = min(value, default=0)
    assert isinstance(kind, inspect.IntType | inspect.FloatType)
    to = "up" if kind.le is None else f"to {kind.le:g}"
    return RecipeError(
        f"{key} of the recipe is a number from {kind.ge:g} {to}, not {value}: "
        f"change it in the file, or with --{key.replace('_', '-')}"
    )


def check_network(recipe: Recipe) -> None:
    """Raise RecipeError if the sizes of the network do not fit together."""
    if recipe.num_hidden_layers and recipe.hidden_size % HEADS:
        raise RecipeError(
            f"hidden_size of the recipe is a multiple of {HEADS}, the heads of attention, not "
            f"{recipe.hidden_size}"
        )
    if (recipe.stem == "mobilenet") != (recipe.picture != "slaney"):
        raise RecipeError(
            'stem of the recipe is "mobilenet" with a picture "small" or "fine", and only with '
            f"them, not {recipe.stem!r} with {recipe.picture!r}"
        )
    if len(recipe.stretched) not in (0, 2):
        raise RecipeError(
            "stretched of the recipe is two numbers, bands and columns, or none, not "
            f"{len(recipe.stretched)}"
        )
    if recipe.stem == "convolutions":
        _check_stages(recipe)


def _check_stages(recipe: Recipe) -> None:
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
            "hidden_size of the recipe is the last of stem_channels if the last of stem_depths is "
            f"0, not {recipe.hidden_size}"
        )
    if stages > MOST_STAGES:
        raise RecipeError(
            f"stem_channels of the recipe has at most {MOST_STAGES} numbers, as each halves a "
            f"picture of 64 cells a side, not {stages}"
        )
