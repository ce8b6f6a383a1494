"""Figures over clips from elsewhere: what counts as right, accepted, confused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import write_wav

from tinyast import Classifier
from tinyast.errors import DataError
from tinyast.evaluation.wild import Answer, WildClip, hear_with, read_wild, wild_figures
from tinyast.evaluation.yamnet import CLASSES, yamnet

LABELS = ("cat", "dog", "rain", "wind")


def answer(label: str, score: float, second: str = "wind", unknown: bool = False) -> Answer:
    scores = dict.fromkeys(LABELS, 0.0) | {second: (1 - score) * 0.9, label: score}
    return Answer(np.array(list(scores.values()), dtype=np.float32), unknown)


def test_figures_count_what_they_say() -> None:
    heard = [
        ("cat", 0.4, answer("cat", 0.9)),
        ("dog", 1.0, answer("cat", 0.8, second="dog")),
        ("dog", 2.4, answer("cat", 0.6)),
        ("rain", 2.5, answer("rain", 0.7)),
        ("rain", 9.0, answer("rain", 0.99, unknown=True)),
        ("none", 1.0, answer("dog", 0.8)),
        ("none", 1.0, answer("dog", 0.95, unknown=True)),
        ("none", 1.0, answer("dog", 0.5)),
        ("none", 1.0, answer("dog", 0.5)),
    ]
    clips = [WildClip(Path(f"{at}.wav"), row[0], row[1]) for at, row in enumerate(heard)]
    figures = wild_figures(clips, [row[2] for row in heard], LABELS, threshold=0.75)
    assert (figures.clips, figures.none_clips) == (5, 4)
    assert figures.right == pytest.approx(3 / 5)
    assert figures.top3 == pytest.approx(1)  # each listing has three scores that are not the least
    assert figures.accepted == pytest.approx(2 / 5)
    assert figures.accepted_right == pytest.approx(1 / 2)
    assert figures.none_accepted == pytest.approx(1 / 4)
    assert [(row.clips, row.right) for row in figures.lengths] == [(1, 1), (2, 0), (1, 1), (1, 1)]
    assert figures.confusions == (("dog", "cat", 2),)
    assert [(*row[:2], round(row[2], 6)) for row in figures.mistaken] == [("5.wav", "dog", 0.8)]
    assert figures.mean_score == pytest.approx((0.9 + 0.8 + 0.6 + 0.7 + 0.99) / 5)


def test_a_long_file_is_heard_in_all_its_windows(tmp_path: Path) -> None:
    classifier = Classifier.load()
    path = write_wav(tmp_path / "long.wav", 12.0)
    windows = classifier.predict(*soundfile.read(path, dtype="float32"))
    assert len(windows) == 3
    scores = hear_with(classifier)(path).scores
    assert scores == pytest.approx(np.mean([window.scores for window in windows], axis=0))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "labels.csv is missing"),
        ("name,label\na.wav,cat\n", "no column 'file'"),
        ("file,label\n", "lists no clips"),
        ("file,label\na.wav,lion\n", "a.wav is labelled 'lion'"),
        ("file,label\nb.wav,cat\n", "lists b.wav, which is not in"),
        ("file,label\nbad.wav,cat\n", "bad.wav cannot be read"),
    ],
)
def test_a_bad_folder_gets_a_sentence(tmp_path: Path, table: str | None, said: str) -> None:
    write_wav(tmp_path / "a.wav", 0.1)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    if table is not None:
        (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=said):
        read_wild(tmp_path, LABELS)


def test_clips_may_lie_in_a_folder_clips(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_wav(tmp_path / "clips" / "a.wav", 0.25)
    (tmp_path / "labels.csv").write_text("file,label,more\na.wav,none,x\n")
    assert read_wild(tmp_path, LABELS) == [WildClip(tmp_path / "clips" / "a.wav", "none", 0.25)]


def test_yamnet_knows_the_kinds_of_the_shipped_model(tmp_path: Path) -> None:
    assert set(CLASSES) == set(Classifier.load().labels)
    numbers = [number for classes in CLASSES.values() for number in classes]
    assert len(numbers) == len(set(numbers))
    with pytest.raises(DataError, match="no such file for --yamnet"):
        yamnet(tmp_path / "absent.tflite", LABELS)
    with pytest.raises(DataError, match="no classes for lion"):
        yamnet(tmp_path / "absent.tflite", ("lion",))
