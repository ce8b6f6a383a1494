"""Changes in a folder as inotify reports them. The home of watchdog.

A change names one path to look at. When the kernel drops events, or a directory cannot be watched,
this module asks for a scan instead, and the scan is the truth.

It also follows which files are being written: a file that was made empty and not closed since has a
writer. One that was modified and not closed probably has one: truncate(2), or a time of change set
by its path, looks the same. It keeps that when the file is renamed within the folder.

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
from enum import Enum
from typing import TypeVar

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
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
MOST_UNREAD = 10_000  # directories without permission that are followed; scans find the others


class Writer(Enum):
    """What events say about the writer of a file."""

    SEEN = "seen"  # it made the file
    PRESUMED = "presumed"  # the file was modified, perhaps without being opened


class _Written:
    """Files that have a writer, according to events."""

    def __init__(self) -> None:
        self._open: dict[bytes, Writer] = {}
        self._moved: dict[int, Writer] = {}  # by the cookies of moves of files with a writer

    def get(self, path: bytes) -> Writer | None:
        return self._open.get(path)

    def clear(self) -> None:
        """Forget all files, because events were lost."""
        self._open.clear()
        self._moved.clear()

    def leave(self, directory: bytes) -> None:
        """Forget the files in a directory that is watched no more: no close will be seen."""
        for path in list(self._open):
            if path.startswith(directory + b"/"):
                self._open.pop(path, None)

    def take(self, path: bytes, event: InotifyEvent) -> Change | None:
        """Follow one event of a file; return the change to report, if any."""
        if event.is_create:
            if _is_new(path):
                _add(self._open, path, Writer.SEEN)
            return Change.MADE
        if event.is_modify:
            if path in self._open:
                return None
            _add(self._open, path, Writer.PRESUMED)
            return Change.OTHER  # perhaps no close follows
        if event.is_moved_from and path in self._open:
            _add(self._moved, event.cookie, self._open[path])
        if event.is_moved_to and (writer := self._moved.pop(event.cookie, None)) is not None:
            _add(self._open, path, writer)
            return Change.OTHER
        if event.is_attrib:
            return Change.OTHER
        self._open.pop(path, None)  # it was closed, deleted or moved
        return Change.CLOSED if event.is_close_write or event.is_moved_to else None


def _is_new(path: bytes) -> bool:
    """Whether a file was made by open(2), and its writer will close it; not by link(2)."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == 0 and found.st_nlink == 1


def _add(known: dict[T, Writer], item: T, writer: Writer) -> None:
    if len(known) < MOST_WRITTEN:
        known[item] = writer


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
        self._watches: dict[bytes, WatchDescriptor] = {}  # the same the other way round
        self._replaced: list[WatchDescriptor] = []  # directories that others took the place of
        self._unread: set[bytes] = set()  # directories that this user may not watch
        self.unmounted = threading.Event()  # a watched file system is gone
        self.written = _Written()

    def handle_event(self, event: InotifyEvent) -> None:
        try:
            self._take(event)
        except Exception:  # without this thread, no more events would arrive
            log.exception("a file event could not be handled")
            self._listener.scan("a file event could not be handled")

    def _take(self, event: InotifyEvent) -> None:
        if event.is_queue_overflow:
            self.written.clear()
            self._listener.scan("the system dropped file events")
        if event.mask & InotifyConstants.IN_UNMOUNT:
            self.unmounted.set()
        if event.is_ignored:  # the directory is watched no more
            self._forget(event.wd)
        if event.is_directory or not event.name:
            self._take_directory(event)
        elif directory := self._directories.get(event.wd):
            path = os.path.join(directory, event.name)
            if (change := self.written.take(path, event)) is not None:
                self._listener.notice(path, change)
        else:  # the directory is watched no more
            self._listener.scan("a file changed in an unknown directory")

    def _take_directory(self, event: InotifyEvent) -> None:
        path = os.path.join(self._directories.get(event.wd, b""), event.name)
        if path in self._unread:
            self._unread.discard(path)
            if event.is_attrib:  # it may be readable now
                self._watch_again(event.wd, event.name)
        if event.is_moved_from:
            self.replaced(path)
        if not event.mask & _OF_FILES:
            super().handle_event(event)
        while self._replaced:
            self._leave(self._replaced.pop())

    def _watch_again(self, parent: WatchDescriptor, name: bytes) -> None:
        super().handle_event(InotifyEvent(parent, _APPEARED, 0, name))

    def replaced(self, path: bytes) -> None:
        """Leave what was at the directory `path`, and watch what is there now; from any thread."""
        folder, name = os.path.split(path)
        known = list(self._directories.items())
        for wd, directory in known:
            if directory == path or directory.startswith(path + b"/"):
                self._leave(wd)
        self.written.leave(path)
        if os.path.isdir(path) and not os.path.islink(path):  # a mount, or one exchanged for it
            for wd in [wd for wd, directory in known if directory == folder]:
                self._watch_again(wd, name)

    def _leave(self, wd: WatchDescriptor) -> None:
        """Watch a directory no more, wherever it is now."""
        self._forget(wd)
        watch = self._watch_for_wd.get(wd)
        for group in [] if watch is None else list(watch.callbacks.values()):
            if isinstance(group, InotifyWatchGroup):
                with group._lock:
                    group._remove_callbacks([wd])

    def _add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        try:
            watch = self._get_or_create_watch(path, mask)
            if watch.wd == _REFUSED:
                del self._watch_for_wd[watch.wd]
                if len(self._unread) < MOST_UNREAD:
                    self._unread.add(path)
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
        except OSError as error:
            if error.errno not in _UNREAD_BY_SCANS:
                self._unwatched(error)
            raise
        # A directory may be known under another path, and one that was removed while a program
        # has it open is still watched.
        watch.callbacks[id_] = callback
        self._forget(watch.wd)
        if (other := self._watches.get(path)) is not None:
            self._replaced.append(other)
        self._directories[watch.wd], self._watches[path] = path, watch.wd
        return watch.wd

    def _forget(self, wd: WatchDescriptor) -> None:
        path = self._directories.pop(wd, None)
        if path is not None and self._watches.get(path) == wd:
            del self._watches[path]


_UNREAD_BY_SCANS = (errno.ENOENT, errno.ENAMETOOLONG, errno.EACCES)
_REFUSED = -1  # watchdog's descriptor of a directory that may not be watched
# Of a directory, with what lies in it.
_APPEARED = Mask(InotifyConstants.IN_CREATE | InotifyConstants.IN_ISDIR)
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

    def on_thread_stop(self) -> None:
        # Watchdog removes each watch, and hangs if that fails. All watches end with the inotify
        # instance.
        group, self._inotify = self._inotify, None
        if group is not None:
            group._is_active = False
            group._move_event_grouper.close()


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

    def is_written(self, path: bytes, presume: bool = True) -> bool:
        """Whether a writer is known to have the file open, or presumed to if `presume` is true."""
        writer = self._fd.written.get(path)
        return writer is Writer.SEEN or (presume and writer is not None)

    def replaced(self, path: bytes) -> None:
        """Watch what is now at the directory `path` and was not made there, such as a mount."""
        self._fd.replaced(path)

    def take_unmounted(self) -> bool:
        """Whether a file system that was watched is gone, since the last call."""
        was_set = self._fd.unmounted.is_set()
        self._fd.unmounted.clear()
        return was_set

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
