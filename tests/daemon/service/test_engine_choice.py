"""`engine = "auto"`: timed while the daemon is idle, chosen at the next start."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from running import Daemon, of_type, tinyastd
from sounds import long_wav, write_wav

from daemon.monitoring.service_thread import Running
from daemon.service import engine_choice
from daemon.service.engine_choice import FILE, Choice, choose_engine
from daemon.settings.schema import Settings
from tinyast.classifier import Classifier
from tinyast.inference.checkpoint import GRAPH, INT8_GRAPH, default_path, read_checkpoint, sha256
from tinyast.inference.choice import Conditions, Timing, time_engines
from tinyast.inference.engine import load_engine

LOST, UNTIMED = "int8_points_lost", "int8 is timed after a start, when no file waits"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=str(tmp_path))


def keep(state: Path, **changes: Any) -> None:
    """Write a timing of the default checkpoint on this machine, in which int8 is faster."""
    conditions = msgspec.structs.asdict(Conditions.here(read_checkpoint()))
    values: dict[str, Any] = {
        "conditions": conditions,
        "timing": {"float32_ms": 3.0, "int8_ms": 2.0},
        "timed_at": "2026-11-24T08:10:09.353Z",
    }
    for name, change in changes.items():
        values[name] = {**values[name], **change}
    (state / FILE).write_text(json.dumps(values))


def checkpoint_losing(folder: Path, points: float | None) -> Path:
    """The default checkpoint, whose int8 graph loses this many points."""
    shutil.copytree(default_path(), folder)
    (folder / "SHA256SUMS").unlink()
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, LOST: points}))
    return folder


def test_the_first_start_times_the_engines_and_the_second_uses_the_faster_one(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    one = daemon("--engine", "auto", "--workers", "1")
    long = long_wav(one.folder / "long.wav", 1)  # nothing is timed beside it
    one.start()
    one.hear(lambda heard: of_type(heard, "prediction"))
    model = one.status()["model"]
    assert (model["engine"], model["engine_reason"]) == ("onnx", UNTIMED)
    assert model["sha256"] == sha256(default_path() / GRAPH)
    kept = one.state / FILE
    long.unlink()
    one.ends(1)
    one.wait_for(lambda: one.status()["model"]["engine_reason"] != UNTIMED, "timed")
    assert one.status()["model"]["engine"] == "onnx", "it goes on with the engine that it has"
    assert one.stop() == 0

    timed = json.loads(kept.read_bytes())
    assert kept.stat().st_mode & 0o077 == 0
    times = Timing(**timed["timing"])
    assert times.is_valid
    # Which one is faster depends on the processor; from here on it is int8.
    timed["timing"] = {"float32_ms": 3.0, "int8_ms": 1.0}
    kept.write_text(json.dumps(timed))
    one.start()
    model = one.status()["model"]
    assert (model["engine"], model["sha256"]) == ("int8", sha256(default_path() / INT8_GRAPH))
    shown = tinyastd("status", "--publish", one.publish, "--replay", one.replay).stdout
    assert "  engine      int8: on this machine int8 takes 1.00 ms for a window" in shown
    write_wav(one.folder / "a.wav")
    heard = one.hear(lambda heard: len(of_type(heard, "file")) == 2)
    said = of_type(heard, "prediction")[-1]
    assert said["source"]["path"] == str(one.folder / "a.wav")
    assert said["model"]["sha256"] == model["sha256"]
    assert one.stop() == 0
    assert json.loads(kept.read_bytes()) == timed, "a known timing is not made again"


def test_files_that_wait_come_before_the_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "QUIET_S", 0.0)
    monkeypatch.setattr(engine_choice, "LOOK_S", 0.001)
    looks = itertools.count()
    busy, idle = threading.Event(), threading.Event()

    def is_idle() -> bool:
        if next(looks) >= 50:
            busy.set()
        return idle.is_set()

    for stopped in (True, False):
        timer = engine_choice.EngineTimer(tmp_path, Classifier.load(), is_idle)
        with Running([timer]):
            assert busy.wait(60)
            assert not timer.found
            if not stopped:
                idle.set()
                timer.join(60)
        assert (tmp_path / FILE).exists() == bool(timer.found) == (not stopped)
    assert not choose_engine(Settings(state=str(tmp_path))).untimed


def test_the_timing_can_stop_before_any_window() -> None:
    checkpoint = read_checkpoint()
    float32 = load_engine(checkpoint)
    asked: list[bool] = []

    def stop_after(count: int) -> Callable[[], bool]:
        asked.clear()

        def go_on() -> bool:
            asked.append(True)
            return len(asked) <= count

        return go_on

    for count in (0, 1, 20):
        assert time_engines(checkpoint, float32, stop_after(count)) is None
        assert len(asked) == count + 1
    assert time_engines(checkpoint, float32, stop_after(1000)) is not None
    assert len(asked) == 81  # before int8 is loaded, and before each of 40 windows twice


def test_a_kept_timing_decides(settings: Settings) -> None:
    state = settings.state_path
    keep(state)
    chosen = choose_engine(settings)
    assert chosen.engine == "int8"
    assert "int8 takes 2.00 ms for a window, and float32 3.00 ms" in chosen.reason
    assert not chosen.untimed
    keep(state, timing={"int8_ms": 2.95})
    assert choose_engine(settings).engine == "onnx", "the difference is noise"


@pytest.mark.parametrize("of", ["float32", "int8", "processor", "onnxruntime"])
def test_a_timing_of_other_conditions_does_not_count(settings: Settings, of: str) -> None:
    keep(settings.state_path, conditions={of: "another"})
    assert choose_engine(settings) == Choice("onnx", UNTIMED, untimed=True)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", "\0" * 100, '{"timing": {"float32_ms": "slow"}}', "[" * 100_000],
    ids=["empty", "cut off", "a list", "no fields", "zeros", "no number", "deep"],
)
def test_a_damaged_timing_does_not_count(settings: Settings, content: str) -> None:
    (settings.state_path / FILE).write_text(content)
    assert choose_engine(settings) == Choice("onnx", UNTIMED, untimed=True)


@pytest.mark.parametrize("int8_ms", [0.0, -1.0, 1e999])
def test_a_time_that_cannot_be_does_not_count(settings: Settings, int8_ms: float) -> None:
    keep(settings.state_path, timing={"int8_ms": int8_ms})
    assert choose_engine(settings).untimed


def test_a_timing_behind_a_link_or_in_a_directory_does_not_count(settings: Settings) -> None:
    state = settings.state_path
    keep(state)
    (state / FILE).rename(state / "elsewhere")
    (state / FILE).symlink_to(state / "elsewhere")
    assert choose_engine(settings).untimed
    (state / FILE).unlink()
    (state / FILE).mkdir()
    assert choose_engine(settings).untimed


@pytest.mark.parametrize(
    ("points", "engine", "why"),
    [
        (0.5, "onnx", "int8 loses 0.5 points of accuracy, more than 0.3"),
        (None, "onnx", "does not say how many points"),
        (0.3, "int8", "int8 takes 2.00 ms"),
    ],
)
def test_int8_must_lose_little(tmp_path: Path, points: float | None, engine: str, why: str) -> None:
    folder = checkpoint_losing(tmp_path / "model", points)
    keep(tmp_path)
    chosen = choose_engine(Settings(state=str(tmp_path), checkpoint=str(folder)))
    assert chosen.engine == engine
    assert why in chosen.reason
    assert not chosen.untimed


def test_a_checkpoint_without_int8_runs_in_float32(tmp_path: Path) -> None:
    folder = checkpoint_losing(tmp_path / "model", 0.0)
    (folder / INT8_GRAPH).unlink()
    chosen = choose_engine(Settings(state=str(tmp_path), checkpoint=str(folder)))
    assert chosen == Choice("onnx", f"the checkpoint has no {INT8_GRAPH}")


def test_a_daemon_leaves_int8_when_its_checkpoint_begins_to_lose_too_much(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    folder = checkpoint_losing(tmp_path / "model", 0.0)
    one = daemon("--engine", "auto", "--checkpoint", str(folder), "--reload-on-hup")
    one.state.mkdir(mode=0o700)
    keep(one.state)
    assert one.start().status()["model"]["engine"] == "int8"
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, LOST: 0.5}))
    one.send(signal.SIGHUP)
    one.wait_for(lambda: one.status()["model"]["engine"] == "onnx", "in float32")
    model = one.status()["model"]
    assert model["sha256"] == sha256(default_path() / GRAPH)
    assert model["engine_reason"] == "int8 loses 0.5 points of accuracy, more than 0.3"
    assert one.stop() == 0


def test_int8_that_cannot_run_is_reported_and_the_daemon_goes_on(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    folder = checkpoint_losing(tmp_path / "model", 0.0)
    (folder / INT8_GRAPH).write_bytes(b"no graph")
    one = daemon("--engine", "auto", "--checkpoint", str(folder)).start()
    one.wait_for(lambda: one.status()["model"]["engine_reason"] != UNTIMED, "tried")
    assert "int8 could not be timed" in one.status()["model"]["engine_reason"]
    assert one.stop() == 0


def test_an_engine_that_is_named_is_used(settings: Settings) -> None:
    keep(settings.state_path)
    for name in ("onnx", "int8", "torch"):
        named = Settings(state=settings.state, engine=name)
        assert choose_engine(named) == Choice(name, "the settings name it")


def test_classify_uses_the_engine_of_the_daemon_once_it_is_known(
    settings: Settings, tmp_path: Path
) -> None:
    sound = write_wav(tmp_path / "a.wav")
    env = {"TINYAST_ENGINE": "auto", "TINYAST_STATE": settings.state}

    def graph() -> str:
        done = tinyastd("classify", sound, "--format", "jsonl", env=env)
        assert done.returncode == 0, done.stderr
        found: str = json.loads(done.stdout)["model"]["sha256"]
        return found

    float32, int8 = (sha256(default_path() / name) for name in (GRAPH, INT8_GRAPH))
    assert graph() == float32
    keep(settings.state_path)
    assert graph() == int8
