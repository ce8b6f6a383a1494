"""Split clips into those to train on and those to test on."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tinyast.data.datasets import Dataset, Numbers
from tinyast.errors import DataError


def split_by_fold(dataset: Dataset, hold_out: int | None) -> tuple[Numbers, Numbers]:
    """Indices of training and test clips; no test clips if `hold_out` is None."""
    held = dataset.folds == hold_out if hold_out is not None else np.zeros(len(dataset), bool)
    if hold_out is not None and not held.any():
        there = ", ".join(str(fold) for fold in sorted(set(dataset.folds.tolist())))
        raise DataError(f"no clip is in fold {hold_out}; the folds are {there}")
    if held.all():
        raise DataError(f"every clip is in fold {hold_out}: no clip is left to train on")
    return np.flatnonzero(~held), np.flatnonzero(held)


def split_few(dataset: Dataset, train: int, test: int, seed: int) -> tuple[Numbers, Numbers]:
    """Numbers of a few clips to train on and to test on, for trying things out.

    Clips to test are drawn from the last fold and clips to train from the others, so that no
    recording is on both sides. Of one fold only, at most a quarter is kept for testing.
    """
    last = dataset.folds.max()
    apart = dataset.folds.min() != last
    order = np.random.default_rng(seed).permutation(len(dataset))
    most = min(test, len(dataset) // 4)
    testing = order[dataset.folds[order] == last][:test] if apart else order[:most]
    training = order[dataset.folds[order] != last] if apart else order[most:]
    if not len(testing):
        raise DataError(f"{len(dataset)} clips are too few to keep some for testing: add more")
    return few_of_each(dataset, training, train), testing


def few_of_each(dataset: Dataset, numbers: Numbers, limit: int) -> Numbers:
    """The first `limit` of the clips `numbers`, kinds in turn, so that a rare one is not left out.

    All of them if `limit` is 0.
    """
    if not 0 < limit < len(numbers):
        return numbers
    met: Counter[int] = Counter()
    turns = []
    for target in dataset.targets[numbers].tolist():
        turns.append(met[target])
        met[target] += 1
    return numbers[np.argsort(turns, kind="stable")][:limit]


def leave_out_classes(dataset: Dataset, count: int, seed: int) -> tuple[Dataset, Numbers]:
    """The data set without `count` classes drawn by `seed`, and which of its clips that leaves."""
    if count > len(dataset.labels) - 2:
        raise DataError(f"of {len(dataset.labels)} kinds, {count} are too many to leave out")
    drawn = np.random.default_rng(seed).permutation(len(dataset.labels))[count:]
    kept = np.sort(drawn)  # numbers of the classes that stay, in their old order
    numbers = np.flatnonzero(np.isin(dataset.targets, kept))
    part = dataset.subset(numbers)
    labels = tuple(dataset.labels[number] for number in kept)
    return Dataset(part.paths, np.searchsorted(kept, part.targets), part.folds, labels), numbers


def check_kinds(dataset: Dataset, training: Numbers) -> None:
    """Raise DataError if some kind of sound cannot be learnt from the clips `training`."""
    if len(dataset.labels) < 2:
        raise DataError(f"every clip is of the kind {dataset.labels[0]!r}: two are needed at least")
    clips = np.bincount(dataset.targets, minlength=len(dataset.labels))
    lone = [dataset.labels[kind] for kind in np.flatnonzero(clips == 1)]
    if lone:
        raise DataError(
            f"{some_of(lone)}: one clip only, and a kind needs two, one to learn from and one "
            "to be judged by. Add clips of it, or take it out of the CSV"
        )
    learnt = np.bincount(dataset.targets[training], minlength=len(dataset.labels))
    unheard = [dataset.labels[kind] for kind in np.flatnonzero(learnt == 0)]
    if unheard:
        raise DataError(
            f"{some_of(unheard)}: no clip among the {len(training)} to train on. Spread the clips "
            "of a kind over several folds, or raise --limit"
        )


def some_of(labels: list[str]) -> str:
    """The first three, and how many more there are."""
    more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
    return ", ".join(labels[:3]) + more
