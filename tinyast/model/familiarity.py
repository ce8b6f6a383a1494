"""How far a sound lies from the kinds that a model knows, by its embedding.

The relative Mahalanobis distance (Ren et al. 2021, "A Simple Fix to Mahalanobis Distance for
Improving Near-OOD Detection"): from the nearest kind, less that from all sounds together. Means and
covariances are those of the clips trained on, and stay in the checkpoint: a head for more kinds can
be learnt beside them without the clips.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Familiarity(nn.Module):
    """Statistics of embeddings, (B, size), of `kinds` kinds of sound."""

    means: Tensor
    within: Tensor
    counts: Tensor

    def __init__(self, kinds: int, size: int) -> None:
        super().__init__()
        # Embeddings have mean 0 and covariance 1 over all clips.
        self.register_buffer("means", torch.zeros(kinds, size))  # of each kind
        # Its product with its transpose is the inverse of the covariance about those means.
        self.register_buffer("within", torch.eye(size))
        self.register_buffer("counts", torch.zeros(kinds))  # clips that each mean is of

    def forward(self, embedding: Tensor) -> Tensor:
        """The distance for each sound, (B,): about 0 for one of a kind, more for others."""
        spread = embedding @ self.within  # (B, size)
        centres = self.means @ self.within  # (kinds, size)
        nearest = (
            spread.square().sum(1, keepdim=True) - 2 * spread @ centres.T + centres.square().sum(1)
        ).amin(1)
        return (nearest - embedding.square().sum(1)) / embedding.shape[1]
