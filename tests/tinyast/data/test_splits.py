"""Which clips are trained on: every kind among them, and no recording on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyast.data.datasets import Dataset, read_dataset
from tinyast.data.splits import check_kinds, few_of_each, split_by_fold, split_few
from tinyast.errors import DataError


def dataset(kinds: list[int], folds: list[int]) -> Dataset:
    """Clips of the kinds a, b, ... that are nowhere on disk: splitting does not read them."""
    paths = tuple(Path(f"{number}.wav") for number in range(len(kinds)))
    return Dataset(paths, np.array(kinds), np.array(folds), tuple("abcdefgh"[: max(kinds) + 1]))


def test_esc50_by_fold_and_by_a_few(esc50: Path) -> None:
    dataset = read_dataset(esc50)
    training, testing = split_by_fold(dataset, 4)
    assert (len(training), len(testing)) == (1200, 400)
    assert set(dataset.folds[testing]) == {4}
    few, held = split_few(dataset, 400, 10, seed=0)
    assert (len(few), len(held)) == (400, 10)
    assert not set(dataset.folds[few]) & set(dataset.folds[held])
    assert set(np.bincount(dataset.targets[few])) == {8}


def test_refuses_a_fold_that_is_not_there() -> None:
    with pytest.raises(DataError, match="the folds are 0, 1"):
        split_by_fold(dataset([0, 1, 0, 1], [0, 1, 0, 1]), 7)


def test_refuses_to_hold_out_everything() -> None:
    with pytest.raises(DataError, match="no clip is left to train on"):
        split_by_fold(dataset([0, 1], [0, 0]), 0)


def test_of_a_small_data_set_fewer_are_kept() -> None:
    few, held = split_few(dataset([0, 1, 0, 1, 0, 1], [0, 0, 0, 0, 1, 1]), 400, 10, seed=0)
    assert (sorted(few), sorted(held)) == ([0, 1, 2, 3], [4, 5])
    few, held = split_few(dataset([0, 1] * 4, [0] * 8), 400, 10, seed=0)
    assert (len(few), len(held)) == (6, 2)
    with pytest.raises(DataError, match="3 clips are too few"):
        split_few(dataset([0, 1, 0], [0, 0, 0]), 400, 10, seed=0)


def test_a_limit_leaves_no_kind_out() -> None:
    rare = dataset([0] * 98 + [1] * 2, [0] * 100)
    few = few_of_each(rare, np.arange(100), 10)
    assert np.bincount(rare.targets[few]).tolist() == [8, 2]
    assert len(few_of_each(rare, np.arange(100), 0)) == 100
    assert len(few_of_each(rare, np.arange(100), 200)) == 100


@pytest.mark.parametrize(
    ("kinds", "training", "says"),
    [
        ([0, 0, 1], [0, 1, 2], "b: one clip only"),
        ([0, 0, 1, 1, 2, 2], [0, 1, 4], "b: no clip among the 3 to train on"),
        ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [0], "b, c, d and 1 more: no clip"),
        ([0, 0], [0, 1], "every clip is of the kind 'a'"),
    ],
)
def test_a_kind_that_cannot_be_learnt_is_named(
    kinds: list[int], training: list[int], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        check_kinds(dataset(kinds, [0] * len(kinds)), np.array(training))


def test_kinds_that_can_be_learnt_pass() -> None:
    check_kinds(dataset([0, 0, 1, 1], [0, 1, 0, 1]), np.array([0, 2]))
