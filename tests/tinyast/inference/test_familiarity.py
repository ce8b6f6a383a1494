"""Measures of how familiar a sound is, and their use in a checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from daemon.pipeline.prediction import Rules, judge
from daemon.settings.schema import Decision
from tinyast import Classifier
from tinyast.errors import CheckpointError
from tinyast.evaluation.open_set import MEASURES, auroc
from tinyast.export.checkpoint import read_settings, write_sums
from tinyast.inference.checkpoint import default_path, read_checkpoint


def test_every_measure_finds_a_clear_answer_more_familiar_than_a_vague_one() -> None:
    clear, vague = [[9.0, 0.0, 0.0, 0.0]], [[1.0, 0.9, 0.8, 0.9]]
    for name, measure in MEASURES.items():
        assert measure(np.array(clear, np.float32)) > measure(np.array(vague, np.float32)), name


def test_measures_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25]], np.float32)) + 2
    assert MEASURES["best logit"](logits)[0] == pytest.approx(2 + np.log(0.5), abs=1e-6)
    assert MEASURES["energy"](logits)[0] == pytest.approx(2, abs=1e-6)
    assert MEASURES["best score"](logits)[0] == pytest.approx(0.5, abs=1e-6)
    assert MEASURES["certainty"](logits)[0] == pytest.approx(-1.5 * np.log(2), abs=1e-6)
    assert MEASURES["margin"](logits)[0] == pytest.approx(np.log(2), abs=1e-6)


def test_auroc_counts_pairs() -> None:
    known, unknown = np.array([3.0, 2.0, 2.0]), np.array([2.0, 1.0])
    # Of six pairs four are in order and two are ties.
    assert auroc(known, unknown) == pytest.approx((4 + 2 / 2) / 6)
    assert auroc(unknown, known) == pytest.approx(1 - (4 + 2 / 2) / 6)


def checkpoint(folder: Path, unknown_below: object) -> Path:
    """A copy of the shipped checkpoint with another limit."""
    shutil.copytree(default_path(), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"unknown_below": unknown_below}))
    write_sums(folder, read_settings(folder))
    return folder


@pytest.mark.parametrize(("limit", "unknown"), [(-1e9, False), (1e9, True), (None, False)])
def test_a_checkpoint_says_what_is_unknown(
    tmp_path: Path, limit: float | None, unknown: bool
) -> None:
    classifier = Classifier.load(checkpoint(tmp_path / "made", limit))
    noise = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
    assert classifier.predict(noise, 16_000)[0].unknown is unknown


def test_what_is_unknown_is_published_as_rejected(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
    rules = Rules(Decision(threshold=0.0), hop_s=5.0, max_duration_s=60.0, top=3)
    classifiers = [
        Classifier.load(checkpoint(tmp_path / str(limit), limit)) for limit in (1e9, -1e9)
    ]
    said = [judge(one, rules, *one.logits(noise, 16_000)) for one in classifiers]
    assert [(m.decision, m.reason) for m in said] == [
        ("rejected", "unknown"),
        ("accepted", None),
    ]
    assert said[0].top == said[1].top


def test_a_limit_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: `unknown_below` is 'low'"):
        read_checkpoint(checkpoint(tmp_path / "made", "low"))
