"""Fit a head to examples, and judge it on recordings that it has not heard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.inference.head import Head, described
from tinyast.learning.background import OF_NO_KIND
from tinyast.learning.examples import NONE, Examples, Known, Numbers, share_out
from tinyast.learning.regression import fit, log_loss, temperature
from tinyast.learning.thresholds import thresholds

FOLDS = 5
PENALTIES = (0.02, 0.004)
OF_NO_KIND_WEIGHT = 0.25  # of the background's sounds of no kind: some may be like a new kind
MOST_OF_A_CLIP = 3.0  # windows that a long clip counts as, at most
LEAST_SPREAD = 0.05  # of a feature that is scaled
DIRECTIONS = 160  # of features
OUTLIERS = 98.0  # per cent of the examples count as like their kind


@dataclass(frozen=True, eq=False)
class Lesson:
    """A head, and for each example the logits of a head that had not heard its recording."""

    head: Head
    labels: tuple[str, ...]  # all kinds of the result
    logits: Float  # (n, labels), for each example
    penalty: float


def teach(
    examples: Examples, known: Known, only_mine: bool = False, precision: float = 0.9
) -> Lesson:
    """Learn the kinds of `examples`; those labelled `none` are of no kind.

    Penalty, temperature, thresholds and the limit of the unknown are chosen on recordings that the
    respective head has not heard. `precision` is the share of right labels that the threshold of
    each kind aims at. Raises ValueError if there is no kind.
    """
    course = _Course(examples, known, only_mine)
    penalty, unheard = course.best_penalty()
    heat = temperature(unheard, course.targets, course.balance)
    farthest = course.farthest()
    heads = [course.head(penalty, heat, farthest, fold) for fold in (*range(FOLDS), None)]
    labels = heads[-1].labels(known.labels)
    logits = np.zeros((len(examples), len(labels)), np.float32)
    for fold, head in enumerate(heads[:-1]):
        held = np.flatnonzero(course.folds[: len(examples)] == fold)
        if len(held):
            logits[held] = known.judge(head, examples.take(held))
    chosen = thresholds(logits, labels, examples.labels, course.kinds, precision)
    return Lesson(replace(heads[-1], thresholds=chosen), labels, logits, penalty)


class _Course:
    """Examples, then the background, as rows of features with columns of the softmax."""

    def __init__(self, examples: Examples, known: Known, only_mine: bool) -> None:
        self.kinds = tuple(sorted(set(examples.labels) - {NONE}))
        if not self.kinds:
            raise ValueError("there is no kind to learn")
        self._examples, self._known, self._only_mine = examples, known, only_mine
        background = known.background
        column = {kind: 1 + number for number, kind in enumerate((*self.kinds, NONE))}
        own = [column[label] for label in examples.labels]
        others = [
            0 if kind == OF_NO_KIND else column.get(known.labels[kind], 0)
            for kind in background.targets.tolist()
        ]
        self.targets: Numbers = np.array(own + others, np.int64)
        audioset = None if background.audioset is None else examples.audioset
        features = described(examples.embedding, audioset)
        rest = described(background.embedding, background.audioset)
        self._scale_and_turn(np.concatenate([features, rest]).astype(np.float64))
        counts = np.bincount(examples.clips)[examples.clips]
        each = np.minimum(1, MOST_OF_A_CLIP / counts)
        rest_each = np.where(background.targets == OF_NO_KIND, OF_NO_KIND_WEIGHT, 1.0)
        self.weight = np.concatenate([each, rest_each])
        self.folds = np.concatenate(
            [
                share_out(examples.labels, examples.recordings, FOLDS),
                np.arange(len(others)) % FOLDS,
            ]
        )

    def _scale_and_turn(self, features: NDArray[np.float64]) -> None:
        """Keep the directions in which scaled features differ most: a fit is faster by far."""
        self._centre = features.mean(axis=0)
        self._scale = np.maximum(features.std(axis=0), LEAST_SPREAD)
        scaled = (features - self._centre) / self._scale
        _, _, directions = np.linalg.svd(scaled, full_matrices=False)
        self._turn = directions[:DIRECTIONS].T  # (d, directions)
        self.rows = scaled @ self._turn

    @cached_property
    def balance(self) -> NDArray[np.float64]:
        """Weights with which examples count as much as the background."""
        own = len(self._examples)
        sums = self.weight[:own].sum(), self.weight[own:].sum()
        each: NDArray[np.float64] = np.repeat(sums, (own, len(self.weight) - own))
        return self.weight / each

    def best_penalty(self) -> tuple[float, NDArray[np.float64]]:
        """The penalty with the least loss on unheard rows, and its logits, (rows, columns)."""
        tried = []
        for penalty in PENALTIES:
            logits = np.zeros((len(self.targets), int(self.targets.max()) + 1))
            for fold in range(FOLDS):
                held = self.folds == fold
                if held.any():
                    weights, bias = self._fitted(penalty, fold)
                    logits[held] = self.rows[held] @ weights + bias
            tried.append((log_loss(logits, self.targets, self.balance), penalty, logits))
        _, penalty, logits = min(tried, key=lambda each: each[0])
        return penalty, logits

    def farthest(self) -> float:
        """The distance that most examples keep to their kind's mean over other recordings."""
        found = []
        for fold in range(FOLDS):
            head = self._bare(fold)
            held = np.flatnonzero(self.folds[: len(self._examples)] == fold)
            columns = self.targets[held] - 1
            held, columns = held[columns < len(self.kinds)], columns[columns < len(self.kinds)]
            distances = head.distances(self._examples.embedding[held])
            found += distances[np.arange(len(held)), columns].tolist()
        return float(np.percentile(found, OUTLIERS))

    def head(self, penalty: float, heat: float, farthest: float, fold: int | None) -> Head:
        """A head of all rows but those of `fold`."""
        weights, bias = self._fitted(penalty, fold)
        return replace(
            self._bare(fold),
            centre=self._centre.astype(np.float32),
            scale=self._scale.astype(np.float32),
            weights=(self._turn @ weights / heat).astype(np.float32),
            bias=(bias / heat).astype(np.float32),
            farthest=farthest,
        )

    def _bare(self, fold: int | None) -> Head:
        """A head that knows only where kinds lie."""
        heard = np.ones(len(self.targets), bool) if fold is None else self.folds != fold
        nothing = np.zeros(0, np.float32)
        embedding = np.concatenate([self._examples.embedding, self._known.background.embedding])
        means = np.zeros((len(self.kinds), embedding.shape[1]), np.float32)
        for number in range(len(self.kinds)):
            some = self.targets == 1 + number
            # A kind of one recording has none in the other folds.
            means[number] = embedding[some & heard if (some & heard).any() else some].mean(axis=0)
        unchosen = np.full(len(self.kinds), np.nan, np.float32)
        has_none = NONE in self._examples.labels
        within = self._known.background.within
        return Head(
            self.kinds, unchosen, self._only_mine, has_none,
            nothing, nothing, nothing, nothing, means, within, 0.0,
        )  # fmt: skip

    def _fitted(
        self, penalty: float, fold: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights and bias of all rows but those of `fold`."""
        heard = np.ones(len(self.targets), bool) if fold is None else self.folds != fold
        columns = int(self.targets.max()) + 1
        return fit(self.rows[heard], self.targets[heard], columns, self.weight[heard], penalty)
