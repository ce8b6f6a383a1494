"""`scripts.evaluate --wild` on a small folder of clips."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from sounds import write_wav


def evaluate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0
) -> str:
    """What `scripts.evaluate` prints, run as from a checkout."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("scripts.evaluate").main()
    captured = capsys.readouterr()
    assert (ended.value.code or 0) == code, captured.err
    return captured.out + captured.err


def test_figures_of_a_folder_are_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, seconds in enumerate((0.5, 2.0, 4.0, 6.0)):
        write_wav(tmp_path / f"{number}.wav", seconds, seed=number)
    (tmp_path / "labels.csv").write_text(
        "file,label\n0.wav,rain\n1.wav,rain\n2.wav,wind\n3.wav,none\n"
    )
    words = ("--wild", str(tmp_path), "--output", str(tmp_path / "out"), "--threshold", "0")
    out = evaluate(monkeypatch, capsys, *words)
    figures = json.loads((tmp_path / "out" / "wild.json").read_text())["esc50"]
    assert (figures["clips"], figures["none_clips"]) == (3, 1)
    assert [row["clips"] for row in figures["lengths"]] == [1, 1, 1, 0]
    assert f"{figures['right']:.1%} of 3 clips right" in out
    assert f"{figures['none_accepted']:.1%} of 1 clips of no kind accepted" in out
    assert sum(row[2] for row in figures["confusions"]) == round(3 * (1 - figures["right"]))


def test_a_run_or_a_folder_without_labels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--wild", str(tmp_path), "--output", str(tmp_path / "out"))
    assert "labels.csv is missing" in evaluate(monkeypatch, capsys, *words, code=2)
    assert "export the run first" in evaluate(
        monkeypatch, capsys, *words, "--run", "runs/a", code=2
    )
