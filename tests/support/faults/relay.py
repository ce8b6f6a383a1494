"""A relay between a daemon and its subscribers that drops, delays, reorders and cuts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import zmq
from running import free_port

POLL_MS = 5

Frames = list[bytes]


@dataclass(frozen=True)
class Faults:
    """What happens on one link: probabilities for each message, request or answer."""

    drop: float = 0.0  # of a published message
    hold: float = 0.0  # of a published message, which then comes after later ones
    lose_request: float = 0.0
    lose_answer: float = 0.0
    delay_s: float = 0.0  # of every answer


@dataclass
class Link:
    """The way of one subscriber."""

    publish: str  # to connect to
    replay: str
    sub: zmq.Socket[bytes]
    pub: zmq.Socket[bytes]
    router: zmq.Socket[bytes]
    faults: Faults = Faults()
    beats: int = 0  # heartbeats that came from the daemon
    asked: dict[zmq.Socket[bytes], Frames] = field(default_factory=dict)  # and who asked
    held: list[tuple[int, Frames]] = field(default_factory=list)  # and how many pass before
    answers: list[tuple[float, Frames]] = field(default_factory=list)  # and when they are due


class Relay(threading.Thread):
    """Links to one daemon, each with separate faults. `links` name the endpoints."""

    def __init__(self, publish: str, replay: str, count: int, seed: int) -> None:
        super().__init__(name="relay")
        self._publish, self._replay = publish, replay
        self._random = random.Random(seed)
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._halt = threading.Event()
        self.links = [self._link() for _ in range(count)]
        self.dropped = self.cuts = self.late = 0

    # -- any thread ----------------------------------------------------------------------------

    def disturb(self, number: int, faults: Faults) -> None:
        link = self.links[number]

        def set_faults() -> None:
            link.faults = faults

        self._commands.put(set_faults)

    def cut(self, number: int) -> None:
        """Close every connection of a link, and accept new ones."""
        self._commands.put(lambda: self._cut(self.links[number]))

    def heal(self) -> None:
        """No more faults; delayed bytes arrive, late."""
        for link in self.links:
            self._commands.put(lambda link=link: self._heal(link))  # type: ignore[misc]

    def close(self) -> None:
        self._halt.set()
        self.join()
        self._context.destroy(linger=0)

    # -- the relay's thread --------------------------------------------------------------------

    def run(self) -> None:
        while not self._halt.is_set():
            try:
                while True:
                    self._commands.get_nowait()()
            except Empty:
                pass
            ready = dict(self._poller.poll(POLL_MS))
            for link in self.links:
                self._work(link, ready)

    def _work(self, link: Link, ready: dict[zmq.Socket[bytes], int]) -> None:
        if link.sub in ready:
            self._pass_message(link, link.sub.recv_multipart())
        if link.router in ready:
            request = link.router.recv_multipart()
            if self._random.random() >= link.faults.lose_request:
                self._ask(link, request)
        for dealer in [each for each in link.asked if each in ready]:
            answer = [*link.asked.pop(dealer), *dealer.recv_multipart()]
            self._forget(dealer)
            if self._random.random() >= link.faults.lose_answer:
                link.answers.append((time.monotonic() + link.faults.delay_s, answer))
        while link.answers and link.answers[0][0] <= time.monotonic():
            link.router.send_multipart(link.answers.pop(0)[1])

    def _ask(self, link: Link, request: Frames) -> None:
        """Pass a request on over a separate socket; the daemon is unaware of relays."""
        *envelope, body = request
        dealer = self._connected(zmq.DEALER, self._replay)
        dealer.send(body)
        self._poller.register(dealer, zmq.POLLIN)
        link.asked[dealer] = envelope

    def _pass_message(self, link: Link, frames: Frames) -> None:
        link.beats += frames[0] == b"tinyast.v1.heartbeat"
        chance = self._random.random()
        if chance < link.faults.drop:
            self.dropped += 1
            return
        if chance < link.faults.drop + link.faults.hold:
            link.held.append((self._random.randint(1, 6), frames))
            self.late += 1
            return
        link.pub.send_multipart(frames)
        link.held = [(left - 1, frames) for left, frames in link.held]
        for left, late in link.held:
            if left == 0:
                link.pub.send_multipart(late)
        link.held = [each for each in link.held if each[0] > 0]

    def _heal(self, link: Link) -> None:
        link.faults = Faults()
        for _, late in link.held:
            link.pub.send_multipart(late)
        link.held = []

    def _cut(self, link: Link) -> None:
        self.cuts += 1
        for socket in (link.pub, link.router, *link.asked):
            self._forget(socket)
        link.answers, link.asked = [], {}
        link.pub, link.router = (
            self._bound(zmq.PUB, link.publish),
            self._bound(zmq.ROUTER, link.replay),
        )
        self._poller.register(link.router, zmq.POLLIN)

    def _forget(self, socket: zmq.Socket[bytes]) -> None:
        if socket in self._poller:
            self._poller.unregister(socket)
        socket.close(linger=0)

    def _link(self) -> Link:
        publish, replay = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        link = Link(
            publish,
            replay,
            self._connected(zmq.SUB, self._publish),
            self._bound(zmq.PUB, publish),
            self._bound(zmq.ROUTER, replay),
        )
        link.sub.subscribe(b"")
        for socket in (link.sub, link.router):
            self._poller.register(socket, zmq.POLLIN)
        return link

    def _connected(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.reconnect_ivl = 10  # ms
        socket.connect(endpoint)
        return socket

    def _bound(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        """Bind as soon as the socket before has released the address."""
        deadline = time.monotonic() + 30
        socket = self._context.socket(kind)
        socket.linger = 0
        while True:
            try:
                socket.bind(endpoint)
                return socket
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE or time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
