"""Home Assistant's own code reads the bridge's messages, from a real broker.

`make acceptance PART=integrations` runs it, since it needs an environment with Home Assistant:
`make home-assistant` installs one, and HOME_ASSISTANT names the Python of another.
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import PASSWORD, USER, BridgeProcess, Mosquitto, Subscriber
from conftest import ROOT
from running import SOON_S, SUPPORT
from saying import Station, predictions
from test_states import (
    FOLDER,
    LISTENING,
    MIC,
    beat_until,
    bridged,
    broker,
    event,
    station,
    subscriber,
)

from daemon.protocol.messages import Gap, digest

__all__ = ["bridged", "broker", "station", "subscriber"]  # fixtures of the module next to this one

PYTHON = Path(
    os.environ.get("HOME_ASSISTANT", ROOT / ".venv" / "home-assistant" / "bin" / "python")
)


class HomeAssistant:
    """Its MQTT integration in a process."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        data = {
            "broker": "localhost", "port": broker.port, "username": USER, "password": PASSWORD,
            "certificate": (broker.base / "ca.pem").read_text(), "discovery": True,
            "client_cert": (broker.base / "client.pem").read_text(),
            "client_key": (broker.base / "client.key").read_text(),
        }  # fmt: skip
        self._process = subprocess.Popen(
            [PYTHON, SUPPORT / "servers" / "home_assistant.py", folder, json.dumps(data)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        began = self._answer()
        if began != {"state": "loaded"}:
            problems = self.end()
            self.kill()
            raise AssertionError(f"{began}: {problems}")

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def look(self) -> dict[str, Any]:
        """All its states, by entity, and the names of its devices."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = self._answer()
        del answer["states"]["zone.home"]
        return answer

    def end(self) -> list[str]:
        """Its warnings and errors."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        problems: list[str] = self._answer()["problems"]
        self._process.wait(SOON_S)
        return problems

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def home(broker: Mosquitto, subscriber: Subscriber, tmp_path: Path) -> Iterator[HomeAssistant]:
    if not PYTHON.exists():
        pytest.skip("there is no Home Assistant; run `make home-assistant`")
    (tmp_path / "home").mkdir()
    made = HomeAssistant(tmp_path / "home", broker)
    yield made
    made.kill()


PICTURE = b"\x89PNG\r\n\x1a\n made by hand"


def test_home_assistant_takes_every_entity(
    station: Station, home: HomeAssistant, bridged: Callable[..., BridgeProcess]
) -> None:
    bridge = bridged(home_assistant={"labels": ["dog", "siren"]}).start()

    def states() -> dict[str, Any]:
        found: dict[str, Any] = home.look()["states"]
        return found

    def named(name: str) -> dict[str, Any]:
        """The state of the entity that people see by this name."""
        for each in states().values():
            if each["attributes"].get("friendly_name") == name:
                return dict(each)
        return {"state": "missing"}

    beat_until(station, lambda: len(states()) >= 13, "all there")
    kinds = sorted(name.partition(".")[0] for name in states())
    assert kinds == ["binary_sensor"] * 5 + ["event"] + ["sensor"] * 7
    assert home.look()["devices"] == ["Back porch", "in", "tinyast test"]
    beat_until(station, lambda: named("Back porch Level")["state"] == "-41.5", "level")
    assert named("tinyast test Connected")["state"] == "on"
    assert named("in Backlog")["state"] == str(FOLDER.waiting)
    assert named("Back porch Dog")["state"] == "off"
    assert named("Back porch Last gap")["state"] == "unknown"
    lost = Gap(
        id=digest("gap"), source=MIC, began_at="2026-01-01T00:00:00.000Z", duration_s=2.5,
        frames=40_000, reason="overload",
    )  # fmt: skip
    station.say([event("start", "dog"), *predictions(1), lost])
    beat_until(station, lambda: named("Back porch Dog")["state"] == "on", "on")
    beat_until(station, lambda: named("in Last sound")["state"] == "dog", "heard")
    sound = named("in Last sound")["attributes"]
    assert (sound["score"], sound["path"]) == (0.912345, "/sounds/in/one.wav")
    assert sound["started_at"] == "2026-01-01T00:00:00.000Z"
    happened = named("Back porch Sound")["attributes"]
    assert (happened["event_type"], happened["label"]) == ("start", "dog")
    gap = beat_until(
        station, lambda: (n := named("Back porch Last gap"))["state"] != "unknown" and n, "gap"
    )
    assert gap["state"] == "2026-01-01T00:00:00+00:00"
    assert gap["attributes"]["duration_s"] == 2.5
    station.show(predictions(1, first=1)[0], PICTURE)
    shown = beat_until(station, lambda: home.look()["images"], "an image")
    ((entity, image),) = beat_until(
        station, lambda: all((found := home.look()["images"]).values()) and found, "the picture"
    ).items()
    assert b64decode(image) == PICTURE
    assert list(shown) == [entity]
    assert named("in Last picture")["state"] != "unknown"
    station.say([event("end", "dog", 1)])
    beat_until(station, lambda: named("Back porch Dog")["state"] == "off", "off")
    assert named("Back porch Sound")["attributes"]["event_type"] == "end"
    print("entities:", *sorted(states()), sep="\n  ")
    station.sources = [FOLDER]
    beat_until(station, lambda: home.look()["devices"] == ["in", "tinyast test"], "removed")
    assert not [each for each in states() if "porch" in each]
    station.sources = [FOLDER, LISTENING]
    beat_until(station, lambda: len(states()) >= 14, "back")
    assert bridge.stop() == 0
    beat_until(station, lambda: named("tinyast test Connected")["state"] == "off", "offline")
    assert named("in Last sound")["state"] == "unavailable"
    problems = home.end()
    print(*problems, sep="\n")
    assert not problems
