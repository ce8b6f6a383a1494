"""What a judge says of clips: the daemon's own scores, for clips that its model has not seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tinyast import Classifier
from tinyast.audio.decoding import read_file
from tinyast.data.datasets import Dataset, read_dataset
from tinyast.data.splits import leave_out_classes
from tinyast.errors import DataError
from tinyast.evaluation.held_out import (
    Judge,
    in_the_models_order,
    judge_of_checkpoint,
    judge_of_run,
    logits_of,
    robustness,
)
from tinyast.inference.checkpoint import default_path
from tinyast.inference.engine import softmax


def follow(paths: Iterable[Path], what: str) -> Iterable[Path]:
    return paths


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier.load(default_path())


@pytest.fixture
def recordings(tmp_path: Path) -> Dataset:
    """Six recordings of noise, from 1 to 9 s and at several rates, in three folds."""
    random = np.random.default_rng(0)
    paths = []
    for number, (seconds, rate) in enumerate(
        [(5, 44_100), (1, 8_000), (9, 22_050), (5, 16_000), (5, 48_000), (4.99, 11_025)]
    ):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], random.normal(0, 0.1, int(seconds * rate)), rate)
    labels = ("a", "b", "c")
    return Dataset(tuple(paths), np.arange(6) % 3, np.array([1, 1, 2, 2, 3, 3]), labels)


def test_scores_are_those_of_the_classifier(shipped: Classifier, recordings: Dataset) -> None:
    judge = Judge("shipped", shipped, np.arange(6))
    scores = softmax(logits_of(judge, recordings, follow))
    for path, judged in zip(recordings.paths, scores, strict=True):
        np.testing.assert_array_equal(judged, shipped.predict(*read_file(path))[0].scores)


def test_unknown_are_other_kinds_from_the_same_folds(recordings: Dataset) -> None:
    class Knowing:
        labels = ("a", "c")

    judge = Judge("run", Knowing(), np.array([0, 2]))  # type: ignore[arg-type]
    # Of folds 1 and 2, which the judge was not trained on, clip 1 is a "b"; clip 4 is of fold 3.
    assert judge.unknown(recordings).tolist() == [1]


def test_classes_left_out_take_their_clips_along(recordings: Dataset) -> None:
    whole, numbers = leave_out_classes(recordings, 0, seed=5)
    assert whole.labels == recordings.labels
    assert numbers.tolist() == [0, 1, 2, 3, 4, 5]
    drawn = set()
    for seed in range(20):
        part, numbers = leave_out_classes(recordings, 1, seed)
        assert len(part.labels) == 2
        assert [part.labels[target] for target in part.targets] == [
            recordings.labels[recordings.targets[number]] for number in numbers
        ]
        assert part.paths == tuple(recordings.paths[number] for number in numbers)
        drawn.add(part.labels)
    assert len(drawn) == 3
    with pytest.raises(DataError, match="2 are too many to leave out"):
        leave_out_classes(recordings, 2, 0)


def test_a_fold_that_is_not_there_and_labels_of_other_data_are_errors(
    shipped: Classifier, recordings: Dataset
) -> None:
    with pytest.raises(DataError, match="no clip is in fold 9"):
        judge_of_checkpoint(recordings, None, 9)
    judge = judge_of_checkpoint(recordings, None, 2)
    assert judge.numbers.tolist() == [2, 3]
    with pytest.raises(DataError, match="knows other kinds"):
        in_the_models_order([judge], recordings)


def test_data_of_some_kinds_is_judged_by_the_models_numbers(
    shipped: Classifier, recordings: Dataset
) -> None:
    some = replace(recordings, labels=("wind", "cat", "dog"))
    judge = Judge("shipped", shipped, np.arange(6))
    found = in_the_models_order([judge], some)
    assert found.labels == shipped.labels
    named = [found.labels[target] for target in found.targets]
    assert named == ["wind", "cat", "dog"] * 2


def test_points_lost_are_of_all_judges_clips(shipped: Classifier, esc50: Path) -> None:
    """Twice as loud is the same picture: no point is lost, and no other way was compared."""
    dataset = read_dataset(esc50)
    judges = [Judge("one", shipped, np.arange(0, 32, 4)), Judge("two", shipped, np.arange(8))]
    logits = [logits_of(judge, dataset.subset(judge.numbers), follow) for judge in judges]
    right = [
        found.argmax(axis=1) == dataset.targets[judge.numbers]
        for found, judge in zip(logits, judges, strict=True)
    ]
    lost = robustness(judges, dataset, np.concatenate(right), follow)
    assert lost["level +12 dB"] == (0.0, 0.0)
    assert len(lost) == 17
    wrong = robustness(judges, dataset, ~np.concatenate(right), follow)
    assert wrong["level +12 dB"][0] == pytest.approx(100 * (1 - 2 * np.concatenate(right).mean()))


def test_a_run_on_other_data_says_which_clip_is_missing(
    recordings: Dataset, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(DataError, match="not a finished run: it has no predictions"):
        judge_of_run(recordings, run)
    (run / "predictions.csv").write_text("filename,label\n0.wav,a\nmine.wav,b\n")
    with pytest.raises(DataError, match=r"held out mine\.wav, .*with --data$"):
        judge_of_run(recordings, run)
    (run / "data.txt").write_text("my-sounds\n")
    with pytest.raises(DataError, match=r"trained on my-sounds, so add --data my-sounds$"):
        judge_of_run(recordings, run)
