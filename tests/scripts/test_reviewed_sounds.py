"""A person teaches the model: reviews in the browser, the export, and docs/own-sounds.md."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pages import CHROMIUM, PageProcess, review_all
from running import STRESS, Daemon, of_type, stress
from test_scripts import RECIPE as OWN
from test_scripts import Script
from test_scripts import graphs as graphs  # fixtures
from test_scripts import script as script

from tinyast import Classifier

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")

SOUNDS = stress(30, 8)
RECIPE = f"{OWN}num_hidden_layers = 1\n"
RATE = 22_050


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def page(place: Path) -> Iterator[PageProcess]:
    """A page that shows hisses, whistles, and two sounds of no interest."""
    listening = Daemon(place).start()
    random = np.random.default_rng(0)
    for number in range(SOUNDS + 2):
        hiss = random.standard_normal(5 * RATE)
        tone = np.sin(np.arange(5 * RATE) * random.uniform(0.3, 0.6)) + 0.01 * hiss
        kind = "odd" if number >= SOUNDS else "whistle" if number % 2 else "hiss"
        path = listening.folder / f"{number:02}-{kind}.wav"
        soundfile.write(path, 0.1 * (tone if kind == "whistle" else hiss), RATE)
    listening.ends(SOUNDS + 2)
    made = PageProcess(place, listening).start()
    made.predictions(SOUNDS + 2)
    yield made
    made.clean_up()
    listening.clean_up()


def kind_of(path: Path) -> str | None:
    kind = path.stem.partition("-")[2]
    return None if kind == "odd" else kind


@pytest.mark.timeout(900)
def test_reviewed_sounds_train_a_model(page: PageProcess, place: Path, script: Script) -> None:
    with zipfile.ZipFile(review_all(page, SOUNDS + 2, kind_of, place / "my-sounds.zip")) as archive:
        archive.extractall(place / "my-sounds")
    with (place / "my-sounds" / "metadata.csv").open(newline="") as handle:
        table = list(csv.DictReader(handle))
    assert sorted(row["label"] for row in table) == sorted(
        "whistle" if number % 2 else "hiss" for number in range(SOUNDS)
    )
    for row in table:
        frames = soundfile.info(place / "my-sounds" / row["filename"]).frames
        assert frames == pytest.approx(5 * RATE, abs=1)
    data = ("--data", "my-sounds")
    out = script("preprocess", *data, "--output", "pictures", "--workers", "1")
    assert f"{SOUNDS} pictures written" in out
    words = ("--recipe", "recipe.toml", *data, "--cache", "cache", "--threads", "1")
    if STRESS >= 1:  # with a fold held out, as the document does first
        held = sum(row["fold"] == "2" for row in table)
        out = script("train", *words, "--hold-out", "2", "--run", "mine-2")
        assert f"{SOUNDS - held} clips to train on, {held} held out, 2 kinds" in out
        assert f"of {held} clips right" in script("evaluate", *data, "--run", "mine-2")
    script("train", *words, "--run", "mine", "--epochs", "2")
    script("export", "--model", "mine/model", "--output", "checkpoint")
    assert Classifier.load(place / "checkpoint").labels == ("hiss", "whistle")
    (place / "heard").mkdir()
    taught = Daemon(place / "heard", "--checkpoint", str(place / "checkpoint")).start()
    try:
        tone = 0.1 * np.sin(np.arange(5 * RATE) * 0.45)
        soundfile.write(taught.folder / "new.wav", tone, RATE)
        (heard,) = of_type(taught.hear(lambda r: of_type(r, "prediction")), "prediction")
        assert {each["label"] for each in heard["top"]} == {"hiss", "whistle"}
    finally:
        taught.clean_up()
