"""Wake a thread that waits for descriptors."""

from __future__ import annotations

import socket
from contextlib import suppress


class Waker:
    """A descriptor that becomes readable when any thread calls `wake`."""

    def __init__(self) -> None:
        """Raises OSError if the system has no descriptors left."""
        self._inlet, self._outlet = socket.socketpair()
        for end in (self._inlet, self._outlet):
            end.setblocking(False)

    def wake(self) -> None:
        with suppress(OSError):  # full, so awake; or closed, since the waiting thread has ended
            self._inlet.send(b"\0")

    def fileno(self) -> int:
        """What the thread waits for. -1 once closed."""
        return self._outlet.fileno()

    def clear(self) -> None:
        """Called by the thread, once awake."""
        with suppress(OSError):
            self._outlet.recv(4_096)

    def close(self) -> None:
        self._inlet.close()
        self._outlet.close()
