"""The sockets behind an endpoint: one for its clients, and one that only this process can reach."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from daemon.errors import StartError
from daemon.host.tcp import holder_of_port

BACKLOG = 1_024  # connections that wait to be accepted
_SIOCGIFADDR = 0x8915  # the IPv4 address of an interface (netdevice(7))


class Listener(Struct, frozen=True):
    """A socket that listens for clients."""

    socket: socket.socket
    address: str  # as bound: with the port that replaced a *

    def close(self) -> None:
        self.socket.close()
        if self.address.startswith("ipc://"):
            with suppress(FileNotFoundError):
                os.unlink(self.address.removeprefix("ipc://"))


def listen(name: str, address: str) -> Listener:
    """Listen at a tcp:// or ipc:// address. Raises StartError, with the holder, if it is taken."""
    try:
        if address.startswith("ipc://"):
            return _listen_at_path(address)
        return _listen_at_port(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            port = address.rpartition(":")[2]
            raise StartError(
                f"{name} endpoint {address} is in use by {holder_of_port(int(port))}; "
                f"stop that process, or name another with --{name}"
            ) from error
        raise StartError(f"cannot bind {name} endpoint {address}: {error.strerror}") from error


def _listen_at_path(address: str) -> Listener:
    path = address.removeprefix("ipc://")
    with suppress(FileNotFoundError):
        os.unlink(path)  # of a daemon that was killed; a lock keeps out one that runs
    with _closed_on_error(socket.AF_UNIX) as made:
        try:
            made.bind(path)
        except OSError as error:
            if error.errno is None:  # Python's own error for a path of over 107 bytes
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)) from error
            raise
        made.listen(BACKLOG)
    return Listener(made, address)


def _listen_at_port(address: str) -> Listener:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    family, bound = _resolve(host, 0 if port == "*" else int(port))
    with _closed_on_error(family) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(bound)
        made.listen(BACKLOG)
    host, port = made.getsockname()[:2]
    return Listener(made, f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}")


@contextmanager
def _closed_on_error(family: int) -> Iterator[socket.socket]:
    """A new socket that does not block."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        yield made
    except BaseException:
        made.close()
        raise


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    """Family and address of a number, a name, a network interface, or `*` for all IPv4 ones."""
    if host == "*":
        return socket.AF_INET, ("0.0.0.0", port)
    if (of_interface := _address_of(host)) is not None:
        return socket.AF_INET, (of_interface, port)
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(errno.ENODEV, "this machine has no such address or interface") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


def _address_of(interface: str) -> str | None:
    """The IPv4 address of a network interface; None if there is no such interface (Linux)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", interface.encode()[:15])
        try:
            return socket.inet_ntoa(fcntl.ioctl(probe, _SIOCGIFADDR, request)[20:24])
        except OSError:
            return None


class Inner:
    """A Unix socket for libzmq to listen on, which only this process can connect to.

    Its file is deleted at once, and reached through a descriptor (Linux). Elsewhere it stays, in a
    folder that only this user can enter, until `close`.
    """

    def __init__(self, state: Path | None = None) -> None:
        self._folder = _private_folder(state)
        self._file = self._folder / "s"
        self._fd = -1
        try:
            with _closed_on_error(socket.AF_UNIX) as self.socket:
                self.socket.bind(_short(self._folder, self._file))
                self.socket.listen(BACKLOG)
                self.path = self._hide()
        except OSError as error:
            self.close()
            raise StartError(f"cannot make a socket in {self._folder}: {error.strerror}") from error

    def _hide(self) -> str:
        if not hasattr(os, "O_PATH") or not os.path.isdir("/proc/self/fd"):
            return str(self._file)
        self._fd = os.open(self._file, os.O_PATH | os.O_CLOEXEC)
        self._delete()
        return f"/proc/self/fd/{self._fd}"

    def _delete(self) -> None:
        with suppress(OSError):
            self._file.unlink()
        with suppress(OSError):
            self._folder.rmdir()

    def connect(self) -> tuple[socket.socket, bytes]:
        """A new connection, and its name, by which the other side knows it.

        The name is empty if the system does not give names. Raises BlockingIOError if too many
        wait, OSError if there are no descriptors.
        """
        with _closed_on_error(socket.AF_UNIX) as made:
            name = b""
            if hasattr(os, "O_PATH"):
                made.bind("")  # Linux invents a name (unix(7), autobind)
                name = made.getsockname()
            made.connect(self.path)
        return made, name

    def close(self) -> None:
        self._delete()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def name_of_peer(fd: int) -> bytes:
    """The name of the other end of a connection of libzmq. Raises OSError if it is gone."""
    borrowed = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        name = borrowed.getpeername()
        return name if isinstance(name, bytes) else b""
    finally:
        borrowed.detach()


def _private_folder(state: Path | None) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="tinyast-"))
    except OSError as error:
        if state is None:
            raise StartError(f"no folder for a private socket: {error}; set TMPDIR") from error
    return Path(tempfile.mkdtemp(prefix="socket-", dir=state))


def _short(folder: Path, file: Path) -> str:
    """A name for `file` that fits in the address of a socket, which takes 107 bytes."""
    if len(os.fsencode(file)) < 100:
        return str(file)
    # It need not be closed: a start has one such folder at most.
    return f"/proc/self/fd/{os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}/{file.name}"
