"""Figures worked out by hand, and the temperature that a known one left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyast.evaluation.calibration import (
    accepted,
    calibration_error,
    fit_temperature,
    reliability,
    temperatures_from_others,
)
from tinyast.evaluation.metrics import evaluate, wilson
from tinyast.evaluation.plots import confusion_matrix, reliability_diagram, training_curves

SCORES = np.array(
    [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.7, 0.1], [0.5, 0.1, 0.4]], dtype=np.float32
)
TARGETS = np.array([0, 1, 1, 2])
LABELS = ("a", "b", "c")


def test_figures() -> None:
    result = evaluate(SCORES, TARGETS, LABELS)
    assert (result.clips, result.accuracy, result.top3) == (4, 0.5, 1.0)
    assert [(row.precision, row.recall) for row in result.classes] == [
        (pytest.approx(1 / 3), 1.0),
        (1.0, 0.5),
        (None, 0.0),
    ]
    assert result.most_confused() == [("b", "a", 1), ("c", "a", 1)]
    assert result.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]


def test_calibration_error() -> None:
    # Each clip is alone in its bin: right at 0.9 and 0.7, wrong at 0.6 and 0.5.
    assert calibration_error(SCORES, TARGETS) == pytest.approx((0.1 + 0.6 + 0.3 + 0.5) / 4)
    assert sum(count for _, _, count in reliability(SCORES, TARGETS)) == 4


def test_wilson_interval_ends_where_the_share_is_1_96_deviations_off() -> None:
    for end in wilson(72, 100):
        assert abs(0.72 - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / 100))


def test_temperature_is_found_again() -> None:
    random = np.random.default_rng(0)
    honest = random.normal(0, 2, (20_000, 5))
    scores = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    targets = (scores.cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)
    assert fit_temperature((honest * 3).astype(np.float32), targets) == pytest.approx(3, rel=0.05)


def test_a_clip_has_no_say_in_its_own_temperature() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (600, 5)).astype(np.float32)
    targets = logits.argmax(axis=1)
    targets[::3] = random.integers(0, 5, 200)
    judges = np.repeat([0, 1, 2], 200)
    before = temperatures_from_others(logits, targets, judges)
    assert before[0] == pytest.approx(fit_temperature(logits[200:], targets[200:]))
    targets[:200] = 0
    after = temperatures_from_others(logits, targets, judges)
    assert after[0] == before[0]
    assert after[200] != before[200]
    with pytest.raises(ValueError, match="two judges"):
        temperatures_from_others(logits, targets, np.zeros(600, int))


def test_what_a_threshold_lets_through() -> None:
    passed = accepted(SCORES, TARGETS, 0.6)
    assert passed.share == 0.75
    assert passed.right == pytest.approx(2 / 3)
    assert accepted(SCORES, TARGETS, 0.95).right is None


def test_pictures_are_written(tmp_path: Path) -> None:
    confusion_matrix(evaluate(SCORES, TARGETS, LABELS), tmp_path / "confusion.png")
    reliability_diagram(SCORES, TARGETS, tmp_path / "reliability.png")
    metrics = tmp_path / "metrics.csv"
    metrics.write_text(
        "epoch,learning_rate,loss,train_accuracy,test_accuracy\n1,0.1,3.9,0.02,\n2,0.1,3.5,0.1,0.2\n"
    )
    training_curves(metrics, tmp_path / "curves.png")
    for name in ("confusion.png", "reliability.png", "curves.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
