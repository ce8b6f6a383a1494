"""Examples to learn from, as the graph hears them, and how recordings are shared out to folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.inference.head import Head
from tinyast.learning.background import Background

NONE = "none"
"""The label of examples of no kind."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """The graph's outputs for n windows of clips with labels."""

    logits: Float  # (n, kinds known before)
    embedding: Float  # (n, embedding)
    audioset: Float | None  # (n, 527)
    labels: tuple[str, ...]  # (n,)
    clips: Numbers  # (n,) numbers of their clips
    recordings: tuple[str, ...]  # (n,) clips of one recording are judged by the same head

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: Numbers) -> Examples:
        """The windows numbered `chosen`."""
        return Examples(
            self.logits[chosen],
            self.embedding[chosen],
            None if self.audioset is None else self.audioset[chosen],
            tuple(self.labels[at] for at in chosen),
            self.clips[chosen],
            tuple(self.recordings[at] for at in chosen),
        )


@dataclass(frozen=True, eq=False)
class Known:
    """The checkpoint as it was before."""

    labels: tuple[str, ...]
    unknown_below: float | None
    background: Background

    def judge(self, head: Head, examples: Examples) -> Float:
        """Logits of all kinds, (n, labels), by the graph and `head`."""
        return head.apply(
            examples.logits, examples.embedding, examples.audioset, self.labels, self.unknown_below
        )


def share_out(labels: Sequence[str], recordings: Sequence[str], folds: int) -> Numbers:
    """A fold for each window, (n,): whole recordings, and those of a kind evenly."""
    first: dict[str, str] = {}
    for label, recording in zip(labels, recordings, strict=True):
        first.setdefault(recording, label)
    order = sorted(first, key=lambda recording: (first[recording], recording))
    fold_of = {recording: place % folds for place, recording in enumerate(order)}
    return np.array([fold_of[recording] for recording in recordings], np.int64)
