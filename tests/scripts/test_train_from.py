"""`scripts.train --from`: a shipped model learns one's own sounds, and keeps its kinds."""

from __future__ import annotations

from pathlib import Path

from test_scripts import Script
from test_scripts import graphs as graphs  # fixtures
from test_scripts import place as place
from test_scripts import script as script

from tinyast import Classifier

SHORT = ("--epochs", "1", "--variants", "1", "--limit", "8", "--threads", "1", "--cache", "cache")


def test_a_shipped_model_goes_on_with_own_sounds(place: Path, script: Script) -> None:
    out = script("train", "--from", "esc50", "--data", "sounds", "--run", "went-on", *SHORT)
    assert "2 kinds. Run folder: went-on" in out
    out = script("export", "--model", "went-on/model", "--output", "went-on-made")
    assert "warning" not in out  # temperature and rule are those of the model that it went on from
    before, after = Classifier.load("esc50"), Classifier.load(place / "went-on-made")
    assert after.labels == (*before.labels, "hiss", "whistle")
    assert after.checkpoint.unknown_below == before.checkpoint.unknown_below


def test_what_does_not_go_together(script: Script) -> None:
    for words, says in (
        (("--only-mine",), "--only-mine goes with --from"),
        (("--from", "esc50", "--start", "x"), "leave out --start and --teacher"),
        (("--from", "esc5"), "one that ships: esc50 and esc50-fine"),
    ):
        assert says in script("train", "--data", "sounds", *words, code=2)
