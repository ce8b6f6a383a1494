"""`tinyastd learn`: five kinds made here, from clips to a daemon that knows them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, SHARED
from pages import CHROMIUM, PageProcess, review_all
from running import STRESS, Daemon, of_type, tinyastd
from teaching import KINDS, write_clips

from tinyast.classifier import Classifier
from tinyast.data.datasets import read_dataset
from tinyast.errors import CheckpointError
from tinyast.evaluation.wild import NONE, hear_with, read_wild
from tinyast.inference.checkpoint import GRAPH, REFERENCE, damaged_files, sha256, shipped
from tinyast.inference.choice import objection
from tinyast.inference.engine import load_engine, softmax
from tinyast.learning.background import read_background

FULL = STRESS >= 1
LEARNT, JUDGED = 10, 20 if FULL else 6  # clips of each kind
# What only training needs is not there, and a minute of one core is all that there is.
BARE = """
import resource
import sys
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for name in ("torch", "transformers", "sklearn", "scipy", "pandas", "onnx", "librosa"):
    sys.modules[name] = None
from daemon.cli.app import main
main()
"""


def learn(*options: object) -> subprocess.CompletedProcess[str]:
    """Learn as the base install does, in less than a minute of a core."""
    command = [sys.executable, "-c", BARE, "learn", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def tune(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon", "learn", "--fine-tune", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`learn/KIND/…` and `judge/KIND/…`."""
    for program in ("espeak-ng", "fluidsynth"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("kinds")
    write_clips(folder / "learn", LEARNT)
    write_clips(folder / "judge", JUDGED, skip=LEARNT)
    return folder


@pytest.fixture(scope="module")
def mine(clips: Path) -> Path:
    """The checkpoint that `tinyastd learn` makes of the clips."""
    folder = clips / "mine"
    done = learn(clips / "learn", "--output", folder)
    assert done.returncode == 0, done.stderr
    assert "of 50 clips right" in done.stdout
    assert f"tinyastd run --checkpoint {folder}" in done.stdout
    return folder


@pytest.fixture(scope="module")
def taught(mine: Path) -> Classifier:
    return Classifier.load(mine)


def test_nine_of_ten_clips_of_new_kinds_are_right(taught: Classifier, clips: Path) -> None:
    right = [
        taught.predict_file(path)[0].label == path.parent.name
        for path in (clips / "judge").rglob("*.*")
    ]
    assert len(right) == JUDGED * len(KINDS)
    assert np.mean(right) >= 0.9


def test_the_kinds_known_before_keep_their_place(taught: Classifier, esc50: Path) -> None:
    before = Classifier.load()
    assert taught.labels == (*before.labels, *sorted(KINDS))
    data = read_dataset(esc50)
    every = 1 if FULL else 40
    same, changed = 0, 0
    for path, target in zip(data.paths[::every], data.targets[::every], strict=True):
        was, now = (each.predict_file(path)[0] for each in (before, taught))
        same += was.label == data.labels[target]
        changed += was.label == data.labels[target] != now.label
    assert changed <= 0.01 * same + 1


def test_sounds_of_no_kind_are_not_taken_for_new_ones(taught: Classifier) -> None:
    wild = SHARED / "wild"
    if not wild.is_dir():
        pytest.skip(f"no sounds from elsewhere at {wild}")
    hear = hear_with(taught)
    none = [clip for clip in read_wild(wild, taught.labels) if clip.label == NONE]
    # Two of them are spoken words.
    answers = [hear(clip.path) for clip in none if "human-vocal" not in clip.path.name]
    given = [taught.labels[int(answer.scores.argmax())] for answer in answers if not answer.unknown]
    assert len([label for label in given if label in KINDS]) <= 1


def test_it_is_a_checkpoint_like_any_other(mine: Path, taught: Classifier, clips: Path) -> None:
    assert damaged_files(mine) == []
    assert "fitted to float32" in (objection(taught.checkpoint) or "")
    path = next((clips / "judge" / "flute").iterdir())
    (window,) = taught.predict_file(path)
    samples, rate = soundfile.read(path, dtype="float32")
    picture, _ = taught.hear(samples, rate)
    for engine in ("torch", "int8"):
        scores = softmax(load_engine(taught.checkpoint, engine).logits(picture[None])[0])
        assert scores == pytest.approx(window.scores, abs=1e-4 if engine == "torch" else 0.3)
    done = tinyastd("labels", "--checkpoint", mine)
    assert done.stdout.split() == list(taught.labels)
    done = tinyastd(
        *("classify", "--checkpoint", mine, "--formats", "wav,flac,ogg,mp3", "--format", "csv"),
        path,
    )
    assert f",{window.label}," in done.stdout
    assert "| flute | 10 |" in (mine / "README.md").read_text()


def test_what_cannot_be_learnt(mine: Path, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    one = tmp_path / "one"
    shutil.copytree(clips / "learn" / "flute", one / "flute")
    broken = tmp_path / "broken"
    (broken / "kettle").mkdir(parents=True)
    for number in range(3):
        (broken / "kettle" / f"{number}.wav").write_text("no sound")
    half = tmp_path / "half"
    shutil.copytree(one, half)
    shutil.copytree(broken, half, dirs_exist_ok=True)
    for options, words in (
        ((half, "--output", tmp_path / "o"), "0 of 3 clips of 'kettle' can be read"),
        ((clips / "learn", "--output", tmp_path / "taken"), "something else than a result"),
        ((one, "--output", tmp_path / "o", "--only-mine"), "with --only-mine add another"),
        ((one, "--output", tmp_path / "o", "--checkpoint", mine), "itself made by"),
        ((one, "--output", tmp_path / "o", "--precision", "7"), "share from 0.5 to 1"),
        ((broken, "--output", tmp_path / "o"), "no clip can be read; the first"),
        ((tmp_path / "gone", "--output", tmp_path / "o"), "there is no folder"),
    ):
        done = learn(*options)
        assert done.returncode in (1, 2), options
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_checkpoint_remembers_its_kinds(name: str) -> None:
    folder = shipped()[name]
    with np.load(folder / REFERENCE) as file:
        assert str(file["graph"]) == sha256(folder / GRAPH), (
            f"run `python -m scripts.reference --checkpoint {folder}`"
        )


def test_without_that_memory_the_statistics_of_its_kinds_serve(tmp_path: Path) -> None:
    folder = tmp_path / "esc50"
    shutil.copytree(shipped()["esc50"], folder, ignore=lambda *_: [REFERENCE])
    checkpoint = Classifier.load(folder).checkpoint
    drawn = read_background(checkpoint)
    assert drawn.audioset is None
    assert len(np.unique(drawn.targets)) == 50
    (folder / "model.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="version 5 or newer"):
        read_background(checkpoint)


# -- all of it -----------------------------------------------------------------------------------


@pytest.mark.timeout(900)
def test_all_of_the_model_learns_and_keeps_what_it_knows(
    clips: Path, esc50: Path, tmp_path: Path
) -> None:
    for kind in ("flute", "alarm_tone"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        for path in sorted((clips / "learn" / kind).iterdir())[:5]:
            shutil.copy(path, tmp_path / "mine" / kind)
    output = tmp_path / "tuned"
    done = tune(tmp_path / "mine", "--output", output)
    assert done.returncode == 0, done.stderr
    assert "clips right, judged by a model that had not heard their recordings" in done.stdout
    before, after = Classifier.load(), Classifier.load(output)
    assert after.labels == (*before.labels, "alarm_tone", "flute")
    assert damaged_files(output) == []
    judged = [
        path for kind in ("flute", "alarm_tone") for path in (clips / "judge" / kind).iterdir()
    ]
    right = [after.predict_file(path)[0].label == path.parent.name for path in judged]
    assert np.mean(right) >= 0.6
    data = read_dataset(esc50)
    known = [
        (each.predict_file(path)[0].label for each in (before, after)) for path in data.paths[::80]
    ]
    assert sum(was == now for was, now in known) >= 0.9 * len(known)


def test_without_torch_it_says_what_is_missing(clips: Path, tmp_path: Path) -> None:
    done = learn(clips / "learn", "--fine-tune", "--output", tmp_path / "tuned")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "torch is not installed; --fine-tune needs the extra `train`: pip install" in line


# -- through the page ----------------------------------------------------------------------------


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Daemon]:
    base = tmp_path / "daemon"
    base.mkdir()
    (base / "settings.toml").write_text(
        f'checkpoint = "esc50"\n[[folder]]\npath = "{base}/in"\nname = "in"\n'
        'formats = ["wav", "flac", "ogg", "mp3"]\n'
    )
    made = Daemon(base, "--config", str(base / "settings.toml"), "--reload-on-hup").start()
    yield made
    made.clean_up()


def kind_of(path: Path) -> str:
    return path.name.split("-")[0]


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
def test_reviews_teach_the_running_daemon(listening: Daemon, clips: Path, tmp_path: Path) -> None:
    """Reviews in a browser, export, `learn`, SIGHUP: the next file gets the new label."""
    kinds = ("flute", "alarm_tone", "spoken_word")
    files = [path for kind in kinds for path in sorted((clips / "learn" / kind).iterdir())]
    assert len(files) == 30
    for path in files:
        shutil.copy(path, listening.folder / f"{path.parent.name}-{path.name}")
    listening.ends(len(files))
    page = PageProcess(listening.base, listening).start()
    try:
        page.predictions(len(files))
        reviews = review_all(page, len(files), kind_of, tmp_path / "reviews.zip")
    finally:
        page.clean_up()
    zipfile.ZipFile(reviews).extractall(tmp_path / "reviewed")
    done = learn(tmp_path / "reviewed", "--output", tmp_path / "reviewed-model")
    assert done.returncode == 0, done.stderr

    settings = listening.base / "settings.toml"
    text = settings.read_text()
    settings.write_text(text.replace('"esc50"', f'"{tmp_path}/reviewed-model"', 1))
    before = listening.status()["model"]
    listening.send(signal.SIGHUP)
    listening.wait_for(lambda: listening.status()["model"] != before, "another model")
    listening.hear(lambda r: r and r[-1].message.get("status") == "reloaded")
    fresh = sorted((clips / "judge" / "flute").iterdir())[:3]
    for path in fresh:
        shutil.copy(path, listening.folder / f"fresh-{path.name}")
    listening.ends(len(files) + len(fresh))
    heard = listening.hear(lambda r: len(of_type(r, "file")) == len(files) + len(fresh))
    predictions = of_type(heard, "prediction")
    late = [m for m in predictions if "fresh-" in m["source"]["path"]]
    assert [m["label"] for m in late].count("flute") >= 2
    assert {m["model"]["name"] for m in late} == {"reviewed-model"}
    assert {m["model"]["name"] for m in predictions if m not in late} == {"esc50"}
    (told,) = [m for m in of_type(heard, "status") if m["status"] == "reloaded"]
    assert (told["applied"], told["restart"]) == (["checkpoint"], [])

    # A checkpoint that cannot be loaded leaves the daemon as it is.
    (tmp_path / "reviewed-model" / "head.npz").write_bytes(b"cut")
    listening.send(signal.SIGHUP)
    shutil.copy(fresh[0], listening.folder / "after.flac")
    listening.ends(len(files) + len(fresh) + 1)
    listening.wait_for(lambda: b"head.npz" in listening.log.read_bytes(), "reported")
    assert listening.status()["model"]["name"] == "reviewed-model"
