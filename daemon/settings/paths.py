"""Questions to the file system that are answered soon, even by a mount that hangs."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from daemon.errors import SettingsError, is_passing

T = TypeVar("T")

ANSWER_S = 3.0  # for a file system to answer; one that takes longer hangs


def expanded(path: str, instead: str = "write an absolute path") -> str:
    """`path` with `~` as the home of the user.

    Raises SettingsError for a user without one, as containers run programs; it advises `instead`.
    """
    found = os.path.expanduser(path)
    if path.split("/")[0] == "~" and not os.path.isabs(found):
        raise SettingsError(f"{path}: this user has no home; set HOME, or {instead}")
    return found


def resolved(path: str) -> str:
    """The absolute `path` without links; with them if its file system does not answer."""
    return within(lambda: os.path.realpath(path), os.path.abspath(path))


def may_be_folder(path: str) -> bool:
    """Whether `path` is a folder, or lies on a file system that does not answer or fails.

    Raises PermissionError if this user may not ask.
    """
    try:
        return within(lambda: stat.S_ISDIR(os.stat(path).st_mode), True)
    except PermissionError:
        raise
    except ValueError:  # a byte of zero
        return False
    except OSError as error:
        return is_passing(error) and error.errno != errno.ENAMETOOLONG


def within(ask: Callable[[], T], otherwise: T, seconds: float = ANSWER_S) -> T:
    """What `ask` returns, or `otherwise` if it takes longer.

    Raises what `ask` raises, but for a TimeoutError of the file system.
    """
    try:
        return asked(ask).result(seconds)
    except (TimeoutError, RuntimeError):  # RuntimeError: no thread can be started now
        return otherwise


def asked(ask: Callable[[], T]) -> Future[T]:
    """What `ask` returns or raises. It runs in a separate thread, so that it may hang.

    Raises RuntimeError if no thread can be started.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001 - whoever takes the answer gets it
            answer.set_exception(error)

    threading.Thread(target=run, name="asking", daemon=True).start()
    return answer
