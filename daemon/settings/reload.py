"""Read settings again while the daemon runs, and separate those that need a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from daemon.errors import StartError
from daemon.settings.paths import asked
from daemon.settings.schema import Settings

T = TypeVar("T")

HANGS_S = 60.0  # for the settings, a new model and the helpers' checks

# Workers read these again for each file or live window; a checkpoint is loaded before it takes
# over, and a helper whose table changed is started again. Keys need no reload.
LIVE = (
    "checkpoint", "decision", "events", "audio", "top", "page", "pictures", "privacy", "mqtt",
    "notify", "log",
)  # fmt: skip


class Changes(Struct, frozen=True):
    """Differences between two settings."""

    applied: tuple[str, ...]
    restart: tuple[str, ...]

    def describe(self) -> str:
        """Describe the changes, for the log and for subscribers."""
        if not self.applied and not self.restart:
            return "settings read again: nothing has changed"
        parts = []
        if self.applied:
            parts.append(f"applied: {', '.join(self.applied)}")
        if self.restart:
            parts.append(f"needs a restart: {', '.join(self.restart)}")
        return f"settings read again; {'; '.join(parts)}"


def compare(old: Settings, new: Settings, new_model: bool = False) -> Changes:
    """Separate changes that can be applied from those that need a restart.

    `new_model` says that the files of the checkpoint changed, if perhaps not its name.
    """
    changed = [
        name
        for name in old.__struct_fields__
        if getattr(old, name) != getattr(new, name) or (name == "checkpoint" and new_model)
    ]
    return Changes(
        tuple(name for name in changed if name in LIVE),
        tuple(name for name in changed if name not in LIVE),
    )


def replace_live(old: Settings, new: Settings) -> Settings:
    """The old settings, with the changeable parts from the new ones."""
    return msgspec.structs.replace(old, **{name: getattr(new, name) for name in LIVE})


class Rereading(Generic[T]):
    """One call of `read` in the background: a file that it opens may hang, a model take long.

    Raises RuntimeError if no thread can be started.
    """

    def __init__(self, read: Callable[[], T], limit_s: float = HANGS_S) -> None:
        self._limit_s, self._began = limit_s, time.monotonic()
        self._answer = asked(read)

    def result(self, wait_s: float) -> T | None:
        """What `read` returned; None if it has not within `wait_s`.

        Raises what it raised, and StartError once it hangs.
        """
        try:
            return self._answer.result(wait_s)
        except TimeoutError:
            if self._answer.done():  # by now, or `read` raised it
                return self._answer.result()
            if time.monotonic() > self._began + self._limit_s:
                raise StartError(
                    f"reading them takes over {self._limit_s:g} s; a pipe in place of a file, or a "
                    "mount without its server, hangs"
                ) from None
            return None
