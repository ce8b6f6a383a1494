"""Requests to a daemon by who may write its state directory: one file each, picked up in order.

That needs no socket and no password, and works while the daemon is stopped: it finds the request
when it starts.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

log = logging.getLogger(__name__)

FOLDER = "requests"


def ask_reprocess(state: Path, paths: Sequence[bytes]) -> None:
    """Ask the daemon of this state directory to classify these files again. Raises OSError."""
    folder = state / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{uuid.uuid4()}"
    body = {"reprocess": [quote_from_bytes(path) for path in paths]}
    written = folder / f"{name}.part"
    written.write_text(json.dumps(body), encoding="ascii")
    os.rename(written, folder / f"{name}.json")


@dataclass(frozen=True)
class Request:
    """Files to classify again. `done` removes the request once that is on record."""

    file: Path
    paths: list[bytes]

    def done(self) -> None:
        self.file.unlink(missing_ok=True)


class Inbox:
    """The requests of one state directory; each is taken once."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
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
                requests += self._read(self._folder / name)
        return requests

    def _read(self, file: Path) -> list[Request]:
        try:
            paths = json.loads(file.read_text(encoding="ascii"))["reprocess"]
            return [Request(file, [unquote_to_bytes(path) for path in paths])]
        except OSError as error:
            log.warning("cannot read request %s now: %s", file, error.strerror)
            self._taken.discard(file.name)
            return []
        except (ValueError, KeyError, TypeError):
            log.error("request %s is not one; it is removed", file)
            file.unlink(missing_ok=True)
            return []
