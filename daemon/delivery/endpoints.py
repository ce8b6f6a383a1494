"""Bind both endpoints, with their authenticator if they have keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zmq
from msgspec import Struct

from daemon.delivery.authenticator import Authenticator
from daemon.delivery.connections import ConnectionMonitor
from daemon.delivery.door import Door
from daemon.delivery.endpoint import Endpoint, ipc_lock, starting_zeromq
from daemon.errors import SettingsError
from daemon.host.tcp import check_endpoint_form, is_loopback
from daemon.monitoring.service_thread import Running
from daemon.protocol.keys import ServerKeys

log = logging.getLogger(__name__)

SEND_HWM = 4_000  # messages kept for one slow subscriber; it must ask replay for further ones
REPLIES_HWM = 8  # unread replies kept for one client, which asks again for dropped ones


class Endpoints(Struct, frozen=True):
    """Both endpoints, bound, with their connections counted and their keys checked."""

    publisher: Endpoint
    router: Endpoint
    authenticator: Authenticator | None
    monitor: ConnectionMonitor
    door: Door

    def drop_all(self) -> None:
        """Drop every connection; clients come back, and show their keys again."""
        self.publisher.drop_all()
        self.router.drop_all()


@contextmanager
def bind(
    publish: str,
    replay: str,
    insecure: bool,
    keys: ServerKeys | None = None,
    on_fault: Callable[[BaseException], None] | None = None,
    state: Path | None = None,
) -> Iterator[Endpoints]:
    """Bind both endpoints for as long as the block runs.

    Raises SettingsError for an endpoint that cannot be used, StartError for one that is taken.
    `on_fault` receives the error if a thread that tends the connections fails. Private sockets are
    made in the folder for temporary files, or in `state` if there is none.
    """
    for name, endpoint in (("publish", publish), ("replay", replay)):
        check_endpoint(name, endpoint, open_to_all=insecure or keys is not None)
        if insecure and keys is None and not _stays_here(endpoint):
            log.warning("`insecure`: anyone who reaches %s %s can read it", name, endpoint)
    with ExitStack() as stack:
        for name, endpoint in (("publish", publish), ("replay", replay)):
            if endpoint.startswith("ipc://"):
                lock = ipc_lock(name, Path(endpoint.removeprefix("ipc://")))
                stack.callback(lock.release)
        door = Door()
        stack.enter_context(Running([door], on_fault))
        with starting_zeromq():
            context = stack.enter_context(zmq.Context())
            authenticator = None
            if keys is not None:
                authenticator = Authenticator(context, keys.clients)
                stack.callback(authenticator.close)
            monitor = ConnectionMonitor(context, authenticator)
            stack.enter_context(Running([monitor], on_fault))
            publisher, router = (
                _open(stack, Endpoint(context, name, kind, to, hwm, keys, monitor, door, state))
                for name, kind, to, hwm in (
                    ("publish", zmq.PUB, publish, SEND_HWM),
                    ("replay", zmq.ROUTER, replay, REPLIES_HWM),
                )
            )
        yield Endpoints(publisher, router, authenticator, monitor, door)


def _open(stack: ExitStack, endpoint: Endpoint) -> Endpoint:
    stack.callback(endpoint.close)
    return endpoint


def check_endpoint(name: str, endpoint: str, open_to_all: bool) -> None:
    """Raise SettingsError for an endpoint that cannot be bound, or that strangers could reach."""
    check_endpoint_form(name, endpoint)
    if not open_to_all and not _stays_here(endpoint):
        raise SettingsError(
            f"`{name}` is `{endpoint}`, which anyone on other machines could read; make keys with "
            "`tinyastd keygen DIR` and name them with `keys`, or use 127.0.0.1, or set "
            "`insecure = true` (--insecure) where the network keeps strangers out"
        )


def _stays_here(endpoint: str) -> bool:
    """Whether an endpoint is reachable only from this machine."""
    scheme, _, address = endpoint.partition("://")
    return scheme == "ipc" or is_loopback(address.rpartition(":")[0])
