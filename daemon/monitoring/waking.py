"""Wake a thread that waits for descriptors."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Waker:
    """Its descriptor becomes readable when any thread calls `wake`.

    The waiting thread has the descriptor while it is `waiting`. A call before that is not lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called = False
        self._ends: tuple[socket.socket, socket.socket] | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Have the descriptor. Raises OSError if the system has none left."""
        inlet, outlet = socket.socketpair()
        with inlet, outlet:
            for end in (inlet, outlet):
                end.setblocking(False)
            with self._lock:
                self._ends = inlet, outlet
                called = self._called
            try:
                if called:
                    self.wake()
                yield
            finally:
                with self._lock:
                    self._ends = None

    def wake(self) -> None:
        with self._lock:
            self._called = True
            if self._ends is not None:
                with suppress(BlockingIOError):  # full, so awake
                    self._ends[0].send(b"\0")

    def fileno(self) -> int:
        """What the thread waits for; -1 while it is not `waiting`."""
        return -1 if self._ends is None else self._ends[1].fileno()

    def clear(self) -> None:
        """Called by the thread, once awake."""
        if self._ends is not None:
            with suppress(BlockingIOError):
                self._ends[1].recv(4_096)
