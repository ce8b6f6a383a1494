"""The results of a lesson: figures of each kind, confusions, clips to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinyast.arrays import Float
from tinyast.inference.engine import softmax
from tinyast.learning.clips import Clip
from tinyast.learning.examples import NONE, Examples, Known
from tinyast.learning.teaching import Lesson

FEW_CLIPS = 10
LOW_RECALL = 0.8
DOUBTED = 0.2  # score of its own label below which a clip may be mislabelled,
BELIEVED = 0.6  # if another label has this one


@dataclass(frozen=True)
class Kind:
    """How the clips of one kind came out, judged by heads that had not heard them."""

    label: str
    clips: int
    right: int  # given this label
    called: int  # clips of any kind that were given it
    accepted: int  # of the right ones, with a score and familiarity that the daemon accepts
    threshold: float


@dataclass(frozen=True)
class Doubt:
    """A clip that sounds like another kind than its label says."""

    name: str
    label: str
    given: str
    score: float


@dataclass(frozen=True)
class Results:
    """All figures of a lesson. A clip has the mean scores of its windows."""

    kinds: tuple[Kind, ...]
    none_clips: int
    none_accepted: int
    confusions: tuple[tuple[str, str, int], ...]  # actual, given, clips; most first
    doubts: tuple[Doubt, ...]
    need_more: tuple[tuple[str, str], ...]  # kind, why

    @property
    def clips(self) -> int:
        return sum(kind.clips for kind in self.kinds)

    @property
    def right(self) -> int:
        return sum(kind.right for kind in self.kinds)


def results(
    lesson: Lesson, examples: Examples, clips: Sequence[Clip], known: Known, usual: float
) -> Results:
    """Judge `lesson` by its clips. `usual` is the threshold of kinds without their own."""
    numbers = np.unique(examples.clips)
    scores = softmax(lesson.logits)
    mean = np.stack([scores[examples.clips == number].mean(axis=0) for number in numbers])
    least = -np.inf if known.unknown_below is None else known.unknown_below
    familiar = lesson.logits.max(axis=1) >= least
    sure = np.array([familiar[examples.clips == n].mean() >= 0.5 for n in numbers])
    actual = [clips[number].label for number in numbers]
    given = [lesson.labels[at] for at in mean.argmax(axis=1)]
    own = dict(zip(lesson.head.kinds, lesson.head.thresholds.tolist(), strict=True))
    limits = {
        kind: usual if np.isnan(own.get(kind, np.nan)) else own[kind] for kind in lesson.labels
    }
    passed = sure & (mean.max(axis=1) >= np.array([limits[label] for label in given]))
    kinds = []
    for kind in lesson.head.kinds:
        right = np.array([a == kind == g for a, g in zip(actual, given, strict=True)])
        kinds.append(
            Kind(
                kind,
                actual.count(kind),
                int(right.sum()),
                given.count(kind),
                int((right & passed).sum()),
                limits[kind],
            )
        )
    wrong = Counter(
        (a, g) for a, g in zip(actual, given, strict=True) if a != g and a != NONE
    ).most_common()
    nothing = np.array([label == NONE for label in actual])
    return Results(
        tuple(kinds),
        int(nothing.sum()),
        int((nothing & passed).sum()),
        tuple((*pair, count) for pair, count in wrong),
        tuple(_doubts(lesson, mean, actual, [str(clips[n].path) for n in numbers])),
        tuple(_need_more(kinds)),
    )


def _doubts(
    lesson: Lesson, mean: Float, actual: Sequence[str], names: Sequence[str]
) -> list[Doubt]:
    found = []
    for at, label in enumerate(actual):
        best = int(mean[at].argmax())
        own = mean[at][lesson.labels.index(label)] if label != NONE else 0.0
        if own < DOUBTED and mean[at][best] >= BELIEVED:
            found.append(Doubt(names[at], label, lesson.labels[best], float(mean[at][best])))
    return sorted(found, key=lambda doubt: -doubt.score)


def _need_more(kinds: Sequence[Kind]) -> list[tuple[str, str]]:
    found = []
    for kind in kinds:
        if kind.right < LOW_RECALL * kind.clips:
            found.append((kind.label, f"only {kind.right} of {kind.clips} were heard as it"))
        elif kind.accepted < LOW_RECALL * kind.right:
            found.append((kind.label, f"only {kind.accepted} of {kind.right} would be accepted"))
        elif kind.clips < FEW_CLIPS:
            found.append((kind.label, f"{kind.clips} clips are few"))
    return found
