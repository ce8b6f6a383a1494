"""The last layer once more: a logistic regression of the features that a training ended with.

A training sees each clip mixed and covered; what suits it best then is not what suits clear clips
best. Over a stem that has not learnt, the regression alone is better; else a mean of both layers
(as of whole networks: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.training.augmentation import Batch
from tinyast.training.statistics import scaled_features

DECAY = 0.02  # weight of the squares of all weights
STEPS = 150
PASSES, SHARE = 3, 0.3  # over changed clips; the weight of each beside a clear one


def refit(
    model: TinyASTForAudioClassification,
    clear: NDArray[np.float64],
    targets: NDArray[np.int64],
    changed: Iterable[Batch],
    way: float,
) -> None:
    """Move the classifier towards the one that is likeliest for clear and changed clips.

    `clear` are scaled features, (n, width), of clips of the kinds `targets`, (n,); `way` is how
    far, 0 to 1. Sounds of no kind, in `changed`, should have even scores.
    """
    layer = model.classifier
    features, wanted = [clear], [np.eye(layer.out_features)[targets]]
    for batch in changed:
        features.append(scaled_features(model, batch.pictures))
        known = batch.targets.sum(axis=1, keepdims=True)
        wanted.append(batch.targets + (1 - known) / layer.out_features)
    given = torch.from_numpy(np.concatenate(features)).float()
    truth = torch.from_numpy(np.concatenate(wanted)).float()
    share = torch.full((len(given),), SHARE)
    share[: len(clear)] = 1.0
    weights = torch.zeros_like(layer.weight, requires_grad=True)
    bias = torch.zeros_like(layer.bias, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = functional.linear(given, weights, bias)
        each = functional.cross_entropy(logits, truth, reduction="none")
        value = each @ share / share.sum() + DECAY * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.lerp_(weights, way)
        layer.bias.lerp_(bias, way)
