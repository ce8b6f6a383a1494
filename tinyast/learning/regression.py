"""Softmax regression with a penalty on its weights, and the temperature of its scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Targets = NDArray[np.int64]  # (n,)

MOST_STEPS = 250
TOLERANCE = 1e-4  # of the gradient's largest value


def fit(
    features: Array, targets: Targets, classes: int, weight: Array, penalty: float
) -> tuple[Array, Array]:
    """Weights (d, classes) and bias (classes,) that make `targets` likeliest.

    `features` are (n, d) with a spread near 1. `weight` (n,) says how much each row counts; its
    sum times half of `penalty` times the squares of all weights is added to the loss. Nesterov's
    accelerated gradient with restarts (O'Donoghue and Candès 2015): the loss is smooth and convex.
    """
    given = np.hstack([features, np.ones((len(features), 1))])
    truth = np.eye(classes)[targets]
    share = weight / weight.sum()
    shrink = np.full((given.shape[1], 1), penalty)
    shrink[-1] = 0
    # The softmax's curvature is at most half of the features' (Böhning 1992).
    step = 1 / (_largest(given * np.sqrt(share)[:, None]) / 2 + penalty)
    values = np.zeros((given.shape[1], classes))
    ahead, momentum = values, 1.0
    for _ in range(MOST_STEPS):
        scores = softmax(given @ ahead)
        slope = given.T @ ((scores - truth) * share[:, None]) + shrink * ahead
        if np.abs(slope).max() < TOLERANCE:
            break
        following = ahead - step * slope
        if float((slope * (following - values)).sum()) > 0:  # it went too far
            momentum = 1.0
        further = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / further * (following - values)
        values, momentum = following, further
    return values[:-1], values[-1]


def _largest(matrix: Array) -> float:
    """The largest eigenvalue of its product with itself, by power iteration, and a little more."""
    vector = np.ones(matrix.shape[1])
    for _ in range(30):
        vector = matrix.T @ (matrix @ vector)
        vector /= np.linalg.norm(vector)
    return 1.05 * float(np.linalg.norm(matrix @ vector)) ** 2


def softmax(logits: Array) -> Array:
    """Scores that sum to 1, (n, classes)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return scores


def log_loss(logits: Array, targets: Targets, weight: Array) -> float:
    """Mean of minus the logarithm of the right score."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    right = shifted[np.arange(len(targets)), targets]
    each = np.log(np.exp(shifted).sum(axis=1)) - right
    return float((each * weight).sum() / weight.sum())


def temperature(logits: Array, targets: Targets, weight: Array) -> float:
    """The best divisor of `logits` (Guo et al. 2017), from 0.3 to 3: few clips say no more.

    By golden sections of its logarithm, in which the loss has one minimum.
    """
    golden = (math.sqrt(5) - 1) / 2
    low, high = math.log(0.3), math.log(3)
    while high - low > 1e-3:
        one, two = high - golden * (high - low), low + golden * (high - low)
        if log_loss(logits / math.exp(one), targets, weight) < log_loss(
            logits / math.exp(two), targets, weight
        ):
            high = two
        else:
            low = one
    return math.exp((low + high) / 2)
