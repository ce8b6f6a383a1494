"""Where the daemon has keys, nobody without one of those let in hears a single byte."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
import zmq.auth
from running import Daemon, free_port, of_type
from sounds import write_wav

from daemon.client import Client, ClientKeys
from daemon.errors import SettingsError
from daemon.gate import Gate, secure
from daemon.keys import allowed, load_pair, load_server, make_client, make_server

MakeDaemon = Callable[..., Daemon]
LISTEN_S = 2.0  # for a stranger to hear something in


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    make_server(folder)
    make_client(folder, "friend")
    return folder


@pytest.fixture
def guarded(daemon: MakeDaemon, keys: Path) -> Daemon:
    listening = daemon("--keys", str(keys))
    listening.publish = f"tcp://127.0.0.1:{free_port()}"
    listening.replay = f"tcp://127.0.0.1:{free_port()}"
    listening.spawn()
    listening.wait_for(lambda: b"ready" in listening.log.read_bytes(), "ready")
    return listening


def friend(listening: Daemon, keys: Path, name: str = "friend") -> Client:
    mine = ClientKeys.load(keys / "server.key", keys / f"{name}.key_secret")
    return Client(listening.publish, listening.replay, 0, keys=mine)


def hears(client: Client, path: Path, timeout: float = 30) -> bool:
    """Whether the end state of a file reaches a client."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        received = client.receive(0.5)
        ends = of_type([received], "file") if received else []
        if ends and ends[0]["source"]["path"] == str(path):
            return True
    return False


def test_a_listed_key_hears_and_can_ask_for_replay(guarded: Daemon, keys: Path) -> None:
    first = write_wav(guarded.folder / "first.wav")
    with friend(guarded, keys) as client:
        assert hears(client, first)
        assert hears(client, write_wav(guarded.folder / "second.wav", seed=1))
    with friend(guarded, keys) as late:
        assert hears(late, first)
        assert late.status()["pid"] == guarded.process.pid


def stranger_hears(listening: Daemon, prepare: Callable[[zmq.Socket[bytes]], None]) -> int:
    """Bytes that reach a stranger at both endpoints while a file is classified."""
    context = zmq.Context()
    try:
        sub, dealer = context.socket(zmq.SUB), context.socket(zmq.DEALER)
        for each in (sub, dealer):
            each.linger = 0
            prepare(each)
        sub.subscribe(b"")
        sub.connect(listening.publish)
        dealer.connect(listening.replay)
        dealer.send(b'{"since": 0}')
        dealer.send(b'{"status": true}')
        write_wav(listening.folder / f"{time.monotonic_ns()}.wav")
        poller = zmq.Poller()
        poller.register(sub, zmq.POLLIN)
        poller.register(dealer, zmq.POLLIN)
        deadline = time.monotonic() + LISTEN_S
        heard = 0
        while (left := deadline - time.monotonic()) > 0:
            for each, _ in poller.poll(round(1000 * left)):
                heard += sum(map(len, each.recv_multipart()))
        return heard
    finally:
        context.destroy(linger=0)


def no_key(_: zmq.Socket[bytes]) -> None:
    pass


def test_strangers_hear_nothing(guarded: Daemon, keys: Path) -> None:
    server = load_server(keys).public

    def server_key_and_one_of_ones_own(each: zmq.Socket[bytes]) -> None:
        each.curve_serverkey = server
        each.curve_publickey, each.curve_secretkey = zmq.curve_keypair()

    def wrong_server_key(each: zmq.Socket[bytes]) -> None:
        each.curve_serverkey = zmq.curve_keypair()[0]
        each.curve_publickey, each.curve_secretkey = load_pair(keys / "friend.key_secret")

    def a_friends_public_key_without_the_secret(each: zmq.Socket[bytes]) -> None:
        each.curve_serverkey = server
        each.curve_publickey = load_pair(keys / "friend.key_secret")[0]
        each.curve_secretkey = zmq.curve_keypair()[1]

    def a_password(each: zmq.Socket[bytes]) -> None:
        each.plain_username, each.plain_password = b"admin", b"admin"

    for prepare in (
        no_key,
        server_key_and_one_of_ones_own,
        wrong_server_key,
        a_friends_public_key_without_the_secret,
        a_password,
    ):
        assert stranger_hears(guarded, prepare) == 0, prepare.__name__
    with friend(guarded, keys) as client:  # and the daemon is none the worse for it
        assert hears(client, write_wav(guarded.folder / "after.wav"))


def test_plain_tcp_hears_only_the_greeting(guarded: Daemon) -> None:
    """A ZMTP peer that skips the handshake gets the 64-byte greeting and no more."""
    port = int(guarded.publish.rpartition(":")[2])
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(LISTEN_S)
        peer.sendall(greeting + b"\x04\x26\x05READY\x0bSocket-Type\0\0\0\x03SUB" + b"\x00\x01\x01")
        write_wav(guarded.folder / "a.wav")
        heard = b""
        try:
            while data := peer.recv(65_536):
                heard += data
        except (TimeoutError, ConnectionError):
            pass
    assert b"tinyast" not in heard
    assert len(heard) <= 64


def test_keys_come_and_go_without_a_restart(guarded: Daemon, keys: Path) -> None:
    make_client(keys, "late")
    with friend(guarded, keys) as one, friend(guarded, keys, "late") as late:
        path = write_wav(guarded.folder / "both.wav")
        assert hears(one, path)
        assert hears(late, path)
        (keys / "clients" / "late.key").unlink()
        guarded.wait_for(lambda: b"taken away" in guarded.log.read_bytes(), "without the key")
        path = write_wav(guarded.folder / "one.wav", seed=1)
        assert hears(one, path), "who is still let in was lost"
        assert not hears(late, path, LISTEN_S), "a key that was taken away still hears"
    assert guarded.process.poll() is None


def test_without_a_gate_nobody_gets_in(keys: Path) -> None:
    """A dead ZAP thread must close the door, not open it."""
    context = zmq.Context()
    mine = load_server(keys)
    gate = Gate(context, mine.clients)
    publisher, sub = context.socket(zmq.PUB), context.socket(zmq.SUB)
    try:
        secure(publisher, mine)
        publisher.bind("tcp://127.0.0.1:*")
        gate.close()  # never started, and now not even bound
        sub.curve_serverkey = mine.public
        sub.curve_publickey, sub.curve_secretkey = load_pair(keys / "friend.key_secret")
        sub.subscribe(b"")
        sub.connect(publisher.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
        deadline = time.monotonic() + LISTEN_S
        while time.monotonic() < deadline:
            publisher.send(b"secret")
            assert not sub.poll(20)
    finally:
        context.destroy(linger=0)


def test_endpoints_that_others_reach_are_refused_without_keys(daemon: MakeDaemon) -> None:
    listening = daemon()
    listening.publish = "tcp://0.0.0.0:*"
    ended = subprocess.run(listening.command(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "keygen" in ended.stderr
    listening.options.append("--insecure")
    listening.start()
    assert "anyone" in listening.tail()


def test_by_default_only_loopback_listens(daemon: MakeDaemon) -> None:
    listening = daemon()
    listening.publish = f"tcp://127.0.0.1:{free_port()}"
    listening.replay = f"tcp://127.0.0.1:{free_port()}"
    listening.start()
    ours = set()
    for fd in os.scandir(f"/proc/{listening.process.pid}/fd"):
        try:
            ours.add(os.readlink(fd.path))
        except OSError:
            continue
    rows = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in ours:
                rows.append(fields[1].partition(":")[0])
    assert rows == ["0100007F", "0100007F"]  # 127.0.0.1, as /proc writes it


def test_secret_keys_are_for_their_owner_alone(keys: Path) -> None:
    for file in keys.rglob("*.key_secret"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (keys / "server.key_secret").chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_server(keys)


def test_files_that_are_no_keys_let_nobody_in(keys: Path) -> None:
    (keys / "clients" / "junk.key").write_text("not a key")
    (keys / "clients" / "empty.key").write_bytes(b"")
    assert allowed(keys / "clients") == {load_pair(keys / "friend.key_secret")[0]}


def test_keygen_tells_what_to_do_next(tmp_path: Path) -> None:
    def keygen(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "daemon", "keygen", str(tmp_path / "k"), *options]
        return subprocess.run(command, capture_output=True, text=True)

    assert keygen("--client", "too-early").returncode == 2
    made = keygen()
    assert made.returncode == 0
    assert "--client" in made.stdout
    assert keygen().returncode == 2, "a server key was replaced"
    made = keygen("--client", "desk")
    assert made.returncode == 0
    assert "listen --own-key" in made.stdout
    assert keygen("--client", "../evil").returncode == 2
    assert allowed(tmp_path / "k" / "clients")
