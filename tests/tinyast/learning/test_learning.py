"""Heads on arrays, without sound: regression, thresholds, outputs of heads, lessons."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from tinyast.errors import CheckpointError
from tinyast.inference.engine import softmax
from tinyast.inference.head import Head, read_head
from tinyast.learning.background import Background, spread_within
from tinyast.learning.checkpoint import replacing
from tinyast.learning.clips import Clip
from tinyast.learning.examples import Examples, Known, share_out
from tinyast.learning.page import page, summary
from tinyast.learning.regression import fit, temperature
from tinyast.learning.results import results
from tinyast.learning.teaching import Lesson, teach
from tinyast.learning.thresholds import thresholds

SIZE, OLD = 8, ("a", "b", "c")
LIMIT = 4.0  # of familiarity


def blobs(
    centres: NDArray[np.float64], each: int, seed: int, spread: float = 0.4
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    targets = np.repeat(np.arange(len(centres)), each)
    points = centres[targets] + random.normal(0, spread, (len(targets), centres.shape[1]))
    return points.astype(np.float32), targets


CENTRES = np.random.default_rng(7).normal(
    0, 1.5, (7, SIZE)
)  # three known, three new, one of no kind
NEW = ("x", "y", "none")


def known() -> Known:
    embedding, targets = blobs(CENTRES[:3], 12, 1)
    return Known(
        OLD, LIMIT, Background(embedding, None, targets, spread_within(embedding, targets))
    )


def logits_of(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a graph that knows the first three kinds would give."""
    distance = ((embedding[:, None] - CENTRES[None, :3]) ** 2).sum(-1)
    made: NDArray[np.float32] = (8 - distance).astype(np.float32)
    return made


def examples(each: int, seed: int, labels: tuple[str, ...] = NEW) -> Examples:
    embedding, targets = blobs(CENTRES[3 : 3 + len(labels)], each, seed)
    clips = np.arange(len(targets))
    names = tuple(labels[at] for at in targets)
    return Examples(logits_of(embedding), embedding, None, names, clips, tuple(map(str, clips)))


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return teach(examples(8, 2), known())


def test_the_regression_is_scikit_learns() -> None:
    features, targets = blobs(CENTRES[:4], 15, 3, spread=1.5)
    weight = np.linspace(0.5, 1.5, len(targets))
    given = features.astype(np.float64)
    weights, bias = fit(given, targets, 4, weight, 0.05)
    theirs = LogisticRegression(C=1 / (0.05 * weight.sum()), tol=1e-8, max_iter=2000)
    theirs.fit(given, targets, sample_weight=weight)
    np.testing.assert_allclose(
        softmax((given @ weights + bias).astype(np.float32)), theirs.predict_proba(given), atol=5e-3
    )


def test_scores_that_are_too_sure_get_a_temperature_over_one() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(0, 2, (4000, 3))
    targets = np.array([random.choice(3, p=row) for row in softmax(truth.astype(np.float32))])
    one = np.ones(len(targets))
    assert temperature(truth * 2, targets, one) == pytest.approx(2, rel=0.1)
    assert temperature(truth / 2, targets, one) == pytest.approx(0.5, rel=0.1)


def test_recordings_are_never_shared_by_two_folds() -> None:
    labels = [label for label in "pq" for _ in range(20)]
    recordings = [f"{label}{number // 2}" for label in "pq" for number in range(20)]
    folds = share_out(labels, recordings, 5)
    for recording in set(recordings):
        assert len({f for f, r in zip(folds, recordings, strict=True) if r == recording}) == 1
    for fold in range(5):
        assert {labels[at] for at in np.flatnonzero(folds == fold)} == {"p", "q"}


def test_new_kinds_are_told_and_old_ones_stay(lesson: Lesson) -> None:
    assert lesson.labels == (*OLD, "x", "y")
    fresh = examples(20, 4, ("x", "y"))
    judged = known().judge(lesson.head, fresh)
    given = [lesson.labels[at] for at in judged.argmax(1)]
    assert np.mean([g == label for g, label in zip(given, fresh.labels, strict=True)]) > 0.95
    assert (judged.max(1) >= LIMIT).mean() > 0.9
    old, targets = blobs(CENTRES[:3], 20, 5)
    logits = logits_of(old)
    plain = Examples(logits, old, None, ("a",) * 60, np.arange(60), ("r",) * 60)
    after = known().judge(lesson.head, plain)
    assert (after.argmax(1) == targets).mean() >= (logits.argmax(1) == targets).mean() - 0.02
    # A sound known before stays as familiar as it was.
    same = after.argmax(1) == logits.argmax(1)
    np.testing.assert_allclose(after.max(1)[same], logits.max(1)[same], rtol=1e-5)


def test_sounds_of_no_kind_are_unknown(lesson: Lesson) -> None:
    none, _ = blobs(CENTRES[5:6], 30, 6)
    heard = Examples(logits_of(none), none, None, ("none",) * 30, np.arange(30), ("r",) * 30)
    assert (known().judge(lesson.head, heard).max(1) < LIMIT).mean() > 0.95


def test_only_mine_drops_the_old_kinds() -> None:
    lesson = teach(examples(8, 2), known(), only_mine=True)
    assert lesson.labels == ("x", "y")
    old, _ = blobs(CENTRES[:3], 20, 5)
    plain = Examples(logits_of(old), old, None, ("a",) * 60, np.arange(60), ("r",) * 60)
    judged = known().judge(lesson.head, plain)
    assert judged.shape == (60, 2)
    assert (judged.max(1) < LIMIT).mean() > 0.9


def test_more_clips_of_an_old_kind_are_no_new_kind() -> None:
    lesson = teach(examples(8, 2, ("b", "y")), known())
    assert lesson.labels == (*OLD, "y")
    judged = known().judge(lesson.head, examples(20, 8, ("b", "y")))
    assert [lesson.labels[at] for at in judged.argmax(1)].count("b") >= 19


def test_a_head_is_read_back(lesson: Lesson, tmp_path: Path) -> None:
    lesson.head.save(tmp_path / "head.npz")
    again = read_head(tmp_path / "head.npz")
    heard = examples(5, 9)
    np.testing.assert_array_equal(known().judge(again, heard), known().judge(lesson.head, heard))
    for damage in (b"", b"no zip", (tmp_path / "head.npz").read_bytes()[:400]):
        (tmp_path / "head.npz").write_bytes(damage)
        with pytest.raises(CheckpointError, match="tinyastd learn"):
            read_head(tmp_path / "head.npz")


def test_a_threshold_is_chosen_where_there_is_enough_to_choose_it_by() -> None:
    scores = np.linspace(0.51, 0.99, 40)
    logits = np.log(np.stack([scores, 1 - scores], 1)).astype(np.float32)
    actual = ["p" if score > 0.7 else "q" for score in scores]  # wrong below 0.7
    (chosen,) = thresholds(logits, ("p", "q"), actual, ("p",), 0.9)
    assert chosen == pytest.approx(0.7)
    assert np.isnan(thresholds(logits[:9], ("p", "q"), actual[:9], ("p",), 0.9)[0])


def test_the_page_names_what_is_wrong(lesson: Lesson) -> None:
    heard = examples(8, 2)
    wrong = list(heard.labels)
    wrong[0] = "y"  # in truth x
    mixed = Examples(
        heard.logits, heard.embedding, None, tuple(wrong), heard.clips, heard.recordings
    )
    clips = [Clip(Path(f"{n}.wav"), label, str(n)) for n, label in enumerate(wrong)]
    found = results(teach(mixed, known()), mixed, clips, known(), 0.75)
    assert [(doubt.name, doubt.given) for doubt in found.doubts] == [("0.wav", "x")]
    assert found.confusions[0] == ("y", "x", 1)
    assert {kind.label: kind.clips for kind in found.kinds} == {"x": 7, "y": 9}
    assert dict(found.need_more)["x"] == "7 clips are few"
    text = page("mine", "esc50 5", found, [("b|d.wav", "it is empty")], OLD)
    for words in ("0.wav", "b\\|d.wav", "may be mislabelled", "need more", "a, b, c"):
        assert words in text
    assert any("mislabelled? 0.wav" in line for line in summary(found))
    assert isinstance(lesson.head, Head)


MAKING = """
import sys
from pathlib import Path
from tinyast.learning.checkpoint import replacing
with replacing(Path(sys.argv[1])) as made:
    made.mkdir()
    (made / "model").write_text("half of it")
    print(flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_run_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    output, foreign = tmp_path / "mine", tmp_path / ".learn-mine-other"
    foreign.mkdir()
    command = [sys.executable, "-c", MAKING, str(output)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as killed, subprocess.Popen(command, **pipes) as alive:
        assert killed.stdout
        assert alive.stdout
        assert alive.stdin
        for each in (killed.stdout, alive.stdout):
            assert each.readline() == b"\n"
        places = {path for path in tmp_path.iterdir() if path != foreign}
        assert len(places) == 2
        killed.kill()
        killed.wait()
        with replacing(output) as made:
            made.mkdir()
            assert len(places & set(tmp_path.iterdir())) == 1
        alive.stdin.close()  # it goes on, and ends
        assert alive.wait() == 0
    assert set(tmp_path.iterdir()) == {foreign, output}
    assert (output / "model").read_text() == "half of it"
