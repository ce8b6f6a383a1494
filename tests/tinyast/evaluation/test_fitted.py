"""What an evaluation fits, and how an export finds it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tinyast.evaluation.fitted import (
    LEAST_CLIPS,
    Fitted,
    find_fitted,
    fit,
    not_evaluated,
    write_fitted,
)


def run(folder: Path, held_out: bool, **changes: object) -> Path:
    """A run folder as a training leaves it."""
    folder.mkdir()
    values = {"recipe": {"epochs": 3, "seed": 0}, "features": {"n_mels": 64}, "labels": ["a", "b"]}
    (folder / "run.json").write_text(json.dumps({**values, "clips": folder.name, **changes}))
    if held_out:
        (folder / "predictions.csv").write_text("filename,actual,predicted\n")
    return folder


def fitted(clips: int) -> Fitted:
    return Fitted(temperature=0.8, unknown_below=3.0, clips=clips, runs=(str(clips),))


def test_a_run_of_all_clips_takes_what_was_fitted_to_the_most_clips_beside_it(
    tmp_path: Path,
) -> None:
    everything = run(tmp_path / "mine", held_out=False)
    assert (find_fitted(everything), not_evaluated(everything)) == (None, [])
    one = run(tmp_path / "mine-1", held_out=True, recipe={"epochs": 3, "seed": 7})
    two = run(tmp_path / "mine-2", held_out=True)
    others: list[dict[str, object]] = [{"labels": ["a", "c"]}, {"recipe": {"epochs": 4, "seed": 0}}]
    for number, other in enumerate(others):
        write_fitted(run(tmp_path / f"other-{number}", held_out=True, **other), fitted(99))
    assert not_evaluated(everything) == [one, two]
    assert find_fitted(everything) is None
    write_fitted(one, fitted(30))
    write_fitted(two, fitted(40))
    assert not_evaluated(everything) == []
    assert find_fitted(everything) == fitted(40)
    assert find_fitted(one) == fitted(30)  # its own


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    folder = run(tmp_path / "mine", held_out=True)
    (folder / "fitted.json").write_text("{")
    assert find_fitted(folder) is None


def test_the_rule_unknown_rejects_few_of_the_clips_that_are_right() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 4, 400)
    logits = random.normal(0, 1, (400, 4)).astype(np.float32)
    logits[np.arange(400), targets] += 4
    found = fit(logits, targets, ("x",))
    assert found.unknown_below is not None
    right = logits.argmax(axis=1) == targets
    rejected = logits[right].max(axis=1) / found.temperature < found.unknown_below
    assert rejected.mean() == pytest.approx(0.05, abs=0.01)
    few = fit(logits[: LEAST_CLIPS - 1], targets[: LEAST_CLIPS - 1], ("x",))
    assert few.temperature == 1.0
    assert few.unknown_below is not None
    assert fit(-logits[:1], logits[:1].argmax(axis=1), ("x",)).unknown_below is None
