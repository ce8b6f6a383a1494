"""What to raise when the system refuses descriptors, threads or memory, in words for the user.

A library in C++ may abort the process when that happens. `crash_explained` lets it end with a line
that says so, and with the exit code of a start that may succeed later.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from _thread import start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager

from daemon.errors import StartError

FREE = 64  # descriptors: a start takes some 45, and files in work need a few
LONGEST_S = 10  # to explain a crash
_CRASHES = (signal.SIGABRT, signal.SIGSEGV)
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


def require_descriptors(free: int = FREE) -> None:
    """Raise StartError, with the remedy, unless this process may open `free` more files."""
    opened = []
    try:
        for _ in range(free):
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise StartError(
            f"the daemon needs {free} descriptors and may open only {len(opened)}"
        ) from error
    finally:
        for fd in opened:
            os.close(fd)


def remedy(error: BaseException | None) -> str:
    """What to raise if `error`, or what caused it, is a shortage; otherwise empty."""
    while error is not None:
        if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
            return f"; raise {_THREADS}, or end other programs"
        match getattr(error, "errno", None):
            case errno.EMFILE:
                return f"; raise {_descriptors()}"
            case errno.ENFILE:
                return "; the whole system has no descriptor left: raise fs.file-max (sysctl)"
            case errno.ENOMEM:
                return "; raise MemoryMax= of the unit, or end other programs"
        error = error.__cause__ or error.__context__
    return ""


@contextmanager
def crash_explained(what: str) -> Iterator[None]:
    """End the process with exit code 3 and one line if native code crashes in this block.

    `what` says what fails then. Nothing may have been accepted yet: no cleaning up is done.
    """
    library = ctypes.CDLL(None)
    library.signal.restype = ctypes.c_void_p
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)

    def explain(number: int) -> None:
        signal.alarm(LONGEST_S)  # the crash may have left a lock shut that is needed here
        text = f"tinyastd: {what} ({signal.Signals(number).name}); {_missing()}\n"
        os.write(2, text.encode())
        os._exit(StartError.exit_code)

    # A handler of Python's would run only after abort(3) has returned, which it never does.
    handler = _Handler(explain)
    before = [(each, library.signal(each, handler)) for each in _CRASHES]
    try:
        yield
    finally:
        for each, old in before:
            library.signal(each, old)


def _missing() -> str:
    """What the system refuses now, and what to raise."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return f"the system opens no more files{remedy(error)}"
    try:
        start_new_thread(int, ())
    except RuntimeError:
        return f"the system starts no more threads; raise {_THREADS}"
    return (
        "the system may have refused it a descriptor, a thread or memory; if it happens again, "
        f"raise {_descriptors()}, {_THREADS}, or MemoryMax= of the unit"
    )


_THREADS = "the limit of threads (TasksMax= of the unit, `ulimit -u`) or of memory (`ulimit -v`)"


def _descriptors() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"the limit of open files, now {limit} (LimitNOFILE= of the unit, `ulimit -n`)"
