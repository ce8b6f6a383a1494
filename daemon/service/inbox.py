"""Requests to a daemon as files in its state directory, processed in order.

Whoever may write the directory may make requests. This needs neither socket nor password, and works
while the daemon is stopped: it finds the request at its next start. A request that root makes gets
the directory's owner, so that the service can remove it.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec import Struct

from daemon.host.files import give_to_owner_of, opened
from daemon.journal.crashes import MOST_CRASHES

log = logging.getLogger(__name__)

FOLDER = "requests"
MOST_BYTES = 1 << 26  # a request for a hundred thousand files has some 10 MB


def ask_reprocess(state: Path, paths: Sequence[bytes]) -> None:
    """Ask the daemon of this state directory to classify these files again. Raises OSError."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = state / FOLDER
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    name = f"{time.time_ns():020d}-{uuid.uuid4()}"
    body = {"reprocess": [quote_from_bytes(path) for path in paths]}
    # The directory is not root's and may contain links to places where root should not write.
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give_to_owner_of(state, inside)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        written = os.open(f"{name}.part", flags, 0o600, dir_fd=inside)
        with open(written, "w", encoding="ascii") as out:
            give_to_owner_of(state, out.fileno())
            out.write(json.dumps(body))
        os.rename(f"{name}.part", f"{name}.json", src_dir_fd=inside, dst_dir_fd=inside)
    finally:
        os.close(inside)


class Request(Struct, frozen=True):
    """Files to classify again. `done` removes the request once it is recorded."""

    file: Path
    paths: list[bytes]

    def done(self) -> None:
        _remove(self.file)


class Inbox:
    """The requests of one state directory; each returned once.

    `in_hand` marks the one that is being read, in case that crashes the daemon.
    """

    def __init__(
        self,
        state: Path,
        in_hand: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        self._folder = state / FOLDER
        self._in_hand = in_hand
        self._taken: set[str] = set()

    def take(self) -> list[Request]:
        """Requests that came since the last call, oldest first."""
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("cannot look for requests now: %s", error.strerror)
            return []
        self._taken &= set(names)
        requests = []
        for name in names:
            if name.endswith(".json") and name not in self._taken:
                self._taken.add(name)
                with self._in_hand(name):
                    requests += self._read(self._folder / name)
        return requests

    def give_up(self, crashes: Mapping[str, int]) -> None:
        """Remove requests that crashed the daemon too often, given `crashes` by name of work."""
        for name, count in crashes.items():
            file = self._folder / name
            if count >= MOST_CRASHES and name.endswith(".json") and file.exists():
                log.error("request %s was in work at %d crashes; it is removed", file, count)
                _remove(file)

    def _read(self, file: Path) -> list[Request]:
        try:
            paths = json.loads(_content(file))["reprocess"]
            return [Request(file, [unquote_to_bytes(path) for path in paths])]
        except OSError as error:
            log.warning("cannot read request %s now: %s", file, error.strerror)
            self._taken.discard(file.name)
            return []
        except (ValueError, KeyError, TypeError, RecursionError, MemoryError):
            log.error("request %s is not one; it is removed", file)
            _remove(file)
            return []


def _content(file: Path) -> bytes:
    """The bytes of a regular file. Raises OSError, ValueError for a longer one."""
    with opened(file) as fd:
        content = os.pread(fd, MOST_BYTES + 1, 0)
    if len(content) > MOST_BYTES:
        raise ValueError("too long")
    return content


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s cannot be removed, and counts again at the next start: %s", file, error)
