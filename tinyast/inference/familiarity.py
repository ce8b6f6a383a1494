"""How much a window sounds like any kind that the model knows, from its logits alone.

Kinds left out of training say which measure tells best; `scripts.evaluate --unknown` compares
them. The one that serves is `familiarity`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]  # (n, classes)
Familiarity = NDArray[np.float64]  # (n,) more is more familiar


def best_logit(logits: Logits) -> Familiarity:
    """Hendrycks et al. 2022, "Scaling Out-of-Distribution Detection for Real-World Settings"."""
    best: Familiarity = logits.max(axis=1).astype(np.float64)
    return best


familiarity = best_logit
