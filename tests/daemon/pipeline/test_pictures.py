"""Pictures: the model's input for a window, published beside its prediction and not stored."""

from __future__ import annotations

import io
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from contract import check
from live import kept, listening, noise
from PIL import Image
from running import SOON_S, Daemon
from sounds import write_wav
from virtual_mic import RATE, what_is_missing

from daemon.client import Client
from daemon.protocol.decoding import ReceivedPicture
from tinyast import Classifier
from tinyast.arrays import Float
from tinyast.features import audioset

MOST = 64


def averaged(picture: Float) -> Float:
    """At most 64 rows and columns, as means of equal shares, taken the long way round."""
    rows, columns = picture.shape
    if rows > MOST:
        picture = picture.repeat(MOST, axis=0).reshape(MOST, rows, columns).mean(axis=1)
    if columns > MOST:
        picture = picture.repeat(MOST, axis=1).reshape(len(picture), MOST, columns).mean(axis=2)
    return picture


def grey_levels(picture: ReceivedPicture) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The rows of a picture, low bands first."""
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.mode == "L"
        return np.asarray(image, np.float64)[::-1]


def check_picture(picture: ReceivedPicture, seen: Float) -> None:
    """Decoded by its decibels and normalised, it is the model's input within half a grey level."""
    content = picture.content
    assert content.picture_db is not None
    black, white = content.picture_db
    db = black + grey_levels(picture) / 255 * (white - black)
    peak = math.log(audioset.PEAK)
    decoded = (db * math.log(10) / 10 + peak + audioset.MEAN) / audioset.SCALE
    half = (white - black) * math.log(10) / 10 / audioset.SCALE / 255 / 2
    expected = averaged(seen)
    assert decoded.shape == expected.shape
    np.testing.assert_allclose(decoded, expected, atol=1.001 * half + 1e-5, rtol=0)
    assert half > 0


def with_pictures(
    daemon: Daemon, count: int, act: Callable[[], None]
) -> tuple[dict[str, dict[str, Any]], list[ReceivedPicture]]:
    """Predictions by id, and pictures, once there are `count` of both after `act`."""
    predictions: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + SOON_S
    with Client(daemon.publish, daemon.replay, 0, pictures=1000) as client:
        while client.beat is None:  # it is subscribed
            client.receive(0.1)
        act()
        while len(predictions) < count or len(client.pictures) < count:
            assert time.monotonic() < deadline, (len(predictions), len(client.pictures))
            received = client.receive(0.1)
            if received is not None and received.head.type == "prediction":
                # Who gets a prediction has its picture.
                assert received.head.id in [picture.id for picture in client.pictures]
                predictions[received.head.id] = received.message
        return predictions, list(client.pictures)


@pytest.mark.parametrize("checkpoint", ["esc50", "esc50-fine"])
def test_of_files(
    daemon: Callable[..., Daemon], originals: list[Path], tmp_path: Path, checkpoint: str
) -> None:
    given = {"TINYAST_PICTURES__PUBLISH": "true", "TINYAST_DECISION__ALLOW": '["dog"]'}
    running = daemon("--checkpoint", checkpoint, env=given).start()

    def drop() -> None:
        for path in originals[:4]:
            shutil.copy(path, running.folder)
        write_wav(running.folder / "short.wav", seconds=0.7, rate=8_000)

    predictions, pictures = with_pictures(running, 5, drop)
    assert sorted(picture.id for picture in pictures) == sorted(predictions)
    assert "rejected" in {message["decision"] for message in predictions.values()}
    classifier = Classifier.load(checkpoint)
    for picture in pictures:
        message = predictions[picture.id]
        check(picture.message, "picture")
        assert not {"seq", "prev"} & set(picture.message)
        assert picture.content.topic == "tinyast.v1.picture.file.in"
        for field in ("source", "node", "run_id", "journal"):
            assert picture.message[field] == message[field]
        assert len(json.dumps(picture.message)) < 7_000
        samples, rate = soundfile.read(message["source"]["path"], dtype="float32")
        check_picture(picture, classifier.hear(samples, rate)[0])
    assert all(m.topic.split(".")[2] != "picture" for m in running.hear(lambda r: len(r) >= 11))


def test_of_a_microphone(tmp_path: Path) -> None:
    if missing := what_is_missing():
        pytest.skip(missing)
    settings = '[pictures]\npublish = true\n[[microphone]]\nkeep = "all"'
    with listening(tmp_path, settings) as ear:
        ear.start()
        with Client(ear.daemon.publish, ear.daemon.replay, 0, pictures=100) as client:
            while client.beat is None:
                client.receive(0.1)
            heard = ear.hears(noise(9))
            while not (found := [each for each in client.pictures if each.id == heard["id"]]):
                client.receive(0.1)
        assert found[0].content.topic == "tinyast.v1.picture.mic.mic"
        samples = kept(heard).astype(np.float32) / np.float32(1 << 15)
        check_picture(found[0], Classifier.load().hear(samples, RATE)[0])


def test_only_those_who_want_them_get_them(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Without a page there are no pictures, unless the settings ask for them, also at a reload."""
    (tmp_path / "in").mkdir()
    file = tmp_path / "tinyast.toml"
    file.write_text(f'[[folder]]\npath = "{tmp_path}/in"\n')
    running = daemon("--config", str(file), "--reload-on-hup").start()

    def pictures_of(name: str) -> int:
        with Client(running.publish, running.replay, pictures=10) as client:
            while client.beat is None:
                client.receive(0.1)
            write_wav(running.folder / name, seed=len(name))
            while (received := client.receive()) is None or received.head.type != "file":
                pass
            return len(client.pictures)

    assert pictures_of("a.wav") == 0
    file.write_text(f'[[folder]]\npath = "{tmp_path}/in"\n[pictures]\npublish = true\n')
    running.send(1)
    running.hear(lambda r: r and r[-1].message.get("status") == "reloaded")
    assert pictures_of("again.wav") == 1
