"""A daemon on a virtual microphone: tests play sounds and read its messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
from numpy.typing import NDArray
from running import SOON_S, STRESS, Daemon
from virtual_mic import RATE, SoundServer

from daemon.client import Client
from tinyast import Classifier

NOTICED_S = 12.0  # limit for publishing any failure
MARGIN_S = 3.0 if STRESS >= 1 else 10.0  # for a busy machine
WINDOW_S, HOP_S = 5.0, 2.5

Samples = NDArray[np.int16]
Message = dict[str, Any]


def is_status(what: str) -> Callable[[Message], bool]:
    return lambda m: m["type"] == "status" and m["status"] == what


def is_gap(reason: str) -> Callable[[Message], bool]:
    return lambda m: m["type"] == "gap" and m["reason"] == reason


def is_live(m: Message) -> bool:
    return bool(m["type"] == "prediction" and m["source"]["kind"] == "mic")


def is_event(state: str) -> Callable[[Message], bool]:
    return lambda m: m["type"] == "event" and m["state"] == state


@dataclass(kw_only=True)
class Streams:
    """A daemon on network streams, and all that it said."""

    WAIT_S: ClassVar[float] = 60.0
    daemon: Daemon
    client: Client
    said: list[Message] = field(default_factory=list)

    def wait_for(self, name: str, wanted: Callable[[Message], Any], after: int = 0) -> Message:
        """The first message about a stream that `wanted` accepts."""
        seen = after

        def found() -> Message | None:
            nonlocal seen
            while (received := self.client.receive(0.05)) is not None:
                self.said.append(received.message)
            for message in self.said[seen:]:
                seen += 1
                if (message.get("source") or {}).get("name") == name and wanted(message):
                    return message
            return None

        message: Message = self.daemon.wait_for(found, f"heard of {name}", self.WAIT_S)
        return message


class Ear:
    """One daemon, its sound server and its messages so far."""

    def __init__(self, base: Path, server: SoundServer, settings: str, env: dict[str, str]) -> None:
        self.server = server
        config = base / "tinyast.toml"
        self.daemon = Daemon(base, "--config", str(config), env={**server.env, **env})
        config.write_text(
            f'top = 50\n{settings}\n[[folder]]\npath = "{self.daemon.folder}"\nname = "in"\n'
        )
        self.said: list[Message] = []
        self._client: Client | None = None

    def start(self) -> Ear:
        self.daemon.start()
        return self

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self.daemon.clean_up()

    # -- listening to it -----------------------------------------------------------------------

    def mark(self) -> int:
        """The start for `wait_for`, which then ignores earlier messages."""
        self.take(0)
        return len(self.said)

    def take(self, timeout: float) -> None:
        """Collect new messages; wait at most `timeout` seconds for the first."""
        if self._client is None:
            self._client = self.daemon.client(0)
        while (received := self._client.receive(timeout)) is not None:
            self.said.append(received.message)
            timeout = 0

    def wait_for(
        self, wanted: Callable[[Message], bool], after: int = 0, timeout: float = SOON_S
    ) -> Message:
        deadline = time.monotonic() + timeout
        seen = after
        while True:
            for message in self.said[seen:]:
                if wanted(message):
                    return message
            seen = len(self.said)
            if time.monotonic() > deadline or self.daemon.process.poll() is not None:
                topics = [f"{m['published_at'][14:23]} {_brief(m)}" for m in self.said[-30:]]
                raise AssertionError("\n".join(["not heard:", *topics, self.daemon.tail()]))
            self.take(0.2)

    def stop(self) -> None:
        """Stop the daemon, and collect all that it says until it has stopped."""
        after = self.mark()
        assert self.daemon.stop() == 0
        deadline = time.monotonic() + SOON_S
        while not self.all_of(is_status("stopping"), after):
            assert time.monotonic() < deadline, "it did not say that it stops"
            self.take(0.2)
        self.take(0.2)

    def all_of(self, wanted: Callable[[Message], bool], after: int = 0) -> list[Message]:
        return [message for message in self.said[after:] if wanted(message)]

    def heartbeat(self) -> Message:
        """The microphone's state in the next heartbeat."""
        assert self._client is not None
        before = self._client.heartbeat
        while self._client.heartbeat is before:
            self.take(0.2)
        source: Message = (self._client.heartbeat or {})["sources"][-1]
        return source

    # -- being heard by it ---------------------------------------------------------------------

    def hears(self, played: Samples, name: str = "", microphone: str = "mic") -> Message:
        """Play a sound, and return a correct live window of it.

        Its saved samples equal the played ones bit for bit, and its prediction equals the
        classifier's for the same stretch.
        """
        for _ in range(3):  # a busy machine may interrupt the playback
            after = self.mark()
            player = self.server.play(played, name)
            found = self.listen_to(played, after, len(played) / RATE + 20, microphone)
            player.wait(90)
            if found is not None:
                return found
        raise AssertionError(f"it does not hear what is played:\n{self.daemon.tail()}")

    def listen_to(
        self, played: Samples, after: int, timeout: float, microphone: str = "mic"
    ) -> Message | None:
        deadline = time.monotonic() + timeout
        seen = after
        while time.monotonic() < deadline:
            self.take(0.2)
            for message in self.said[seen:]:
                if is_live(message) and message["source"]["name"] == microphone:
                    at = position(kept(message), played)
                    if at is not None and message["window"]["padded_s"] == 0:
                        check_scores(message, played[at : at + round(WINDOW_S * RATE)])
                        return message
            seen = len(self.said)
        return None


def _brief(m: Message) -> str:
    if m["type"] == "status":
        return f"status {m['status']} {m['text']}"
    if m["type"] == "gap":
        return f"gap {m['reason']} {m['duration_s']}"
    if m["type"] == "prediction":
        return f"prediction {m['label']} {m['score']:.2f} {m['rms_dbfs']:.0f} dBFS"
    return f"{m['type']} {m.get('state')} {m.get('label')}"


@contextmanager
def listening(
    base: Path,
    settings: str = '[[microphone]]\nkeep = "all"',
    names: tuple[str, ...] = ("mic0",),
    env: dict[str, str] | None = None,
    sinks: bool = True,
) -> Iterator[Ear]:
    """A sound server and an unstarted daemon that uses it."""
    server = SoundServer(names)
    try:
        server.start(sinks)
        ear = Ear(base, server, settings, env or {})
        try:
            yield ear
        finally:
            ear.close()
    finally:
        server.clean_up()


# -- sounds ----------------------------------------------------------------------------------------


def noise(seconds: float, seed: int = 0) -> Samples:
    """Noise after half a second of silence, because the start of a playback may be lost."""
    sound = np.random.default_rng(seed).normal(0, 3000, round(seconds * RATE))
    return np.concatenate([np.zeros(RATE // 2), sound]).astype(np.int16)


def kept(message: Message) -> Samples:
    """The saved audio of a live window, as 16-bit samples."""
    samples, rate = soundfile.read(message["audio"], dtype="int32")
    assert rate == RATE
    assert not (samples & 0xFFFF).any(), "16-bit sound was not kept exactly"
    return np.asarray(samples >> 16, dtype=np.int16)


def position(part: Samples, whole: Samples) -> int | None:
    """The position of `part` in `whole`, sample for sample."""
    if not part[:100].any():  # silence matches everywhere
        return None
    data, at = whole.tobytes(), -1
    while (at := data.find(part.tobytes(), at + 1)) >= 0:
        if at % 2 == 0:
            return at // 2
    return None


def as_float(samples: Samples) -> NDArray[np.float32]:
    return (samples / 32768).astype(np.float32)


@cache
def classifier() -> Classifier:
    return Classifier.load()


def check_scores(message: Message, samples: Samples) -> None:
    """Check that a window's scores equal the classifier's for the same samples in a file."""
    scores, level = classifier().scores(as_float(samples), RATE)
    expected = dict(zip(classifier().labels, scores, strict=True))
    assert message["label"] == classifier().labels[int(scores.argmax())]
    assert abs(message["rms_dbfs"] - level) < 0.02
    assert len(message["top"]) == len(expected)
    for item in message["top"]:
        assert abs(item["score"] - expected[item["label"]]) < 1e-3
