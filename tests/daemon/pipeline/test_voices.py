"""Voices: `[privacy] speech` decides about windows with speech in them."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from live import is_live, listening, noise
from numpy.typing import NDArray
from pages import PageProcess
from running import Daemon, of_type
from virtual_mic import RATE, what_is_missing

from daemon.client import Client
from tinyast import Classifier

TEXT = "The train to the coast leaves from platform four, so please do not forget your bags."
Samples = NDArray[np.int16]


@pytest.fixture(scope="module")
def voice() -> Samples:
    """Some seconds of speech at 44.1 kHz."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    spoken = subprocess.run(["espeak-ng", "--stdout", TEXT], capture_output=True, check=True)
    samples, rate = soundfile.read(io.BytesIO(spoken.stdout), dtype="float32")
    louder = soxr.resample(samples, rate, RATE) * (0.5 / np.abs(samples).max())
    return np.asarray(np.rint(louder * 32_767), np.int16)


def drop_both(daemon: Daemon, voice: Samples, dog: Path) -> dict[str, dict[str, Any]]:
    """Predictions of the first window of a voice and of a dog."""
    soundfile.write(daemon.folder / "voice.wav", voice[: 5 * RATE], RATE)
    shutil.copy(dog, daemon.folder / "dog.wav")
    predictions = of_type(daemon.hear(lambda r: len(of_type(r, "file")) == 2), "prediction")
    return {Path(each["source"]["path"]).stem: each for each in predictions}


@pytest.fixture
def dog(originals: list[Path]) -> Path:
    return next(path for path in originals if path.stem.endswith("-0"))


def test_folders_keep_voices_unless_told_otherwise(
    daemon: Callable[..., Daemon], voice: Samples, dog: Path
) -> None:
    heard = drop_both(daemon().start(), voice, dog)
    assert "private" not in heard["voice"]
    assert heard["voice"]["reason"] != "speech"


def test_no_sound_is_played_or_exported(
    daemon: Callable[..., Daemon], voice: Samples, dog: Path, tmp_path: Path
) -> None:
    running = daemon(env={"TINYAST_PRIVACY__SPEECH": "no_sound"}).start()
    heard = drop_both(running, voice, dog)
    assert heard["voice"]["private"] is True
    assert len(heard["voice"]["top"]) == 5
    assert "private" not in heard["dog"]
    page = PageProcess(tmp_path, running).start()
    try:
        rows = {Path(row["path"]).stem: row for row in page.predictions(2)}
        assert rows["voice"]["private"]
        for name, row in rows.items():
            answer = page.http.get(f"/api/v1/predictions/{row['number']}/sound.wav")
            assert answer.status_code == (404 if name == "voice" else 200), name
            put = page.http.put(
                f"/api/v1/predictions/{row['number']}/review",
                json={"verdict": "other", "label": name},
                headers=page.token,
            )
            assert put.status_code == 200
        exported = page.http.get("/api/v1/reviews.zip").content
        with zipfile.ZipFile(io.BytesIO(exported)) as archive:
            table = archive.read("metadata.csv").decode().splitlines()
        assert [line.split(",")[1] for line in table] == ["label", "dog"]
    finally:
        page.clean_up()


def test_dropped_windows_say_only_that(
    daemon: Callable[..., Daemon], voice: Samples, dog: Path
) -> None:
    given = {"TINYAST_PRIVACY__SPEECH": "drop", "TINYAST_PICTURES__PUBLISH": "true"}
    running = daemon(env=given).start()
    with Client(running.publish, running.replay, 0, pictures=10) as client:
        while client.beat is None:
            client.receive(0.1)
        heard = drop_both(running, voice, dog)
        while len(client.pictures) < 1 or client.receive(0.1) is not None:
            client.receive(0.1)
        shown = [picture.id for picture in client.pictures]
    dropped = heard["voice"]
    assert (dropped["label"], dropped["decision"], dropped["reason"]) == (
        "speech",
        "rejected",
        "speech",
    )
    assert dropped["top"] == [{"label": "speech", "score": dropped["score"]}]
    assert dropped["threshold"] == 0.25
    assert dropped["private"] is True
    assert shown == [heard["dog"]["id"]]
    assert heard["dog"]["label"] == "dog"


def test_no_voice_is_on_disk(tmp_path: Path, voice: Samples) -> None:
    """A microphone keeps the sound before and after a voice, and none of the voice."""
    if missing := what_is_missing():
        pytest.skip(missing)
    before, after = noise(10, seed=1), noise(10, seed=2)
    played = np.concatenate([before, voice, after])
    with listening(tmp_path, '[[microphone]]\nkeep = "all"') as ear:
        ear.start()
        ear.mark()
        ear.server.play(played).wait(90)
        # Windows that begin well after its end: all sound that was played has been judged.
        end_s = len(played) / RATE + 8
        ear.wait_for(lambda m: is_live(m) and m["window"]["start_s"] > end_s, timeout=90)
        marked = [m for m in ear.all_of(is_live) if m.get("private")]
        assert marked
        assert all("audio" not in m for m in marked)
        files = sorted(ear.daemon.state.glob("audio/**/*.flac"))
    recorded = [
        np.asarray(soundfile.read(file, dtype="int32")[0] >> 16, np.int16) for file in files
    ]
    quarter = RATE // 4
    parts = [voice[at : at + quarter] for at in range(0, len(voice) - quarter, quarter)]
    spoken = [part.tobytes() for part in parts if np.abs(part).max() > 500]
    assert len(spoken) > 10
    kept = [np.asarray(samples, np.int16).tobytes() for samples in recorded]
    assert not [part for part in spoken if any(part in sound for sound in kept)]
    for sound in (before, after):
        middle = sound[5 * RATE : 5 * RATE + quarter].tobytes()
        assert any(middle in each for each in kept), "what is no voice is kept"


def test_a_model_that_knows_no_voices_cannot_withhold_them(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    older = tmp_path / "older"
    shutil.copytree(Classifier.load().checkpoint.path, older)
    graph = onnx.load(older / "model.onnx")
    (output,) = [each for each in graph.graph.output if each.name == "audioset"]
    graph.graph.output.remove(output)
    onnx.save(graph, older / "model.onnx")
    (older / "SHA256SUMS").unlink()
    running = daemon("--checkpoint", str(older), env={"TINYAST_PRIVACY__SPEECH": "drop"})
    running.spawn()
    assert running.process.wait(60) == 2
    assert "does not recognise voices, as `speech = 'drop'` in [privacy] needs" in running.tail()
    running.env["TINYAST_PRIVACY__SPEECH"] = "keep"
    running.start()
