"""A real MQTT broker with TLS and passwords, and a subscriber that misses no message."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from processes import CommandProcess
from running import SOON_S, free_port

USER, PASSWORD = "attic", "s3cret, and: long"
CONFIG = """
listener {port} 127.0.0.1
cafile {base}/ca.pem
certfile {base}/server.pem
keyfile {base}/server.key
require_certificate {certificates}
allow_anonymous false
password_file {base}/passwords
persistence true
persistence_location {base}/
max_queued_messages 0
"""


def until(true: Callable[[], Any], what: str, timeout: float = SOON_S) -> Any:
    """Return what `true` gives once it is not false."""
    deadline = time.monotonic() + timeout
    while not (value := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not {what} within {timeout:g} s")
        time.sleep(0.02)
    return value


def make_certificates(base: Path) -> None:
    """An authority, and certificates signed by it for the server and a client."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=base, check=True, capture_output=True)

    openssl(
        "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca",
        "-addext", "keyUsage=critical,keyCertSign",  # without it, Python 3.13 trusts no authority
    )  # fmt: skip
    for name in ("server", "client"):
        openssl(
            "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-CA", "ca.pem",
            "-CAkey", "ca.key", "-subj", f"/CN={name}",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip


class Mosquitto:
    """The broker on a free port. Its retained and queued messages outlive a restart.

    `more`: further lines of its settings.
    """

    def __init__(self, base: Path, certificates: bool = False, more: str = "") -> None:
        base.mkdir(exist_ok=True)
        self.base, self.port = base, free_port()
        make_certificates(base)
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", base / "passwords", USER, PASSWORD],
            check=True, capture_output=True,
        )  # fmt: skip
        os.chmod(base / "passwords", 0o700)
        text = (
            CONFIG.format(port=self.port, base=base, certificates=str(certificates).lower()) + more
        )
        (base / "mosquitto.conf").write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """`[mqtt]` for this broker."""
        password = self.base / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        return {
            "host": "localhost", "port": self.port, "tls": True, "ca_file": f"{self.base}/ca.pem",
            "user": USER, "password_file": str(password), "keepalive": 1,
        }  # fmt: skip

    def start(self) -> Mosquitto:
        log = (self.base / "mosquitto.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                ["mosquitto", "-c", self.base / "mosquitto.conf"], stdout=log, stderr=log
            )
        deadline = time.monotonic() + SOON_S
        while not self._listens():
            assert self._process.poll() is None, (self.base / "mosquitto.log").read_text()
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.01)
        return self

    def _listens(self) -> bool:
        try:
            socket.create_connection(("localhost", self.port)).close()
        except OSError:
            return False
        return True

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait(SOON_S)

    def restart(self) -> None:
        self.stop()
        self.start()


@contextmanager
def running(base: Path, certificates: bool = False, more: str = "") -> Iterator[Mosquitto]:
    """A broker with its files in `base`; the test is skipped if mosquitto is not installed."""
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed")
    made = Mosquitto(base, certificates, more).start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One that asks for a password and no certificate, for modules to import."""
    with running(tmp_path_factory.mktemp("broker")) as made:
        yield made


class Subscriber:
    """Takes in all messages of the broker. It returns after a restart, and misses no message."""

    def __init__(self, broker: Mosquitto, *topics: str) -> None:
        self.broker, self.lock = broker, threading.Lock()
        self.heard: list[tuple[str, bytes, bool]] = []  # topic, payload, whether it was retained
        self._topics = [(topic, 1) for topic in topics or ("tinyast/#",)]
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"test-{id(self)}", clean_session=False
        )
        self._client.username_pw_set(USER, PASSWORD)
        self._client.tls_set(
            f"{broker.base}/ca.pem", f"{broker.base}/client.pem", f"{broker.base}/client.key"
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_message = self._take
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        until(lambda: self._connect(broker), "connected")
        self._client.loop_start()
        assert self._subscribed.wait(SOON_S)

    def _connect(self, broker: Mosquitto) -> bool:
        try:
            self._client.connect("localhost", broker.port, keepalive=5)
        except OSError:
            return False
        return True

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe(self._topics)

    def _take(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self.lock:
            self.heard.append((message.topic, bytes(message.payload), message.retain))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def clear(self) -> None:
        """Remove the retained messages, for the next test."""
        for topic, payload in self.newest().items():
            if payload:
                self._client.publish(topic, b"", qos=1, retain=True).wait_for_publish(SOON_S)

    def payloads(self, topic: str) -> list[bytes]:
        """What came for one topic."""
        with self.lock:
            return [payload for name, payload, _ in self.heard if name == topic]

    def newest(self) -> dict[str, bytes]:
        """The newest payload of each topic."""
        with self.lock:
            return {topic: payload for topic, payload, _ in self.heard}

    def messages(self, *kinds: str) -> list[dict[str, Any]]:
        """The journalled messages of these types, as they came."""
        wanted = kinds or ("prediction", "file", "event", "gap", "status")
        with self.lock:
            return [
                json.loads(payload)
                for topic, payload, _ in self.heard
                if topic.split("/")[2] in wanted
            ]


def check_delivery(heard: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
    """All of `sent` arrived unchanged, in order; a repeated message is the same."""
    first: dict[int, dict[str, Any]] = {}
    for message in heard:
        assert first.setdefault(message["seq"], message)["id"] == message["id"]
    assert list(first) == sorted(first)
    assert list(first.values()) == sent


class BridgeProcess(CommandProcess):
    """`tinyastd mqtt` in a process."""

    def __init__(self, base: Path, settings: dict[str, Any], publish: str, replay: str) -> None:
        base.mkdir(exist_ok=True)
        self.base = base
        config = base / "bridge.toml"
        lines = [f'publish = "{publish}"', f'replay = "{replay}"', f'state = "{base}/state"']
        config.write_text("\n".join([*lines, table("mqtt", settings)]))
        super().__init__(base / "bridge.log", "mqtt", "--config", str(config))

    def start(self, *options: str) -> BridgeProcess:
        self.spawn(*options)
        return self


def table(name: str, values: dict[str, Any]) -> str:
    """A TOML table; tables in it come after its own values."""
    plain = [f"{k} = {json.dumps(v)}" for k, v in values.items() if not isinstance(v, dict)]
    inner = [table(f"{name}.{k}", v) for k, v in values.items() if isinstance(v, dict)]
    return "\n".join([f"[{name}]", *plain, *inner])
