"""The last layer once more: a logistic regression of the features that a training ended with.

A training sees each clip mixed and covered; what suits it best then is not what suits clear clips
best. The mean of both layers is better than either (as of whole networks: Wortsman et al. 2022,
"Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.training.augmentation import Batch
from tinyast.training.statistics import scaled_features

DECAY = 1e-3  # weight of the squares of all weights
STEPS = 80


def refit(model: TinyASTForAudioClassification, batches: Iterable[Batch]) -> None:
    """Move the classifier half-way to the one that is likeliest for the clips of `batches`."""
    features, wanted = [], []
    for batch in batches:
        features.append(scaled_features(model, batch.pictures))
        known = batch.targets.sum(axis=1, keepdims=True)
        wanted.append(batch.targets + (1 - known) / batch.targets.shape[1])
    given = torch.from_numpy(np.concatenate(features)).float()
    truth = torch.from_numpy(np.concatenate(wanted)).float()
    layer = model.classifier
    weights = layer.weight.detach().clone().requires_grad_()
    bias = layer.bias.detach().clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = functional.linear(given, weights, bias)
        value = functional.cross_entropy(logits, truth) + DECAY * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.lerp_(weights, 0.5)
        layer.bias.lerp_(bias, 0.5)
