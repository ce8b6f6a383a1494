"""The tables of `scripts.evaluate` show no figure that the clips are too few for."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest
from conftest import ROOT

from tinyast.evaluation.calibration import accepted
from tinyast.evaluation.fitted import LEAST_CLIPS, THRESHOLDS, fit
from tinyast.evaluation.metrics import Evaluation, evaluate

LABELS = tuple(f"kind{number}" for number in range(50))


def said(clips: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed of `clips` clips of four of fifty kinds."""
    monkeypatch.syspath_prepend(ROOT)
    judged = importlib.import_module("scripts.judged")
    random = np.random.default_rng(1)
    targets = np.arange(clips) % 4
    logits = random.normal(0, 0.5, (clips, 50)).astype(np.float32)
    # Sure of every tenth clip, less of the others.
    logits[np.arange(clips), targets] += np.where(np.arange(clips) % 10, 4.5, 9)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    result: Evaluation = evaluate(scores, targets, LABELS)
    judged.print_kinds(result)
    passed = [accepted(scores, targets, threshold) for threshold in THRESHOLDS]
    judged.print_calibration(result, 0.1, fit(logits, targets, ("run",)), passed)
    return capsys.readouterr().out


def test_ten_clips_get_no_table_of_thresholds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(10, monkeypatch, capsys)
    assert "10 clips are too few to calibrate scores or to choose a threshold" in out
    assert f"hold out at least {LEAST_CLIPS}" in out
    assert "accepted" not in out


def test_a_share_is_printed_only_where_enough_clips_are_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(100, monkeypatch, capsys)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line[:1] == " "}
    assert rows["0.30"][1] != "-"
    assert rows["0.90"][1] == "-"  # 10 of 100 clips are accepted there
    assert rows["0.90"][0] == "10.0%"
    assert f"fewer than {LEAST_CLIPS} clips are accepted" in out


def test_kinds_without_a_clip_are_counted_not_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(100, monkeypatch, capsys)
    listed = {line.split()[0] for line in out.splitlines() if re.match(r"kind\d.*%", line)}
    assert {"kind0", "kind1", "kind2", "kind3"} <= listed
    assert f"{50 - len(listed)} more kinds have no clips here" in out
    assert len(listed) < 10
