"""Keys for endpoints that other machines can reach: the daemon's and its subscribers'.

A key directory holds `server.key` (public, to be given to subscribers), `server.key_secret`, and in
`clients/` one public key file for each subscriber that is let in. Files are ZeroMQ certificates
(https://rfc.zeromq.org/spec/27/ and pyzmq's zmq.auth), which other bindings read too.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import zmq
import zmq.auth
from msgspec import Struct

from daemon.errors import SettingsError, StartError, is_passing, words_for
from daemon.host.files import give_to_owner_of
from daemon.host.trust import check_private_tree

SERVER, CLIENTS = "server", "clients"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ServerKeys(Struct, frozen=True):
    """The daemon's key pair, Z85, and the folder of accepted clients' keys."""

    public: bytes
    secret: bytes
    clients: Path


class ClientKeys(Struct, frozen=True):
    """The keys that a subscriber uses for a daemon with keys: Z85, 40 characters."""

    server: bytes  # the daemon's public key
    public: bytes
    secret: bytes

    @classmethod
    def load(cls, server: Path | str, own: Path | str) -> ClientKeys:
        """Read `server.key` and one's own `NAME.key_secret`. Raises SettingsError."""
        public, secret = load_pair(Path(own))
        return cls(load_public(Path(server)), public, secret)

    def use_on(self, socket: zmq.Socket[bytes]) -> None:
        """Have a socket that is not connected yet use these keys."""
        socket.curve_serverkey = self.server
        socket.curve_publickey, socket.curve_secretkey = self.public, self.secret


def make_server(folder: Path) -> Path:
    """Make the daemon's key pair and an empty client folder; return the public key's file.

    Raises SettingsError if a pair exists: with a new one, subscribers would not trust the daemon.
    """
    if (folder / f"{SERVER}.key_secret").exists():
        raise SettingsError(f"{folder} has a server key already; remove it to make another")
    _make(folder, SERVER)
    (folder / CLIENTS).mkdir(mode=0o700, exist_ok=True)
    _hand_over(folder, folder / CLIENTS)
    return folder / f"{SERVER}.key"


def make_client(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a subscriber's key pair and accept it; return its public and secret file."""
    if not _NAME.fullmatch(name):
        raise SettingsError(f"`{name}` is not a name for a key: use only letters, digits, - and _")
    if not (folder / CLIENTS).is_dir():
        raise SettingsError(f"{folder} has no server key yet; run `tinyastd keygen {folder}` first")
    if (folder / CLIENTS / f"{name}.key").exists():
        raise SettingsError(f"{folder} has a key for `{name}` already; remove it to make another")
    _make(folder, name)
    public = folder / CLIENTS / f"{name}.key"
    os.rename(folder / f"{name}.key", public)
    return public, folder / f"{name}.key_secret"


def _make(folder: Path, name: str) -> None:
    before = os.umask(0o077)  # create_certificates leaves the secret to the umask
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            _hand_over(folder.absolute().parent, folder)
        for file in zmq.auth.create_certificates(folder, name):
            _hand_over(folder, Path(file))
    except OSError as error:
        raise SettingsError(f"cannot write keys to {folder}: {words_for(error, folder)}") from error
    finally:
        os.umask(before)


def _hand_over(folder: Path, made: Path) -> None:
    """Give keys that root makes in a service's directory to the service."""
    fd = os.open(made, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give_to_owner_of(folder, fd)
    finally:
        os.close(fd)


def load_server(folder: Path) -> ServerKeys:
    """The daemon's keys.

    Raises SettingsError if they are missing or others may read them, StartError if others may
    change them.
    """
    file = folder / f"{SERVER}.key_secret"
    public, secret = load_pair(file)
    clients = folder / CLIENTS
    check_private_tree(folder, "the key")
    check_private_tree(clients, "the key")
    for key in sorted(clients.glob("*.key")):
        if not key.is_file():
            raise StartError(f"the key {key} is not a regular file; remove it")
    if not clients.is_dir():
        raise SettingsError(f"{folder} has no folder {CLIENTS} for the keys of its clients")
    return ServerKeys(public, secret, clients)


def load_pair(file: Path) -> tuple[bytes, bytes]:
    """Public and secret key of a secret key file.

    Raises SettingsError, and StartError if the system cannot read it now.
    """
    try:
        mode = file.stat().st_mode
        public, secret = _certificate(file)
    except PermissionError as error:
        raise SettingsError(
            f"user {os.geteuid()} may not read the key {file}; a service reads keys that lie in "
            "its own state directory: `tinyastd keygen /var/lib/tinyast/keys`"
        ) from error
    except (OSError, ValueError) as error:
        _raise_if_passing(file, error)
        raise SettingsError(
            f"cannot read the key {file}: {_words(error)}; make it with `tinyastd keygen`"
        ) from error
    if secret is None:
        raise SettingsError(f"{file} holds no secret key; name the file that ends in key_secret")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"others may read the secret key {file}; run `chmod 600 {file}`")
    return public, secret


def _certificate(file: Path) -> tuple[bytes, bytes | None]:
    """Public and secret key. Raises OSError, and ValueError for a FIFO, which would never end."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("it is not a regular file")
    return zmq.auth.load_certificate(file)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it holds no key" if "No public key found" in str(error) else str(error)


def _raise_if_passing(file: Path, error: Exception) -> None:
    # pyzmq's own OSError, about a file that is no key, has no errno.
    if isinstance(error, OSError) and error.errno and is_passing(error):
        raise StartError(f"cannot read the key {file} now: {error.strerror}") from error


def load_public(file: Path) -> bytes:
    """The public key of a key file.

    Raises SettingsError, and StartError if the system cannot read it now.
    """
    try:
        return _certificate(file)[0]
    except (OSError, ValueError) as error:
        _raise_if_passing(file, error)
        raise SettingsError(
            f"cannot read the key {file}: {_words(error)}; name server.key or a NAME.key of "
            "`tinyastd keygen`"
        ) from error


def allowed(clients: Path) -> frozenset[bytes]:
    """The current public keys, Z85, of accepted clients. Ignores files that are not keys.

    Raises OSError if the system cannot read the folder.
    """
    keys = set()
    try:
        for name in os.listdir(clients):
            if name.endswith(".key"):
                keys.update(_public_key(clients / name))
    except OSError as error:
        if is_passing(error):
            raise
        return frozenset()
    return frozenset(keys)


def _public_key(file: Path) -> list[bytes]:
    """The public key in a file; empty without one."""
    try:
        return [_certificate(file)[0]]
    except OSError as error:
        if is_passing(error):
            raise
        return []
    except ValueError:
        return []
