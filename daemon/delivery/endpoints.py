"""Where the daemon can be reached: both endpoints, and the gate where they have keys."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import zmq

from daemon.delivery.authenticator import Gate
from daemon.delivery.connections import Visitors
from daemon.delivery.endpoint import Context, Endpoint
from daemon.errors import SettingsError
from daemon.host.tcp import is_loopback
from daemon.protocol.keys import ServerKeys

log = logging.getLogger(__name__)

SEND_HWM = 4_000  # messages kept for one slow subscriber; beyond that it has to ask for replay
REPLIES_HWM = 8  # unread replies kept for one client, which asks again for what is dropped


@dataclass
class Endpoints:
    """Both, bound, with gate and visitors not started yet; `close` comes last."""

    context: Context
    publisher: Endpoint
    router: Endpoint
    gate: Gate | None
    visitors: Visitors

    def close(self) -> None:
        self.publisher.close()
        self.router.close()
        self.visitors.close()
        if self.gate is not None:
            self.gate.close()
        self.context.term()
        self.publisher.release()
        self.router.release()


def bind(publish: str, replay: str, insecure: bool, keys: ServerKeys | None = None) -> Endpoints:
    """Bind both endpoints. Raises SettingsError for a bad one, StartError for one that is taken."""
    for name, endpoint in (("publish", publish), ("replay", replay)):
        check_endpoint(name, endpoint, open_to_all=insecure or keys is not None)
        if insecure and keys is None and not _stays_here(endpoint):
            log.warning("`insecure`: anyone who reaches %s %s can read it", name, endpoint)
    context = zmq.Context()
    gate = publisher = None
    visitors = Visitors(context)
    try:
        if keys is not None:
            gate = Gate(context, keys.clients)
        publisher = Endpoint(context, "publish", zmq.PUB, publish, SEND_HWM, keys, visitors)
        router = Endpoint(context, "replay", zmq.ROUTER, replay, REPLIES_HWM, keys, visitors)
    except BaseException:
        if publisher is not None:
            publisher.close()
        visitors.close()
        if gate is not None:
            gate.close()
        context.term()
        if publisher is not None:
            publisher.release()
        raise
    return Endpoints(context, publisher, router, gate, visitors)


def check_endpoint(name: str, endpoint: str, open_to_all: bool) -> None:
    """Raise SettingsError for an endpoint that cannot be bound, or that strangers could reach."""
    scheme, _, address = endpoint.partition("://")
    if scheme == "ipc" and address:
        return
    host, _, port = address.rpartition(":")
    if scheme != "tcp" or not host or not (port == "*" or port.isdigit()):
        raise SettingsError(
            f"`{name}` is `{endpoint}`; an endpoint looks like tcp://127.0.0.1:5755 or "
            "ipc:///run/tinyast/publish"
        )
    if not open_to_all and not _stays_here(endpoint):
        raise SettingsError(
            f"`{name}` is `{endpoint}`, which anyone on other machines could read; make keys with "
            "`tinyastd keygen DIR` and name them with `keys`, or use 127.0.0.1, or say "
            "`insecure = true` (--insecure) where the network keeps strangers out"
        )


def _stays_here(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint."""
    scheme, _, address = endpoint.partition("://")
    return scheme == "ipc" or is_loopback(address.rpartition(":")[0])
