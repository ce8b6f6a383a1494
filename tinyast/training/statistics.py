"""What a checkpoint keeps of the clips it was trained on: statistics of their embeddings."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.learning.background import inverse_factor
from tinyast.model.modeling import TinyASTForAudioClassification

AT_ONCE = 64  # pictures
DISTANCE = 1.5  # its weight in familiarity, beside that of the best logit: see docs/model.md


@torch.no_grad()
def describe(
    model: TinyASTForAudioClassification, scaled: NDArray[np.float64], targets: NDArray[np.int64]
) -> None:
    """Fit the embedding and the model of familiar sounds to clips and their kinds.

    `scaled` are features, (n, width), `targets` (n,). The embedding is the projection of scaled
    features that keeps most of their variance, brought to mean 0 and covariance 1 (principal
    component analysis). From fewer clips than it has numbers, the last of these stay 0.
    """
    size = model.config.embedding_size
    mean = scaled.mean(axis=0)
    _, spread, directions = np.linalg.svd(scaled - mean, full_matrices=False)
    kept = int((spread[:size] > spread[0] * 1e-6).sum())
    projection = np.zeros((scaled.shape[1], size))
    projection[:, :kept] = directions[:kept].T / spread[:kept] * np.sqrt(len(scaled))
    embedded = (scaled - mean) @ projection
    kinds = model.config.num_labels
    counts = np.bincount(targets, minlength=kinds)
    means = np.zeros((kinds, size))
    np.add.at(means, targets, embedded)
    means /= np.maximum(counts, 1)[:, None]
    rest = embedded - means[targets]
    within = inverse_factor(rest.T @ rest / len(rest))
    model.embedding.weight.copy_(torch.from_numpy(projection.T))
    model.embedding.bias.copy_(torch.from_numpy(-mean @ projection))
    model.familiarity.means.copy_(torch.from_numpy(means))
    model.familiarity.within.copy_(torch.from_numpy(within))
    model.familiarity.counts.copy_(torch.from_numpy(counts))
    model.config.familiar_distance = DISTANCE


@torch.no_grad()
def scaled_features(model: TinyASTForAudioClassification, pictures: Float) -> NDArray[np.float64]:
    """What the classifier is given of each picture, (n, width)."""
    model.eval()
    parts = []
    for start in range(0, len(pictures), AT_ONCE):
        some = torch.from_numpy(pictures[start : start + AT_ONCE]).to(model.device)
        parts.append(model.scaling(model(some).features).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)
