"""What a training begins with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tinyast.data.spectrograms import Spectra
from tinyast.errors import TinyASTError
from tinyast.features.log_mel import FeatureSettings
from tinyast.model.configuration import TinyASTConfig
from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.training.augmentation import show
from tinyast.training.distillation import Teacher
from tinyast.training.extending import MEANING, Kept
from tinyast.training.pretrained import SETTLING, Weights, begin_with
from tinyast.training.recipe import Recipe


class StartError(TinyASTError):
    """A training cannot begin with the model that it was given."""


Tensors = tuple[Tensor, ...] | list[Tensor]


def start(
    recipe: Recipe,
    settings: FeatureSettings,
    labels: tuple[str, ...],
    spectra: Spectra,
    pretrained: Weights | None,
    begin: Teacher | None = None,
    kept: Kept | None = None,
) -> tuple[TinyASTForAudioClassification, AveragedModel, torch.optim.Optimizer]:
    """The model, its running mean and its optimiser, before the first step.

    A stem of "mobilenet" gets the weights `pretrained`, and is brought to the first of `spectra`.
    With `begin` all weights are those of that model, and with `kept` its scores keep their meaning.
    Raises StartError if it sees another picture or is another network.
    """
    torch.manual_seed(recipe.seed)
    config = TinyASTConfig(
        n_mels=settings.n_mels,
        n_frames=settings.n_frames,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        **recipe.model_settings(),
    )
    # Plain attention trains faster on a CPU than the fused one: 3.3 against 3.8 ms a clip.
    config._attn_implementation = "eager"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = TinyASTForAudioClassification(config)
    if pretrained is not None:
        begin_with(model, pretrained, show(spectra.plain(slice(SETTLING)), settings))
    if begin is not None:
        _go_on(model, settings, begin)
    if begin is not None and kept is not None:
        for name in MEANING:
            setattr(model.config, name, getattr(begin.model.config, name))
    model = model.to(device, memory_format=torch.channels_last)
    average = _averaged(model, recipe.ema_decay)
    slow = model.stem if kept is None else nn.ModuleList([model.stem, model.blocks])
    optimiser = torch.optim.AdamW(_groups(model, slow, recipe), lr=recipe.learning_rate, fused=True)
    return model, average, optimiser


def _go_on(model: TinyASTForAudioClassification, settings: FeatureSettings, begin: Teacher) -> None:
    if begin.settings != settings:
        raise StartError(
            "the model to start from sees another picture than the recipe's: choose a recipe with "
            "its picture"
        )
    try:
        model.load_state_dict(begin.model.state_dict())
    except RuntimeError as error:
        raise StartError(
            "the model to start from is another network than that of the recipe: use the recipe "
            "that it was trained with, or another one with its stem and sizes"
        ) from error


def _groups(
    model: TinyASTForAudioClassification, slow: nn.Module, recipe: Recipe
) -> list[dict[str, Any]]:
    """Weights with their decay and their share of the learning rate, `stem_rate` for `slow`."""
    stem = {id(weights) for weights in slow.parameters()}
    groups: list[dict[str, Any]] = []
    for inside, share in ((True, recipe.stem_rate), (False, 1.0)):
        some = [weights for weights in model.parameters() if (id(weights) in stem) == inside]
        # Biases, norms and positions are few and set scales: decay is for matrices and filters.
        matrices = [weights for weights in some if weights.ndim in (2, 4)]
        others = [weights for weights in some if weights.ndim not in (2, 4)]
        groups.append({"params": matrices, "weight_decay": recipe.weight_decay, "share": share})
        groups.append({"params": others, "weight_decay": 0.0, "share": share})
    return groups


def _averaged(model: TinyASTForAudioClassification, decay: float) -> AveragedModel:
    """A running mean of weights and batch-norm statistics, faster at first than `decay`."""

    def average(kept: Tensors, fresh: Tensors, count: Tensor | int) -> None:
        now = min(decay, float(count / (9 + count)))
        get_ema_multi_avg_fn(now)(kept, fresh, count)  # type: ignore[no-untyped-call]

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
