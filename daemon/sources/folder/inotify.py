"""Hints from the operating system that something in a folder changed. The home of watchdog.

Events are hints and nothing else: a path is put into a bounded set. What does not fit, what the
kernel dropped and what could not be watched ask for a scan instead, which is the truth.

Three habits of watchdog 7 are dealt with here. It holds back every event for half a second after a
file was renamed out of the folder, to pair it with where it went; so moves out are not asked for,
and a move inside the folder arrives as a creation. It reports our own reading unless opened and
closed-unwritten are left out, which an explicit mask does. And an event passes through three of
its threads, which takes longer than all else until a file is claimed; so what happens to a file is
taken from the first of them, and only what happens to directories goes the whole way.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

from daemon.sources.folder.changes import Hints

log = logging.getLogger(__name__)


class _Handler(FileSystemEventHandler):
    """What watchdog itself is left to tell of."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints

    def dispatch(self, event: FileSystemEvent) -> None:
        if isinstance(event, DirCreatedEvent | DirMovedEvent):
            self._hints.scan("a directory appeared")


class _Fd(InotifyFD):
    """An inotify instance that tells of files by itself, and of what it could not see."""

    def __init__(self, hints: Hints, unwatched: Callable[[OSError], None]) -> None:
        super().__init__()
        self._hints, self._unwatched = hints, unwatched
        self._directories: dict[WatchDescriptor, bytes] = {}

    def handle_event(self, event: InotifyEvent) -> None:
        try:
            self._handle(event)
        except Exception:  # a dead thread would leave us deaf
            log.exception("a file event could not be handled")
            self._hints.scan("a file event could not be handled")

    def _handle(self, event: InotifyEvent) -> None:
        if event.is_queue_overflow:
            self._hints.scan("the system dropped file events")
        if event.is_ignored:  # it is watched no more
            self._directories.pop(event.wd, None)
        if event.is_directory or not event.name:
            super().handle_event(event)
        elif directory := self._directories.get(event.wd):
            path = os.path.join(directory, event.name)
            self._hints.look(path, closed=event.is_close_write, made=event.is_create)
        else:  # of what is watched no more
            self._hints.scan("a file changed in an unknown directory")

    def _add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        try:
            watch = self._get_or_create_watch(path, mask)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self._unwatched(error)
            raise
        # A directory that was moved has its old descriptor, and is watched as it was.
        watch.callbacks[id_] = callback
        self._directories[watch.wd] = path
        return watch.wd


class _Emitter(InotifyEmitter):
    def get_event_mask_from_filter(self) -> Mask:
        return Mask(
            InotifyConstants.IN_CLOSE_WRITE
            | InotifyConstants.IN_MOVED_TO
            | InotifyConstants.IN_CREATE
            | InotifyConstants.IN_ATTRIB  # a chmod can mend a file that might not be read
            | InotifyConstants.IN_DELETE_SELF
        )


class _Observer(BaseObserver):
    def __init__(self, fd: InotifyFD) -> None:
        self._fd = fd
        fd.start()
        super().__init__(_Emitter, inotify_fd=fd)

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self._fd.stop()
        self._fd.join()


class Watch:
    """Events of one folder, as hints, from construction to `close`.

    Raises OSError where the folder cannot be watched: EMFILE and ENOSPC are the system's limits.
    """

    def __init__(
        self, root: bytes, recursive: bool, hints: Hints, degraded: Callable[[str], None]
    ) -> None:
        def unwatched(error: OSError) -> None:
            degraded(error.strerror or str(error))

        self._fd = _Fd(hints, unwatched)
        self._observer = _Observer(self._fd)
        self._observer.schedule(_Handler(hints), os.fsdecode(root), recursive=recursive)
        try:
            self._observer.start()
        except OSError:
            self.close()
            raise

    def is_alive(self) -> bool:
        """Whether every thread that events pass through still runs."""
        threads: list[threading.Thread] = [self._fd, self._observer, *self._observer.emitters]
        return all(thread.is_alive() for thread in threads)

    def close(self) -> None:
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
        else:
            for emitter in self._observer.emitters:
                emitter.stop()
            self._fd.stop()
            self._fd.join()
