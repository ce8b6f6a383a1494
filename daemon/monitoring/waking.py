"""Wake a thread that waits for descriptors."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType


class Waker:
    """Its descriptor becomes readable when any thread calls `wake`.

    The waiting thread has the descriptor in a `with` block. A call before it is not lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called = False
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def __enter__(self) -> Waker:
        """Raises OSError if the system has no descriptors left."""
        inlet, outlet = socket.socketpair()
        for end in (inlet, outlet):
            end.setblocking(False)
        with self._lock:
            self._ends = inlet, outlet
            called = self._called
        if called:
            self.wake()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with self._lock:
            ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()

    def wake(self) -> None:
        with self._lock:
            self._called = True
            if self._ends is not None:
                with suppress(BlockingIOError):  # full, so awake
                    self._ends[0].send(b"\0")

    def fileno(self) -> int:
        """What the thread waits for; -1 outside the block."""
        return -1 if self._ends is None else self._ends[1].fileno()

    def clear(self) -> None:
        """Called by the thread, once awake."""
        if self._ends is not None:
            with suppress(BlockingIOError):
                self._ends[1].recv(4_096)
