"""Work on many clips, shared among processes, in the clips' order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from tinyast.errors import DataError
from tinyast.threads import LIMITS

T = TypeVar("T")


@contextmanager
def shared_out(
    workers: int,
) -> Iterator[Callable[[Callable[[Path], T], Iterable[Path]], Iterator[T]]]:
    """A `map` over clips that keeps their order and shares them among `workers` processes.

    Each has one BLAS thread: more trip over each other, and add up in another order, which changes
    the last bits of a sum. One worker is this process itself.
    Raises DataError if a process is killed, as a system short of memory does.
    """
    if workers <= 1:
        with threadpool_limits(1, user_api="blas"):
            yield map
        return
    before = {name: os.environ.get(name) for name in LIMITS}
    os.environ.update(dict.fromkeys(LIMITS, "1"))
    try:
        with ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=_watch_parent,
        ) as pool:

            def share(work: Callable[[Path], T], paths: Iterable[Path]) -> Iterator[T]:
                with _interrupts_held():  # all processes are started here
                    return pool.map(work, paths, chunksize=8)

            yield share
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process was killed: is there memory enough? Try fewer (--workers 1)"
        ) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block; processes started in it ignore it.

    A terminal sends it to all processes; only the parent reports it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_parent() -> None:
    """In a worker: end if the parent is killed, because no other process would end it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
