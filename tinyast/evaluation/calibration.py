"""Calibration: how often a model is right, by its score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]  # (clips, classes)
Scores = NDArray[np.float32]  # (clips, classes), rows sum to 1
Targets = NDArray[np.int64]  # (clips,)


@dataclass(frozen=True)
class Accepted:
    """The clips that a threshold accepts."""

    threshold: float
    clips: int  # that are accepted
    share: float  # of all clips
    right: float | None  # share of these that are correct; None without any


def accepted(scores: Scores, targets: Targets, threshold: float) -> Accepted:
    """The share accepted at `threshold`, and the correct share of it."""
    passed = scores.max(axis=1) >= threshold
    right = scores.argmax(axis=1) == targets
    share_right = float(right[passed].mean()) if passed.any() else None
    return Accepted(threshold, int(passed.sum()), float(passed.mean()), share_right)


def reliability(scores: Scores, targets: Targets, bins: int = 15) -> list[tuple[float, float, int]]:
    """For each filled bin of best scores: mean score, share that is right, clips."""
    best, hit = scores.max(axis=1), scores.argmax(axis=1) == targets
    place = np.minimum((best * bins).astype(int), bins - 1)
    chosen = [place == number for number in range(bins)]
    return [
        (float(best[inside].mean()), float(hit[inside].mean()), int(inside.sum()))
        for inside in chosen
        if inside.any()
    ]


def calibration_error(scores: Scores, targets: Targets, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins (Guo et al. 2017)."""
    rows = reliability(scores, targets, bins)
    return sum(count * abs(score - hit) for score, hit, count in rows) / len(targets)


def fit_temperature(logits: Logits, targets: Targets) -> float:
    """The temperature under which `logits` (clips, classes) are likeliest (Guo et al. 2017).

    The loss has one minimum in the logarithm of the temperature, here between 0.05 and 20.
    """
    from scipy.optimize import minimize_scalar  # a second to import: not for `--help`

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        truth = scaled[np.arange(len(targets)), targets]
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - truth))

    found = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), options={"xatol": 1e-5})
    return math.exp(found.x)


def temperatures_from_others(
    logits: Logits, targets: Targets, judges: NDArray[np.int64]
) -> NDArray[np.float64]:
    """For each clip the temperature likeliest on the clips of all other judges, (clips,).

    `judges` (clips,) says which model judged a clip. No clip influences its own temperature.
    Raises ValueError for a single judge.
    """
    numbers = np.unique(judges)
    if len(numbers) < 2:
        raise ValueError("temperatures from others need two judges at least")
    fitted = np.empty(len(targets))
    for number in numbers:
        own = judges == number
        fitted[own] = fit_temperature(logits[~own], targets[~own])
    return fitted
