"""One's own sounds, from recordings to a model that classifies them, by the scripts alone."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT
from serving import serving
from transformers.utils import logging

from tinyast import CheckpointError, Classifier
from tinyast.export import checkpoint
from tinyast.export.onnx_graph import write_graph
from tinyast.inference.checkpoint import damaged_files
from tinyast.model.modeling import TinyASTForAudioClassification

RECIPE = "epochs = 6\nbatch_size = 4\nvariants = 2\nmix = 0.0\nema_decay = 0.5\nmasks = 0\n"
Script = Callable[..., str]
Trace = Callable[[TinyASTForAudioClassification, Path], None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of a whistle and of a hiss at 22.05 kHz in three folds, and a recipe."""
    place = tmp_path_factory.mktemp("own")
    (place / "sounds").mkdir()
    (place / "recipe.toml").write_text(RECIPE)
    random = np.random.default_rng(0)
    rows = ["filename,label,fold"]
    for number in range(24):
        label = "whistle" if number % 2 else "hiss"
        hiss = random.standard_normal(50_000)
        tone = np.sin(np.arange(50_000) * random.uniform(0.3, 0.6)) + 0.01 * hiss
        sound = tone if number % 2 else hiss
        soundfile.write(place / "sounds" / f"{number}.wav", 0.1 * sound, 22_050)
        rows.append(f"{number}.wav,{label},{number // 2 % 3}")
    (place / "sounds" / "metadata.csv").write_text("\n".join(rows) + "\n")
    return place


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """`write_graph` that traces a model once, which takes half a minute, and then copies."""
    kept = tmp_path_factory.mktemp("graphs")

    def written(model: TinyASTForAudioClassification, path: Path) -> None:
        config = model.config.to_dict() | {"name": "", "version": ""}  # which no graph has
        known = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
        for name, weights in model.state_dict().items():
            known.update(name.encode() + weights.numpy().tobytes())
        copy = kept / known.hexdigest()
        if not copy.exists():
            write_graph(model, copy)
        shutil.copy(copy, path)

    return written


@pytest.fixture
def script(
    place: Path, graphs: Trace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Script]:
    """Run a script as from a shell in `place`; returns its output, checks its exit code."""
    monkeypatch.syspath_prepend(ROOT)  # scripts are run from a checkout, and not installed
    monkeypatch.chdir(place)
    monkeypatch.setattr(checkpoint, "write_graph", graphs)
    threads = torch.get_num_threads()

    def run(name: str, *words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", [name, *words])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"scripts.{name}").main()
        captured = capsys.readouterr()
        assert (ended.value.code or 0) == code, captured.err
        return captured.out + captured.err

    yield run
    torch.set_num_threads(threads)
    logging.enable_progress_bar()


def next_words(out: str) -> list[str]:
    """The script to run next and its options, from the last line."""
    *command, script = shlex.split(out.splitlines()[-1])[:4]
    assert command == ["Next:", sys.orig_argv[0], "-m"]
    return [script.removeprefix("scripts."), *shlex.split(out.splitlines()[-1])[4:]]


def test_own_sounds_from_recordings_to_labels(place: Path, script: Script) -> None:
    out = script("preprocess", "--data", "sounds", "--output", "pictures", "--workers", "1")
    assert "24 pictures written" in out
    assert next_words(out) == ["train", "--recipe", "quick", "--data", "sounds"]
    assert "24 were there" in script(
        "preprocess", "--data", "sounds", "--output", "pictures", "--workers", "1"
    )
    words = ["--recipe", "recipe.toml", "--data", "sounds", "--hold-out", "2", "--run", "run"]
    out = script("train", *words, "--cache", "cache", "--threads", "1", "--learning-rate", "1e-3")
    assert "16 clips to train on, 8 held out, 2 kinds" in out
    assert "epoch 6/6" in out
    assert "8 held-out clips right" in out
    assert next_words(out) == ["evaluate", "--data", "sounds", "--run", "run"]
    assert json.loads((place / "run/run.json").read_text())["recipe"]["learning_rate"] == 1e-3
    with (place / "run/metrics.csv").open(newline="") as handle:
        assert [row["epoch"] for row in csv.DictReader(handle)] == list("123456")

    pupil = [*words[:-1], "pupil", "--teacher", "run", "--cache", "cache", "--epochs", "1"]
    assert "epoch 1/1" in script("train", *pupil)
    assert json.loads((place / "pupil/run.json").read_text())["teachers"]
    assert "nobody holds no model" in script(
        "train", *words[:-1], "x", "--teacher", "nobody", code=2
    )

    out = script("export", "--model", "run/model", "--output", "raw")
    assert "its scores are not calibrated and it takes no sound for `unknown`" in out
    assert "run scripts.evaluate --run run (" in out
    out = script("evaluate", "--data", "sounds", "--run", "run", "--output", "figures")
    assert "of 8 clips right" in out
    assert "8 clips are too few to calibrate scores or to choose a threshold: hold out at" in out
    assert "of those right" not in out
    assert next_words(out) == ["export", "--model", "run/model", "--output", "checkpoints/run"]
    made = {path.name for path in (place / "figures").iterdir()}
    assert made == {
        "figures.json",
        "predictions.csv",
        "confusion.png",
        "reliability.png",
        "run-curves.png",
    }
    fitted = json.loads((place / "run/fitted.json").read_text())
    assert (fitted["clips"], fitted["runs"]) == (8, ["run"])
    figures = json.loads((place / "figures/figures.json").read_text())
    assert np.sum(figures["confusion"]) == 8

    # A model of all clips has no clip left to judge it: it takes the values fitted in that run.
    words = ["--recipe", "recipe.toml", "--data", "sounds", "--run", "all", "--cache", "cache"]
    script("train", *words, "--threads", "1", "--learning-rate", "1e-3")
    out = script("export", "--model", "all/model", "--output", "mine")
    assert "2 labels" in out
    assert "fitted to 8 clips that run held out" in out
    assert "`unknown` below" in out
    assert "warning: 20 clips at least" in out
    classifier = Classifier.load(place / "mine")
    assert classifier.checkpoint.unknown_below == pytest.approx(fitted["unknown_below"])
    assert classifier.labels == ("hiss", "whistle")
    samples, rate = soundfile.read(place / "sounds/1.wav", dtype="float32")
    scores = classifier.predict(samples, rate)[0].scores
    assert scores.sum() == pytest.approx(1, abs=1e-5)

    # A checkpoint of a release that built feature graphs at every start holds no such graph.
    for graph in (place / "mine").glob("features-*.onnx"):
        graph.unlink()
    with pytest.raises(CheckpointError, match=r"scripts\.export --features"):
        Classifier.load(place / "mine")
    assert "feature graphs written" in script("export", "--features", "mine")
    assert damaged_files(place / "mine") == []
    found = Classifier.load(place / "mine").predict(samples, rate)[0].scores
    np.testing.assert_array_equal(found, scores)


def test_kinds_left_out_of_training_are_judged_as_unknown(place: Path, script: Script) -> None:
    """Of three kinds one is not learnt; then the same run, its graph in int8, by its own kinds."""
    (place / "three").mkdir()
    kinds = {"hiss": 1.0, "hum": 0.02, "whistle": 0.4}
    rows = []
    for number, (label, step) in enumerate(list(kinds.items()) * 4):
        sound = 0.1 * np.sin(np.arange(40_000) * step * (1 + number / 50))
        soundfile.write(place / "three" / f"{number}.wav", sound, 16_000)
        rows.append(f"{number}.wav,{label},{number // 3 % 2}")
    table = ["filename,label,fold", *rows]
    (place / "three/metadata.csv").write_text("\n".join(table) + "\n")
    words = ["--recipe", "recipe.toml", "--data", "three", "--hold-out", "1", "--run", "partly"]
    out = script("train", *words, "--cache", "cache", "--threads", "1", "--leave-out", "1")
    assert "4 clips to train on, 4 held out, 2 kinds" in out

    out = script("evaluate", "--data", "three", "--run", "partly", "--unknown", "--output", "u")
    assert "4 clips of 2 known kinds" in out
    assert "2 of unknown ones" in out
    areas = json.loads((place / "u/figures.json").read_text())["auroc"]
    assert {name: len(values) for name, values in areas.items()} == dict.fromkeys(areas, 1)
    assert f"AUROC by best logit {areas['best logit'][0]:.3f}" in out
    assert "knows other kinds" in script("evaluate", "--data", "three", "--run", "partly", code=2)
    assert "knows every kind" in script(
        "evaluate", "--data", "sounds", "--run", "run", "--unknown", code=2
    )
    assert "--unknown needs --run" in script("evaluate", "--data", "three", "--unknown", code=2)

    words = ["--data", "sounds", "--run", "run", "--engine", "int8", "--output", "small"]
    out = script("evaluate", *words)
    assert "of 8 clips right" in out
    lost = json.loads((place / "small/figures.json").read_text())["int8_points_lost"]
    assert f"int8 loses {lost:.2f} points against float32" in out
    assert next_words(out)[-4:] == ["--int8", "sounds", "--int8-loss", f"{lost:.2f}"]
    assert (place / "run/checkpoint/model.int8.onnx").exists()
    assert "no engine is called 'abacus'" in script("evaluate", "--engine", "abacus", code=2)


def test_mistakes_are_told_plainly(place: Path, script: Script) -> None:
    words = ["--data", "sounds", "--recipe", "recipe.toml", "--run", "other", "--cache", "cache"]
    assert "is this the data set's folder" in script("train", "--data", ".", code=2)
    assert "no recipe key is called 'epoch'" in script("train", *words, "--epoch", "3", code=2)
    assert "epochs must be int" in script("train", *words, "--epochs", "few", code=2)
    assert "the folds are 0, 1, 2" in script("train", *words, "--hold-out", "9", code=2)
    assert "full, mine, quick" in script("train", "--recipe", "best", code=2)
    assert "cannot read the recipe" in script("train", "--recipe", "best.toml", code=2)
    assert "--batch-size" in script("train", *words, "--batch-size", "0", code=2)
    assert "not nan" in script("train", *words, "--learning-rate", "nan", code=2)
    assert not (place / "other").exists()
    (place / "file").write_bytes(b"")
    assert "file: File exists" in script("train", *words[:-1], "file", code=2)
    few = place / "few"
    shutil.copytree(place / "sounds", few)
    (few / "metadata.csv").write_text("filename,label,fold\n0.wav,a,1\n2.wav,a,2\n1.wav,b,1\n")
    words[1] = "few"
    assert "b: one clip only" in script("train", *words, "--hold-out", "2", code=2)
    assert not (place / "other").exists()
    words = ["--model", "nowhere", "--output", "mine"]
    assert "no trained model" in script("export", *words, code=2)
    assert "--output" in script("export", "--model", "nowhere", code=2)
    assert "--features" in script("export", *words, "--features", "mine", code=2)
    assert "nowhere is neither a checkpoint folder" in script(
        "export", "--features", "nowhere", code=2
    )
    assert "not a finished run" in script(
        "evaluate", "--data", "sounds", "--run", "nowhere", code=2
    )


def test_each_script_tells_what_to_run_next_with_the_paths_that_were_used(
    esc50: Path, tmp_path: Path, script: Script
) -> None:
    command = [sys.executable, str(esc50 / "make_archive.py"), str(tmp_path / "a.zip")]
    subprocess.run([*command, "--per-class", "1"], check=True, capture_output=True)
    data = tmp_path / "my data"
    with serving() as server:
        server.content = (tmp_path / "a.zip").read_bytes()
        url = f"http://127.0.0.1:{server.server_port}/a.zip"
        out = script("download", "--url", url, "--output", str(data))
        first, requests = next_words(out), server.requests
        again = script("download", "--url", url, "--output", str(data))
        assert "is there already, with 200 clips" in again
        assert (next_words(again), server.requests) == (first, requests)
    assert [path.name for path in data.iterdir()] == ["ESC-50-master"]
    assert first == ["preprocess", "--data", str(data / "ESC-50-master")]
    out = script(*first, "--limit", "4", "--workers", "1", "--output", str(tmp_path / "p"))
    assert next_words(out) == ["train", "--recipe", "quick", "--data", str(data / "ESC-50-master")]
    clip = min((data / "ESC-50-master" / "audio").iterdir())
    clip.unlink()
    assert f"1 rows have no clip: {clip.stem}" in script("download", "--output", str(data), code=2)


def test_a_zip_that_is_at_fault_is_not_kept_for_the_next_run(
    tmp_path: Path, script: Script
) -> None:
    with serving() as server:
        server.content = b"<html>log in first</html>"
        url = f"http://127.0.0.1:{server.server_port}/a.zip"
        words = ["download", "--url", url, "--output", str(tmp_path)]
        assert "not a whole zip" in script(*words, code=2)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "ESC-50-master.zip").write_bytes(server.content)  # one's own is left alone
        assert "delete" in script(*words, code=2)
        assert "SHA-256" in script(*words, "--sha256", "0" * 64, code=2)
        assert [path.name for path in tmp_path.iterdir()] == ["ESC-50-master.zip"]
