"""The Python client: it misses no message, whatever happens between it and the daemon."""

from __future__ import annotations

import itertools
import re
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import zmq
from running import Daemon, of_type, stress
from saying import Station, ends, fill, predictions, started
from sounds import write_wav

from daemon import client as client_module
from daemon.client import SILENT_S, Client, NoAnswer, Received

MANY = stress(60_000, 15_000)  # more than queues hold

MakeDaemon = Callable[..., Daemon]


def take(client: Client, count: int) -> list[Received]:
    """The next `count` messages; pytest's time limit ends a wait for one that never comes."""
    return list(itertools.islice(client, count))


def ended(received: Received, path: Path) -> bool:
    message = received.message
    return bool(message["type"] == "file" and message["source"]["path"] == str(path))


def seqs(heard: list[Received]) -> list[int]:
    return [received.message["seq"] for received in heard]


def test_who_starts_after_the_last_message_has_all(daemon: MakeDaemon) -> None:
    running = daemon()
    fill(running.state, predictions(MANY))
    running.start()
    with running.client(since=0) as client:
        began = time.monotonic()
        heard = take(client, MANY + 1)
        took = time.monotonic() - began
        assert client.receive(0) is None
    assert seqs(heard) == list(range(1, MANY + 2))
    assert heard[-1].topic == "tinyast.v1.status.started"
    print(f"late: {len(heard) - 1} of {MANY} predictions in {took:.1f} s")


def test_the_seq_at_a_moment_is_found_in_few_questions(tmp_path: Path) -> None:
    with Station(tmp_path) as station:
        station.say(predictions(1_000))
        with Client(station.publish, station.replay, since=0) as client:
            heard = take(client, 1_000)
        times = [datetime.fromisoformat(each.message["published_at"]) for each in heard]
        replayer = station.replayer
        for moment in (0.0, *(times[n].timestamp() for n in (0, 1, 500, 999)), 4e9):
            before = replayer.answered
            found = client_module.seq_before(moment, station.replay)
            assert replayer.answered - before <= 12
            late = [each for each, at in zip(heard, times, strict=True) if at.timestamp() >= moment]
            assert found == (late[0].message["seq"] - 1 if late else heard[-1].message["seq"])
    with pytest.raises(NoAnswer):
        client_module.seq_before(0.0, f"ipc://{tmp_path}/nowhere", timeout=0.1)


def test_who_reads_too_slowly_has_all_after_replay(tmp_path: Path) -> None:
    with (
        Station(tmp_path) as station,
        Client(station.publish, station.replay, since=0, buffered=100) as client,
    ):
        station.say(predictions(1))
        heard = take(client, 1)
        answered = station.replayer.answered
        station.say(predictions(MANY - 1, first=1))  # while the client does not read
        while len(heard) < MANY:
            received = client.receive(0.5)
            if received is None:
                station.beat()  # as the daemon does now and then; it reveals a loss at the end
            else:
                heard.append(received)
        assert client.receive(0) is None
        replies = station.replayer.answered - answered
    assert seqs(heard) == list(range(1, MANY + 1))
    assert client.lost == 0
    assert replies > 0, "it was not too slow"
    print(f"slow: {len(heard)} of {MANY} messages, {replies} replies of replay")


def test_only_topics_asked_for_and_all_of_them(daemon: MakeDaemon) -> None:
    running = daemon()
    fill(running.state, [*predictions(1_500, label="cat"), *predictions(1_500, 1_500), *ends(30)])
    running.start()
    dogs = "tinyast.v1.prediction.file.in.dog"
    with running.client(0, dogs, "tinyast.v1.file.") as client:
        heard = take(client, 1_530)
        write_wav(running.folder / "a.wav")
        live = take(client, 1)
    assert {received.topic for received in heard} == {dogs, "tinyast.v1.file.done"}
    assert seqs(heard) == list(range(1_501, 3_031))
    assert live[0].message["source"]["path"] == str(running.folder / "a.wav")


def test_from_now_on(daemon: MakeDaemon) -> None:
    running = daemon()
    fill(running.state, predictions(3_000))
    started(running)
    with running.client(since=None) as client:
        while client.journal is None:  # only then it knows from where on
            assert client.receive(0.1) is None
        write_wav(running.folder / "a.wav")
        assert seqs(take(client, 2)) == [3_002, 3_003]


def test_a_frozen_daemon_is_noticed_and_an_idle_one_is_not(
    daemon: MakeDaemon, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    idle = daemon().start()
    frozen = daemon(base=tmp_path / "other").start()
    with idle.client(since=0) as bored, frozen.client(since=0) as client:
        take(client, 1)
        take(bored, 1)
        frozen.send(signal.SIGSTOP)
        began = time.monotonic()
        while not client.silent:
            assert client.receive(0.5) is None
            assert bored.receive(0.5) is None
        took = time.monotonic() - began
        assert not bored.silent
        assert f"no sign of life from the daemon at {frozen.publish}" in caplog.text
        frozen.send(signal.SIGCONT)
        write_wav(frozen.folder / "a.wav")
        assert seqs(take(client, 2)) == [2, 3]
        assert not client.silent
        assert f"the daemon at {frozen.publish} is heard again" in caplog.text
    assert took > SILENT_S - 5  # the last heartbeat may have come before
    print(f"a frozen daemon noticed after {took:.1f} s")


def test_who_was_away_takes_nobody_for_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SILENT_S", 0.05)
    monkeypatch.setattr(client_module, "AWAY_S", 0.02)
    with (
        Station(tmp_path) as station,
        Client(station.publish, station.replay, since=0) as client,
    ):
        station.say(predictions(1))
        take(client, 1)
        time.sleep(0.1)  # does something else
        assert client.receive(0) is None
        assert not client.silent
        while not client.silent:  # and now it waits
            assert client.receive(0.01) is None


def test_a_restart_in_between(daemon: MakeDaemon) -> None:
    running = daemon().start()
    with running.client(since=0) as client:
        heard = take(client, 1)
        for number in range(3):
            path = write_wav(running.folder / f"{number}.wav")
            while not ended(heard[-1], path):  # by then this run has said that it started
                heard += take(client, 1)
            running.kill() if number == 1 else running.stop()
            write_wav(running.folder / f"{number}-missed.wav")
            running.start()
        started, stopping, files = 4, 2, 6
        heard += take(client, started + stopping + 2 * files - len(heard))
    found = [received.message for received in heard]
    assert sorted(seqs(heard)) == list(range(1, len(heard) + 1))
    assert len({message["id"] for message in found}) == len(found)
    assert len(of_type(heard, "file")) == 6
    for kind in ("prediction", "file", "status"):
        own = [message["seq"] for message in of_type(heard, kind)]
        assert own == sorted(own)


def test_a_new_journal_is_read_from_its_start(daemon: MakeDaemon) -> None:
    running = daemon()
    fill(running.state, predictions(100))
    running.start()
    with running.client(since=0) as client:
        take(client, 101)
        first = client.journal
        running.kill()
        shutil.rmtree(running.state)
        write_wav(running.folder / "a.wav")
        running.start()
        heard = take(client, 3)
        assert seqs(heard) == [1, 2, 3]
        assert client.journal not in (None, first)


@pytest.mark.parametrize("told", [True, False], ids=["journal", "seq"])
def test_a_place_kept_from_another_journal(
    daemon: MakeDaemon, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    running = daemon()
    fill(running.state, predictions(10))
    running.start()
    # By its name if that is known, else by a seq that this journal has not reached.
    kept = {"since": 5, "journal": "another"} if told else {"since": 5_000, "journal": None}
    with Client(running.publish, running.replay, **kept) as client:
        assert seqs(take(client, 11)) == list(range(1, 12))
    # The eleventh, that it has started, may be a moment late.
    said = re.search(r"messages after 5000 were asked for, and the newest is 1[01]:", caplog.text)
    assert (said is None) == told


def test_a_place_kept_from_this_journal(daemon: MakeDaemon) -> None:
    running = daemon()
    fill(running.state, predictions(10))
    running.start()
    with running.client(since=0) as client:
        kept = take(client, 5)[-1].message
    with Client(
        running.publish, running.replay, since=kept["seq"], journal=kept["journal"]
    ) as client:
        assert seqs(take(client, 6)) == list(range(6, 12))


def test_what_is_no_longer_kept_is_counted(daemon: MakeDaemon) -> None:
    running = daemon(env={"TINYAST_JOURNAL__KEEP_MB": "1"})
    fill(running.state, predictions(4_000))
    running.start()
    running.wait_for(lambda: pruned(running), "pruned")
    with running.client(since=0) as client:
        first = take(client, 1)[0].message["seq"]
        assert first > 1
        assert client.lost == first - 1


def pruned(running: Daemon) -> bool:
    with running.client(since=0) as client:
        return seqs(take(client, 1)) > [1]


def test_short_waits_lose_no_reply(daemon: MakeDaemon) -> None:
    running = daemon()
    fill(running.state, predictions(5_000))
    running.start()
    heard: list[Received] = []
    with running.client(since=0) as client:
        while len(heard) < 5_001:
            received = client.receive(0)
            if received is not None:
                heard.append(received)
    assert seqs(heard) == list(range(1, 5_002))


def test_one_topic_may_be_a_text(daemon: MakeDaemon) -> None:
    running = daemon()
    fill(running.state, [*predictions(3), *ends(2)])
    running.start()
    with Client(running.publish, running.replay, 0, topics="tinyast.v1.file.") as client:
        assert {received.topic for received in take(client, 2)} == {"tinyast.v1.file.done"}


@pytest.mark.parametrize("since", [-1, "3", 1.5])
def test_a_place_that_cannot_be_is_refused(since: Any) -> None:
    with pytest.raises(ValueError, match="since is the `seq`"):
        Client(since=since)


def test_no_daemon(tmp_path: Path) -> None:
    nobody = f"ipc://{tmp_path}/nobody"
    with Client(nobody, nobody) as client:
        assert client.receive(0.05) is None
        with pytest.raises(NoAnswer, match="no daemon answers at ipc://"):
            client.status(0.05)


def test_a_client_may_come_before_its_daemon(daemon: MakeDaemon) -> None:
    running = daemon()
    with running.client(since=0) as client:
        assert client.receive(0) is None
        running.start()
        assert take(client, 1)[0].topic == "tinyast.v1.status.started"


def test_endpoints_of_two_daemons_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client_module, "STRANGE_S", 0.1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        Station(tmp_path / "a") as one,
        Station(tmp_path / "b") as other,
    ):
        other.say(predictions(2))
        while other.delivery.newest["prediction"] < 2:  # no publisher tells the client of them
            time.sleep(0.001)
        with Client(one.publish, other.replay, since=0) as client:
            assert seqs(take(client, 2)) == [1, 2]
            while "belong to two daemons" not in caplog.text:
                one.beat()
                client.receive(0.02)
        assert f"{one.publish} and {other.replay} belong" in caplog.text


def test_a_closed_client_says_so(tmp_path: Path) -> None:
    nobody = f"ipc://{tmp_path}/nobody"
    with Client(nobody, nobody) as client:
        client.close()  # a second time is no error
    with pytest.raises(ValueError, match="the client is closed"):
        client.receive(0)


def test_another_thread_may_close_it_while_it_waits_for_messages(tmp_path: Path) -> None:
    with Station(tmp_path) as station, ThreadPoolExecutor(1) as pool:
        station.say(predictions(100))
        client = Client(station.publish, station.replay, since=0)
        heard: list[Received] = []
        waiting = pool.submit(heard.extend, client)
        while len(heard) < 100:
            time.sleep(0.001)
        client.close()
        waiting.result(60)  # it has ended, and raised nothing
        assert seqs(heard) == list(range(1, 101))
    with pytest.raises(ValueError, match="the client is closed"):
        list(client)


def test_another_thread_may_close_it_while_it_waits_for_an_answer(tmp_path: Path) -> None:
    nobody, mute = f"ipc://{tmp_path}/nobody", f"ipc://{tmp_path}/mute"
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as router,
        ThreadPoolExecutor(1) as pool,
    ):
        router.bind(mute)
        client = Client(nobody, mute, since=0)
        waiting = pool.submit(client.receive)
        router.recv_multipart()
        client.close()
        assert waiting.result(60) is None
    with pytest.raises(ValueError, match="the client is closed"):
        client.receive(0)
