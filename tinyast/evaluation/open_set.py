"""Measures that tell known kinds of sound from unknown ones, and how well they do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyast.inference.familiarity import Familiarity, Logits, best_logit


def energy(logits: Logits) -> Familiarity:
    """Liu et al. 2020, "Energy-based Out-of-distribution Detection", with its sign turned."""
    best = best_logit(logits)
    total: Familiarity = best + np.log(np.exp(logits - best[:, None]).sum(axis=1))
    return total


def best_score(logits: Logits) -> Familiarity:
    """Hendrycks and Gimpel 2017, "A Baseline for Detecting Misclassified Examples"."""
    return np.exp(best_logit(logits) - energy(logits))


def certainty(logits: Logits) -> Familiarity:
    """Entropy of the scores with its sign turned."""
    log_scores = logits - energy(logits)[:, None]
    certain: Familiarity = (np.exp(log_scores) * log_scores).sum(axis=1)
    return certain


def margin(logits: Logits) -> Familiarity:
    """How far the best logit is above the second."""
    two = np.partition(logits, -2, axis=1)[:, -2:].astype(np.float64)
    ahead: Familiarity = two[:, 1] - two[:, 0]
    return ahead


MEASURES: dict[str, Callable[[Logits], Familiarity]] = {
    "best logit": best_logit,
    "energy": energy,
    "best score": best_score,
    "certainty": certainty,
    "margin": margin,
}


def auroc(known: Familiarity, unknown: Familiarity) -> float:
    """Chance that a known clip is more familiar than an unknown one, ties counting half.

    The area under the receiver operating characteristic (Hanley and McNeil 1982).
    """
    from sklearn.metrics import roc_auc_score  # takes seconds to import: not for `--help`

    is_known = np.repeat([1, 0], [len(known), len(unknown)])
    return float(roc_auc_score(is_known, np.concatenate([known, unknown])))
