"""If the daemon has keys, a client without an accepted key hears not a single byte."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
import zmq.auth
from running import SOON_S, Daemon, free_port, of_type
from sounds import write_wav

from daemon.client import Client, ClientKeys
from daemon.delivery.authenticator import Authenticator, secure
from daemon.delivery.connections import ConnectionMonitor
from daemon.errors import SettingsError
from daemon.monitoring.service_thread import Running
from daemon.protocol.keys import allowed, load_pair, load_server, make_client, make_server

MakeDaemon = Callable[..., Daemon]
LISTEN_S = 1.0  # for a stranger to hear something in
Socket = zmq.Socket[bytes]
Prepare = Callable[[Socket], None]


def make_keys(folder: Path) -> Path:
    make_server(folder)
    make_client(folder, "friend")
    return folder


def on_tcp(listening: Daemon) -> Daemon:
    listening.publish = f"tcp://127.0.0.1:{free_port()}"
    listening.replay = f"tcp://127.0.0.1:{free_port()}"
    return listening.start()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return make_keys(tmp_path / "keys")


@pytest.fixture
def guarded(daemon: MakeDaemon, keys: Path) -> Daemon:
    return on_tcp(daemon("--keys", str(keys)))


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon with keys for all strangers, who leave it as it was."""
    base = tmp_path_factory.mktemp("standing")
    listening = Daemon(base, "--keys", str(make_keys(base / "keys")))
    yield on_tcp(listening)
    listening.clean_up()


def friend(listening: Daemon, keys: Path, name: str = "friend") -> Client:
    mine = ClientKeys.load(keys / "server.key", keys / f"{name}.key_secret")
    return Client(listening.publish, listening.replay, 0, keys=mine)


def hears(client: Client, path: Path, timeout: float = SOON_S) -> bool:
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


def stranger_hears(listening: Daemon, friend: Client, prepare: Prepare, kind: int) -> int:
    """Bytes that reach a stranger at one endpoint until a friend has heard a file's end."""
    context = zmq.Context()
    try:
        stranger = context.socket(kind)
        stranger.linger = 0
        prepare(stranger)
        if kind == zmq.SUB:
            stranger.subscribe(b"")
            stranger.connect(listening.publish)
        else:
            stranger.connect(listening.replay)
            stranger.send(b'{"since": 0}')
            stranger.send(b'{"status": true}')
        heard = received_by(stranger, LISTEN_S / 2)  # it has time to connect
        path = write_wav(listening.folder / f"{time.monotonic_ns()}.wav")
        assert hears(friend, path)
        return heard + received_by(stranger, LISTEN_S / 10)
    finally:
        context.destroy(linger=0)


def received_by(stranger: Socket, seconds: float) -> int:
    """All bytes until none has come for that time."""
    heard = 0
    while stranger.poll(round(1000 * seconds)):
        heard += sum(map(len, stranger.recv_multipart()))
    return heard


def no_key(_: Socket, keys: Path) -> None:
    pass


def the_servers_public_key_alone(stranger: Socket, keys: Path) -> None:
    stranger.curve_serverkey = load_server(keys).public
    stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()


def another_servers_key(stranger: Socket, keys: Path) -> None:
    stranger.curve_serverkey = zmq.curve_keypair()[0]
    stranger.curve_publickey, stranger.curve_secretkey = load_pair(keys / "friend.key_secret")


def a_friends_public_key_without_the_secret(stranger: Socket, keys: Path) -> None:
    stranger.curve_serverkey = load_server(keys).public
    stranger.curve_publickey = load_pair(keys / "friend.key_secret")[0]
    stranger.curve_secretkey = zmq.curve_keypair()[1]


def the_servers_own_pair(stranger: Socket, keys: Path) -> None:
    stranger.curve_serverkey = load_server(keys).public
    stranger.curve_publickey, stranger.curve_secretkey = load_pair(keys / "server.key_secret")


def a_key_that_was_taken_away(stranger: Socket, keys: Path) -> None:
    (keys / "former.key_secret").unlink(missing_ok=True)
    make_client(keys, "former")[0].unlink()
    stranger.curve_serverkey = load_server(keys).public
    stranger.curve_publickey, stranger.curve_secretkey = load_pair(keys / "former.key_secret")


def a_password(stranger: Socket, keys: Path) -> None:
    stranger.plain_username, stranger.plain_password = b"admin", b"admin"


WAYS = (
    no_key,
    the_servers_public_key_alone,
    another_servers_key,
    a_friends_public_key_without_the_secret,
    the_servers_own_pair,
    a_key_that_was_taken_away,
    a_password,
)
KINDS = pytest.mark.parametrize("kind", [zmq.SUB, zmq.DEALER], ids=["publish", "replay"])


@KINDS
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_without_a_listed_key_not_a_byte_is_heard(
    standing: Daemon, way: Callable[[Socket, Path], None], kind: int
) -> None:
    keys = standing.base / "keys"
    with friend(standing, keys) as client:  # which suffered no harm
        assert stranger_hears(standing, client, lambda each: way(each, keys), kind) == 0


@pytest.mark.parametrize(
    ("endpoint", "kind"), [("publish", b"SUB"), ("replay", b"DEALER")], ids=["publish", "replay"]
)
def test_plain_tcp_hears_only_the_greeting(standing: Daemon, endpoint: str, kind: bytes) -> None:
    """A ZMTP peer that skips the handshake gets the 64-byte greeting and no more."""
    port = int(getattr(standing, endpoint).rpartition(":")[2])
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    said = b"\x00\x01\x01" if kind == b"SUB" else b'\x00\x0c{"since": 0}'
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(LISTEN_S)
        peer.sendall(greeting + b"\x04" + bytes([len(ready)]) + ready + said)
        write_wav(standing.folder / "plain.wav")
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
        guarded.wait_for(lambda: b"key was removed" in guarded.log.read_bytes(), "without the key")
        path = write_wav(guarded.folder / "one.wav", seed=1)
        assert hears(one, path), "who is still let in was lost"
        assert not hears(late, path, LISTEN_S), "a key that was taken away still hears"
    assert guarded.process.poll() is None


Ending = Callable[[zmq.Context[zmq.Socket[bytes]], Authenticator], None]


def never_there(_: zmq.Context[zmq.Socket[bytes]], authenticator: Authenticator) -> None:
    authenticator.close()


def ended(context: zmq.Context[zmq.Socket[bytes]], authenticator: Authenticator) -> None:
    with Running([ConnectionMonitor(context, authenticator)]):
        pass


@KINDS
@pytest.mark.parametrize("end", [never_there, ended], ids=lambda end: end.__name__)
def test_without_an_authenticator_nobody_gets_in(keys: Path, end: Ending, kind: int) -> None:
    """If its thread has ended, the door must be closed, not open."""
    context = zmq.Context()
    mine = load_server(keys)
    authenticator = Authenticator(context, mine.clients)
    server = context.socket(zmq.PUB if kind == zmq.SUB else zmq.ROUTER)
    client = context.socket(kind)
    try:
        secure(server, mine)
        server.bind("tcp://127.0.0.1:*")
        end(context, authenticator)
        client.curve_serverkey = mine.public
        client.curve_publickey, client.curve_secretkey = load_pair(keys / "friend.key_secret")
        if kind == zmq.SUB:
            client.subscribe(b"")
        client.connect(server.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
        deadline = time.monotonic() + LISTEN_S
        while time.monotonic() < deadline:
            if kind == zmq.SUB:
                server.send(b"secret")
                assert not client.poll(20)
            else:
                client.send(b'{"since": 0}', zmq.NOBLOCK)
                assert not server.poll(20), "a request came in"
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_keys_that_root_makes_are_the_services_to_read(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65_534, 65_534)
    make_server(state / "keys")
    _, secret = make_client(state / "keys", "friend")
    made = [state / "keys", *(state / "keys").rglob("*")]
    assert secret in made
    assert len(made) == 6
    assert {(each.stat().st_uid, each.stat().st_gid) for each in made} == {(65_534, 65_534)}
    assert {each.stat().st_mode & 0o077 for each in made} == {0}
