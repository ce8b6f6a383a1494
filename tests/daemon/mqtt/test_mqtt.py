"""The bridge beside a real broker with TLS and a password: what arrives, whatever happens."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from brokers import BridgeProcess, Mosquitto, Subscriber, broker, check_delivery, until
from running import STRESS, Daemon, stress
from sounds import write_wav

__all__ = ["broker"]  # a fixture

# The subscriber's library leaves a socket to the garbage collector if a broker does not answer.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RESTARTS = stress(10, 3)
KILLS = stress(20, 3)
LONG_S = 1_200.0  # for the full count on a busy machine
FILES = stress(10_000) if STRESS >= 0.2 else 200


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    made = Subscriber(broker)
    yield made
    broker.send(signal.SIGCONT)
    made.close()


@pytest.fixture
def bridge(broker: Mosquitto, tmp_path: Path) -> Iterator[BridgeProcess]:
    """A bridge from a daemon in `tmp_path`, not started."""
    place = f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/r"
    made = BridgeProcess(tmp_path / "bridge", broker.settings, *place)
    yield made
    made.clean_up()


def put(daemon: Daemon, count: int, first: int) -> None:
    """Let `count` files arrive, each complete at once."""
    for number in range(first, first + count):
        draft = daemon.base / f"{number:05}.wav"
        write_wav(draft, seconds=0.1)
        draft.rename(daemon.folder / draft.name)


def everything(daemon: Daemon) -> list[dict[str, Any]]:
    """All messages that the daemon has published, once it is idle."""
    daemon.wait_for(
        lambda: daemon.status()["backlog"] == {"files": 0, "messages": 0}, "idle", LONG_S
    )
    newest = max(daemon.status()["last"].values())
    return [
        r.message
        for r in daemon.hear(lambda r: r and r[-1].message["seq"] >= newest, timeout=LONG_S)
    ]


def last_seq(subscriber: Subscriber) -> int:
    return max((message["seq"] for message in subscriber.messages()), default=0)


def goes_on(subscriber: Subscriber, before: int) -> bool:
    return last_seq(subscriber) > before


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_a_broker_that_restarts_and_hangs_loses_nothing(
    broker: Mosquitto, subscriber: Subscriber, bridge: BridgeProcess, daemon: Callable[..., Daemon]
) -> None:
    running = daemon("--workers", "1").start()
    bridge.start("--since", "0")
    until(lambda: last_seq(subscriber) > 0, "connected")
    batch = FILES // (RESTARTS + 1)
    for number in range(RESTARTS):
        put(running, batch, number * batch)
        before = last_seq(subscriber)
        until(partial(goes_on, subscriber, before), "forwarding", LONG_S)
        broker.restart()
    before = last_seq(subscriber)
    put(running, batch, RESTARTS * batch)
    until(partial(goes_on, subscriber, before), "forwarding", LONG_S)
    log = bridge.log.stat().st_size
    broker.send(signal.SIGSTOP)
    until(lambda: b"trying again" in bridge.log.read_bytes()[log:], "given up")
    broker.send(signal.SIGCONT)
    sent = everything(running)
    assert len([m for m in sent if m["type"] == "file"]) == batch * (RESTARTS + 1)
    until(lambda: last_seq(subscriber) >= sent[-1]["seq"], "all forwarded", LONG_S)
    check_delivery(subscriber.messages(), sent)
    assert bridge.stop() == 0


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_a_bridge_that_is_killed_loses_nothing(
    subscriber: Subscriber, bridge: BridgeProcess, daemon: Callable[..., Daemon]
) -> None:
    running = daemon("--workers", "1").start()
    batch = FILES // KILLS
    bridge.start("--since", "0")
    for number in range(KILLS):
        before = last_seq(subscriber)
        put(running, batch, number * batch)
        until(partial(goes_on, subscriber, before), "forwarding", LONG_S)
        bridge.kill()
        bridge.start()
    sent = everything(running)
    until(lambda: last_seq(subscriber) >= sent[-1]["seq"], "all forwarded", LONG_S)
    check_delivery(subscriber.messages(), sent)
