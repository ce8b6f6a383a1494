"""More kinds for a model that knows some: its weights, with room for others.

Without the clips of the kinds that it knows, two things keep them: what the model's stem makes of a
sound is imitated, and its last layer rehearses embeddings of those kinds, kept in the checkpoint or
drawn from its statistics, with the scores that it gave them (after Robins 1995, "Catastrophic
Forgetting, Rehearsal and Pseudorehearsal").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from tinyast.errors import CheckpointError
from tinyast.export.checkpoint import read_settings
from tinyast.features.presets import PRESETS
from tinyast.inference.checkpoint import CONFIG, GRAPH, read_checkpoint, shipped
from tinyast.inference.head import HEAD
from tinyast.learning.background import drawn, read_background
from tinyast.model.configuration import TinyASTConfig
from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.training.distillation import Teacher
from tinyast.training.recipe import Recipe

SHAPES = (
    "stem", "stem_channels", "stem_depths", "hidden_size", "num_hidden_layers", "intermediate_size"
)  # fmt: skip
# What a score and the rule `unknown` mean; they stay while kinds do.
MEANING = ("logit_temperature", "unknown_below", "familiar_distance")
AT_ONCE = 64  # embeddings rehearsed in a step
LEVEL = 0.1  # weight of the squares by which logits change


@dataclass(frozen=True, eq=False)
class Kept:
    """What a training keeps of the kinds known before, the first `count` of its labels."""

    count: int
    features: Tensor  # (n, width) that the last layer is given
    logits: Tensor  # (n, count) that it gave

    def loss(self, model: TinyASTForAudioClassification, random: np.random.Generator) -> Tensor:
        """How far the last layer is from what it gave, for some of the features.

        New kinds are to get no score. Scores alone would not hold logits, which say how familiar a
        sound is, at their level.
        """
        some = torch.from_numpy(random.permutation(len(self.features))[:AT_ONCE])
        given, before = (each[some].to(model.device) for each in (self.features, self.logits))
        logits = model.classifier(given) / model.config.logit_temperature
        wanted = functional.pad(before.softmax(1), (0, logits.shape[1] - self.count))
        level = functional.mse_loss(logits[:, : self.count], before)
        return functional.cross_entropy(logits, wanted) + LEVEL * level

    def hold(self, model: TinyASTForAudioClassification, heard: NDArray[np.int64]) -> None:
        """Undo the step's gradient for the rows of known kinds that are not among those heard."""
        rows = np.setdiff1d(np.arange(self.count), heard)
        for weights in model.classifier.parameters():
            if weights.grad is not None:
                weights.grad[rows] = 0


@dataclass(frozen=True, eq=False)
class Extension:
    """A model to start from, with all kinds of the result."""

    begin: Teacher
    labels: tuple[str, ...]
    kept: Kept | None  # None: the kinds known before are dropped

    def recipe(self, recipe: Recipe) -> Recipe:
        """`recipe` for this model's picture and network. Raises CheckpointError without a name."""
        config = self.begin.model.config
        names = [name for name, preset in PRESETS.items() if preset == self.begin.settings]
        if not names:
            raise CheckpointError("the model to start from sees a picture that no recipe makes")
        shape = {name: getattr(config, name) for name in SHAPES}
        shape = {name: tuple(v) if isinstance(v, list) else v for name, v in shape.items()}
        stretched = tuple(config.stretched or ())
        return structs.replace(recipe, picture=names[0], stretched=stretched, **shape)


def find_model(name: str) -> Path:
    """The folder of a shipped model's name, a checkpoint, or a run. Raises CheckpointError."""
    folder = shipped().get(name, Path(name))
    folder = folder / "model" if (folder / "model" / CONFIG).is_file() else folder
    if not (folder / CONFIG).is_file():
        known = " and ".join(shipped())
        raise CheckpointError(
            f"there is no model to start from at {name}; name a checkpoint, the folder of a run, "
            f"or one that ships: {known}"
        )
    if (folder / HEAD).is_file():
        raise CheckpointError(
            f"{folder} was itself made by `tinyastd learn`; start from the model that it began from"
        )
    return folder


def extend(folder: Path, kinds: Sequence[str], only_mine: bool) -> Extension:
    """The model in `folder` with room for `kinds`; with `only_mine`, for these alone.

    Raises CheckpointError if it cannot be loaded or gives no embeddings.
    """
    try:
        before = TinyASTForAudioClassification.from_pretrained(folder).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"the model in {folder} cannot be loaded: {error}") from error
    if before.config.stem != "mobilenet":
        raise CheckpointError(
            f"the model in {folder} gives no embeddings; start from one of version 5 or newer"
        )
    known = tuple(before.config.id2label[number] for number in range(before.config.num_labels))
    added = tuple(kind for kind in kinds if kind not in known)
    labels = tuple(kinds) if only_mine else (*known, *added)
    rows = [known.index(label) if label in known else -1 for label in labels]
    model = _widened(before, labels, rows)
    if only_mine:
        model.config.logit_temperature, model.config.unknown_below = 1.0, None
    begin = Teacher(model.eval(), read_settings(folder))
    kept = None if only_mine else _rehearsal(folder, before)
    return Extension(begin, labels, kept)


def _widened(
    before: TinyASTForAudioClassification, labels: tuple[str, ...], rows: list[int]
) -> TinyASTForAudioClassification:
    """The same model with a row for each of `labels`: the one numbered in `rows`, or a new one."""
    values = before.config.to_dict() | {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    model = TinyASTForAudioClassification(TinyASTConfig.from_dict(values))
    weights = before.state_dict()
    old = torch.tensor(rows)
    fresh = {
        "classifier.weight": weights["classifier.weight"][0] * 0,
        "classifier.bias": weights["classifier.bias"].mean(),  # as likely as others on the whole
        "familiarity.means": weights["familiarity.means"][0],  # the nearest kind is still that
        "familiarity.counts": torch.tensor(0.0),
    }
    for name, value in fresh.items():
        chosen = weights[name][old.clamp_min(0)].clone()
        chosen[old < 0] = value
        weights[name] = chosen
    model.load_state_dict(weights)
    return model


@torch.no_grad()
def _rehearsal(folder: Path, before: TinyASTForAudioClassification) -> Kept:
    """Features whose embeddings are those of the kinds known before, with the model's logits."""
    if (folder / GRAPH).is_file():
        embedding = read_background(read_checkpoint(folder)).embedding
    else:
        means, within = before.familiarity.means.numpy(), before.familiarity.within.numpy()
        embedding = drawn(means, within).embedding
    matrix = before.embedding.weight.double()
    centred = torch.from_numpy(embedding).double() - before.embedding.bias.double()
    features = (centred @ torch.linalg.pinv(matrix).T).float()
    logits = before.classifier(features) / before.config.logit_temperature
    return Kept(logits.shape[1], features, logits)


@torch.no_grad()
def describe_more(
    model: TinyASTForAudioClassification, features: NDArray[np.float64], targets: NDArray[np.int64]
) -> None:
    """Bring the means of kinds to clips more: their scaled `features`, (n, width), and `targets`.

    The embedding and how kinds spread in it stay, so the means of other kinds hold.
    """
    given = torch.from_numpy(features.astype(np.float32)).to(model.device)
    embedded: Tensor = model.embedding(given)
    familiar = model.familiarity
    for kind in np.unique(targets):
        some = embedded[torch.from_numpy(targets == kind)]
        counts = familiar.counts[kind] + len(some)
        familiar.means[kind] += (some - familiar.means[kind]).sum(0) / counts
        familiar.counts[kind] = counts


def remapped(
    targets: NDArray[np.int64], labels: Sequence[str], all_kinds: Sequence[str]
) -> NDArray[np.int64]:
    """Numbers into `labels`, (n,), as numbers into `all_kinds`; -1 stays."""
    places = np.array([*(all_kinds.index(label) for label in labels), -1], np.int64)
    return places[targets]
