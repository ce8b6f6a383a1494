"""Work on many clips, shared among processes, in the clips' order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from tinyast.errors import DataError

T = TypeVar("T")


@contextmanager
def shared_out(
    workers: int,
) -> Iterator[Callable[[Callable[[Path], T], Iterable[Path]], Iterator[T]]]:
    """A `map` over clips that keeps their order and shares them among `workers` processes.

    Each has one BLAS thread: more trip over each other, and add up in another order, which changes
    the last bits of a sum. One worker is this process itself.
    Raises DataError where a process is killed, as a system short of memory does.
    """
    if workers <= 1:
        with threadpool_limits(1, user_api="blas"):
            yield map
        return
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        with ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=_follow_parent,
        ) as pool:
            yield partial(pool.map, chunksize=8)
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


def _follow_parent() -> None:
    """In a worker: leave what happens to the process that started it."""
    # A terminal sends Ctrl-C to all of them; who started them says what there is to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # And if that one is killed, nobody else would ever tell a worker to end.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
