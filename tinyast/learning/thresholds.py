"""The lowest score from which a kind's label is right as often as required."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyast.arrays import Float
from tinyast.inference.engine import softmax

FEWEST = 10  # windows given a label; with fewer, the settings' threshold stays
LEVELS = tuple(percent / 100 for percent in range(50, 100, 5))


def thresholds(
    logits: Float, labels: Sequence[str], actual: Sequence[str], kinds: Sequence[str], wished: float
) -> Float:
    """A threshold for each of `kinds`; not a number where too few windows are given its label.

    `logits` are (n, labels), `actual` the label of each window. The share of right labels is
    counted with one more right and one wrong (Laplace's rule), as few windows prove little. If no
    threshold gets as far, it is the one that gets farthest.
    """
    scores = softmax(logits)
    given, best = scores.argmax(axis=1), scores.max(axis=1)
    chosen = np.full(len(kinds), np.nan, np.float32)
    for number, kind in enumerate(kinds):
        called = given == labels.index(kind)
        if called.sum() < FEWEST:
            continue
        right = np.array([label == kind for label in actual])
        passed = [called & (best >= level) for level in LEVELS]
        shares = [(right[each].sum() + 1) / (each.sum() + 2) for each in passed]
        enough = [at for at, share in enumerate(shares) if share >= wished]
        chosen[number] = LEVELS[enough[0] if enough else int(np.argmax(shares))]
    return chosen
