"""How every thread of the service starts, works, fails and stops."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from daemon.errors import Abandoned, StartError
from daemon.monitoring.liveness import Liveness

log = logging.getLogger(__name__)

START_TRIES, START_AGAIN_S = 5, 0.05  # the system may have no thread to spare for a moment
STOP_S = 10.0  # for threads to end once they were asked to; a file system that hangs can hold them
HELD_S = 1.0  # for one that makes no progress


class ServiceThread:
    """A thread that does `work` until it is done or `stop` is called.

    It holds a `threading.Thread` and is not a subclass: newer versions of Python give that class
    more attributes, such as `_context`, which a subclass may overwrite.

    `liveness` tells whether it makes progress within `limit_s`. If `work` raises, the error is
    logged and given to `on_fault`, which the owner sets before `start`. It is a daemon thread: one
    that the operating system holds cannot keep the process from ending.
    """

    def __init__(self, name: str, limit_s: float) -> None:
        self.name = name
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.liveness = Liveness(limit_s)
        self.on_fault: Callable[[BaseException], None] | None = None
        self._halt = threading.Event()  # set by `stop`

    def work(self) -> None:
        """The body of the thread; returns soon after `_halt` is set."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the thread; try again if the system starts none. Raises RuntimeError in the end."""
        for tried in range(1, START_TRIES + 1):
            try:
                self._thread.start()
                return
            except RuntimeError:
                if tried == START_TRIES:
                    raise
                time.sleep(START_AGAIN_S)

    def stop(self) -> None:
        """Ask the thread to end. From any thread."""
        self._halt.set()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self.work()
        except Abandoned:
            pass  # the daemon stops, and the disk refuses writes
        except BaseException as error:
            log.exception("%s failed", self.name)
            if self.on_fault is not None:
                self.on_fault(error)
        finally:
            self.liveness.idle()


class Running:
    """Threads that run while the block does: started in order, then stopped together."""

    def __init__(
        self,
        threads: Sequence[ServiceThread],
        on_fault: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._threads, self._on_fault = threads, on_fault
        self._started: list[ServiceThread] = []

    def __enter__(self) -> None:
        try:
            for thread in self._threads:
                self.add(thread)
        except BaseException as error:
            self._stop()
            if isinstance(error, RuntimeError):
                raise StartError("the system starts no more threads") from error
            raise

    def add(self, thread: ServiceThread) -> None:
        """Start one more. Raises RuntimeError if the system starts no thread."""
        thread.on_fault = self._on_fault
        thread.start()
        self._started.append(thread)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        for thread in self._started:
            thread.stop()
        deadline = time.monotonic() + STOP_S
        for thread in self._started:
            left = HELD_S if thread.liveness.stalled else deadline - time.monotonic()
            thread.join(max(0.0, left))
            if thread.is_alive():
                log.error("%s does not stop; the process ends without it", thread.name)
