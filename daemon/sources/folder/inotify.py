"""Changes in a folder as inotify reports them. The home of watchdog.

A change names one path to look at. When the kernel drops events, or a directory cannot be watched,
this module asks for a scan instead, and the scan is the truth.

It also follows which files are being written: a file that was made empty, or modified, and not
closed since, has a writer. It keeps that when the file is renamed within the folder.

watchdog 7 has three habits that get in the way. After a file was renamed out of the folder it holds
every event back for half a second, to pair both halves of the move. It reports the daemon's own
reading. And it passes an event through three threads, which takes longer than all other steps until
a file is claimed. So `_Events` handles what happens to files in the first thread, and passes only
events about directories on, without their moves out.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from typing import TypeVar

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

from daemon.sources.folder.changes import Change, Listener

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_WRITTEN = 10_000  # files in writing that are followed at once; `settle` decides on others


class _Written:
    """Files that have a writer, according to events."""

    def __init__(self) -> None:
        self._open: set[bytes] = set()
        self._moved: set[int] = set()  # cookies of moves of files with a writer

    def __contains__(self, path: object) -> bool:
        return path in self._open

    def clear(self) -> None:
        """Forget all files, because events were lost."""
        self._open.clear()
        self._moved.clear()

    def take(self, path: bytes, event: InotifyEvent) -> Change | None:
        """Follow one event of a file; return the change to report, if any."""
        if event.is_create:
            if _is_new(path):
                _add(self._open, path)
            return Change.MADE
        if event.is_modify:
            _add(self._open, path)
            return None
        if event.is_moved_from and path in self._open:
            _add(self._moved, event.cookie)
        if event.is_moved_to and event.cookie in self._moved:
            self._moved.discard(event.cookie)
            _add(self._open, path)
            return Change.OTHER
        if event.is_attrib:
            return Change.OTHER
        self._open.discard(path)  # it was closed, deleted or moved
        return Change.CLOSED if event.is_close_write or event.is_moved_to else None


def _is_new(path: bytes) -> bool:
    """Whether a file was made by open(2), and its writer will close it; not by link(2)."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == 0 and found.st_nlink == 1


def _add(known: set[T], item: T) -> None:
    if len(known) < MOST_WRITTEN:
        known.add(item)


class _Handler(FileSystemEventHandler):
    """Takes the events that pass through all of watchdog."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def dispatch(self, event: FileSystemEvent) -> None:
        if isinstance(event, DirCreatedEvent | DirMovedEvent):
            self._listener.scan("a directory appeared")


class _Events(InotifyFD):
    """An inotify instance that reports changes of files, and gaps in its events."""

    def __init__(self, listener: Listener, unwatched: Callable[[OSError], None]) -> None:
        super().__init__()
        self._listener, self._unwatched = listener, unwatched
        self._directories: dict[WatchDescriptor, bytes] = {}
        self.written = _Written()

    def handle_event(self, event: InotifyEvent) -> None:
        try:
            self._handle(event)
        except Exception:  # without this thread, no more events would arrive
            log.exception("a file event could not be handled")
            self._listener.scan("a file event could not be handled")

    def _handle(self, event: InotifyEvent) -> None:
        if event.is_queue_overflow:
            self.written.clear()
            self._listener.scan("the system dropped file events")
        if event.is_ignored:  # the directory is watched no more
            self._directories.pop(event.wd, None)
        if event.is_directory or not event.name:
            if not event.mask & _OF_FILES:
                super().handle_event(event)
        elif directory := self._directories.get(event.wd):
            path = os.path.join(directory, event.name)
            if (change := self.written.take(path, event)) is not None:
                self._listener.notice(path, change)
        else:  # the directory is watched no more
            self._listener.scan("a file changed in an unknown directory")

    def _add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        try:
            watch = self._get_or_create_watch(path, mask)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):  # no scan reads those either
                self._unwatched(error)
            raise
        # A moved directory keeps its descriptor and stays watched.
        watch.callbacks[id_] = callback
        self._directories[watch.wd] = path
        return watch.wd


# Events that only matter for files.
_OF_FILES = InotifyConstants.IN_MODIFY | InotifyConstants.IN_MOVED_FROM | InotifyConstants.IN_DELETE


class _Emitter(InotifyEmitter):
    def get_event_mask_from_filter(self) -> Mask:
        return Mask(
            InotifyConstants.IN_CLOSE_WRITE
            | InotifyConstants.IN_MOVED_TO
            | InotifyConstants.IN_CREATE
            | InotifyConstants.IN_ATTRIB  # a chmod can make a file readable
            | InotifyConstants.IN_DELETE_SELF
            | _OF_FILES
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
    """Reports changes of one folder to `listener` from construction to `close`.

    `degraded` is called, from any thread, with the reason if a directory cannot be watched.
    Raises OSError if the folder cannot be watched (EMFILE and ENOSPC are the system's limits), and
    RuntimeError if no thread can be started.
    """

    def __init__(
        self, root: bytes, recursive: bool, listener: Listener, degraded: Callable[[str], None]
    ) -> None:
        def unwatched(error: OSError) -> None:
            degraded(error.strerror or str(error))

        self._fd = _Events(listener, unwatched)
        self._observer = _Observer(self._fd)
        self._observer.schedule(_Handler(listener), os.fsdecode(root), recursive=recursive)
        try:
            self._observer.start()
        except (OSError, RuntimeError):
            self.close()
            raise

    def is_written(self, path: bytes) -> bool:
        """Whether a writer is known to have the file open."""
        return path in self._fd.written

    def is_alive(self) -> bool:
        """Whether every thread that handles events still runs."""
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
