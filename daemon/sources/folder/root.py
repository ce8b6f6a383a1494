"""The root of a watched folder: detect that it is lost or back, and watch it."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from daemon.host.mounts import MountsBeneath, is_remote
from daemon.protocol.messages import file_source
from daemon.settings.schema import Folder
from daemon.sources.folder.changes import Listener

if TYPE_CHECKING:
    from daemon.sources.folder.inotify import Watch

log = logging.getLogger(__name__)

CHECK_S = 1.0  # between checks whether the folder is still the one being watched


class Root:
    """The directory of one `[[folder]]`. Every method but `degrade` belongs to one thread.

    `listener` receives the changes, and a request to scan whenever the directory appears.
    """

    def __init__(self, folder: Folder, listener: Listener, say: Callable[..., None]) -> None:
        self.path = os.fsencode(folder.path)
        self._folder, self._listener, self._say = folder, listener, say
        self._source = file_source(folder.name, self.path)
        self._identity: tuple[int, int] | None = None  # device and inode
        self._watch: Watch | None = None
        self._mounts: MountsBeneath | None = None  # of a folder that is watched with all beneath it
        self._checked = -CHECK_S
        self.state = "starting"  # then watching, polling or lost
        self.degraded: str | None = None  # why events alone are not enough
        self.remote = False  # whether other machines may write here

    @property
    def is_there(self) -> bool:
        return self._identity is not None

    @property
    def check_due(self) -> float:
        """time.monotonic() at which the next `check` is due."""
        return self._checked + CHECK_S

    @property
    def scan_every(self) -> float:
        """Seconds from one scan to the next."""
        polled = self._watch is None or self.degraded is not None
        return self._folder.poll if polled else self._folder.rescan

    def is_written(self, path: bytes, presume: bool) -> bool:
        """Whether events say that a writer has a file open.

        `presume`: one that was modified has a writer, although none was seen to open it.
        """
        return self._watch is not None and self._watch.is_written(path, presume)

    def check(self, now: bool = False) -> bool:
        """Detect that the directory is gone, was replaced or came back; return whether it is there.

        Skips the check if the last one is less than `CHECK_S` ago, unless `now` is true.
        """
        if not now and time.monotonic() < self.check_due:
            return self.is_there
        self._checked = time.monotonic()
        identity, why = self._look()
        if identity is not None and identity == self._identity:
            if self._watch is not None and not self._watch.is_alive():
                log.error("the watch on %s stopped; starting another", self._folder.path)
                self._connect(identity)
            self._check_mounts()
            return True
        if self._identity is not None or (identity is None and self.state == "starting"):
            self._lose(why)
        if identity is not None:
            self._connect(identity)
        return self.is_there

    def _look(self) -> tuple[tuple[int, int] | None, str]:
        """Device and inode of the directory, None without one, and why it may be lost."""
        try:
            # Settings have it without links. Nothing is read through one that takes its place.
            found = os.lstat(self.path)
        except OSError as error:
            return None, error.strerror or str(error)
        if stat.S_ISLNK(found.st_mode):
            return None, "a symbolic link took its place; restart the daemon to watch its target"
        if not stat.S_ISDIR(found.st_mode):
            return None, "it is no folder any more"
        return (found.st_dev, found.st_ino), "it is gone or was replaced"

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None

    def _lose(self, why: str) -> None:
        self._identity = None
        self.close()
        self.state = "lost"
        text = f"folder {self._folder.path} is lost ({why}); waiting for it to come back"
        log.error("%s", text)
        self._say("source_lost", text, self._source)

    def _connect(self, identity: tuple[int, int]) -> None:
        back = self.state == "lost"
        self._identity = identity
        self.close()
        self.degraded = None
        self.remote = is_remote(self.path)
        self._watch = self._open_watch()
        if self._watch is not None and self._folder.recursive:
            self._mounts = MountsBeneath(self.path)
            self._degrade_for_remote()
        self.state = "polling" if self._watch is None else "watching"
        self._listener.scan("the folder is watched from now on")
        if back:
            log.info("folder %s is back", self._folder.path)
            self._say("source_back", f"folder {self._folder.path} is back", self._source)

    def _check_mounts(self) -> None:
        """Watch a file system, such as that of a memory card, that was mounted beneath the root.

        Events of the directory that it covers are not those of its own files.
        """
        if self._mounts is None or self._watch is None:
            return
        points = self._mounts.changed(self._watch.take_unmounted())
        for point in points:
            self._watch.replaced(point)
        if points:
            self._degrade_for_remote()
            self._listener.scan("a file system beneath it was mounted or unmounted")

    def _degrade_for_remote(self) -> None:
        if self._mounts is not None and (point := self._mounts.remote) is not None:
            self.degrade(f"{os.fsdecode(point)} is on a network file system")

    def _open_watch(self) -> Watch | None:
        if self._folder.watch == "poll":
            return None
        if self._folder.watch == "auto" and self.remote:
            log.info("%s is on a network file system: polling it", self._folder.path)
            return None
        try:
            from daemon.sources.folder.inotify import Watch

            return Watch(self.path, self._folder.recursive, self._listener, self.degrade)
        except ImportError:
            self.degrade("this system has no inotify")
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread could be started
            self.degrade(getattr(error, "strerror", None) or str(error))
        return None

    def degrade(self, reason: str) -> None:
        """Scan from now on, because events do not cover everything. From any thread."""
        if self.degraded is not None:
            return
        self.degraded = reason
        text = f"folder {self._folder.path} is scanned every {self._folder.poll:g} s"
        log.warning("%s, since events do not cover all of it: %s", text, reason)
        self._say("source_degraded", f"{text}: {reason}", self._source)
