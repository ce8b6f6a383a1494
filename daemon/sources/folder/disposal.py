"""Move or delete a finished file, or leave it, as the setting `after` says.

Every step works on a descriptor beneath the watched folder and follows no symbolic link. The file
is taken out of every writer's reach before it is compared with the classified version, so that a
newer file of the same name is never moved or deleted unclassified.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from msgspec import Struct

from daemon.host.beneath import make_folder, open_beneath, opened_folder, relative
from daemon.host.files import birth
from daemon.host.taking import Taken, restore
from daemon.journal.ledger import Identity, LedgerRow
from daemon.settings.schema import PUT_AWAY, Folder
from daemon.sources.folder.readiness import has_writer

log = logging.getLogger(__name__)

DONE, FAILED = map(os.fsencode, PUT_AWAY)


class Disposed(Struct, frozen=True):
    """The result of disposing of a finished file."""

    done: bool = False  # it was moved or deleted
    look_at: bytes | None = None  # absolute path to look at: another file was found in its place
    problem: str | None = None  # why it could not be moved or deleted, and how to fix that


_NOTHING_TO_SAY = Disposed()


class Disposal:
    """Moves or deletes the finished files of one watched folder. For one thread.

    `progress` is called again and again while a large file is copied to another disk. OSError
    ECANCELED from it ends that, and the file stays.
    """

    def __init__(self, folder: Folder, progress: Callable[[], None] = lambda: None) -> None:
        self._folder, self._progress = folder, progress
        self._root = os.fsencode(folder.path)
        # Times of birth of done/ and failed/ by device and inode, which others may have later.
        self._own: dict[tuple[int, int], int] = {}

    def put_away(self, row: LedgerRow) -> Disposed:
        """Move or delete the file of `row` if it is still the one that was classified.

        Only a file that is `done` is deleted; one that failed stays for a person to look at. No
        other file is ever replaced. The caller knows of no writer.
        """
        after = self._folder.after
        if after == "keep" or (after == "delete" and row.state != "done"):
            return _NOTHING_TO_SAY
        try:
            directory, name = os.path.split(relative(self._root, row.path))
            with opened_folder(self._root) as root, opened_folder(directory, root) as parent:
                if not _is_same(os.stat(name, dir_fd=parent, follow_symlinks=False), row):
                    return _NOTHING_TO_SAY
                return self._dispose(root, parent, directory, name, row)
        except FileNotFoundError:
            return _NOTHING_TO_SAY
        except OSError as error:
            if error.errno == errno.ECANCELED:  # the daemon stops; the next start moves it
                return _NOTHING_TO_SAY
            path = os.fsdecode(row.path)
            problem = f"cannot {after} {path} after it was classified: {error.strerror}"
            log.error("%s", problem)
            return Disposed(problem=problem)

    def check(self) -> str | None:
        """Why finished files cannot be moved, with the fix; None if they can, or need not be."""
        for own in (DONE, FAILED) if self._folder.after == "move" else ():
            try:
                with opened_folder(self._root) as root:
                    self._learn(root, own)
            except FileNotFoundError:
                continue
            except OSError as error:
                return self._refusal(own, error)
        return None

    def owns(self, path: bytes) -> bool:
        """Whether the absolute `path` is, or lies in, one of the daemon's own folders.

        They are known by device, inode and birth too, and so under another name as well.
        """
        if self._folder.after != "move":
            return False
        first, *rest = relative(self._root, path).split(b"/")
        if first in (DONE, FAILED):
            return True
        if not self._own or not self._folder.recursive:
            return False
        folder = self._root
        for part in (first, *rest):
            folder = os.path.join(folder, part)
            with suppress(OSError):
                found = os.lstat(folder)
                born = self._own.get((found.st_dev, found.st_ino))
                if born is not None and stat.S_ISDIR(found.st_mode) and born == birth(folder):
                    return True
        return False

    def restore(self, path: bytes) -> list[bytes]:
        """Give a file that a crash left under a private name, `path`, its own name back.

        Returns the absolute paths to look at.
        """
        try:
            directory, private = os.path.split(relative(self._root, path))
            with ExitStack() as stack:
                root = stack.enter_context(opened_folder(self._root))
                parent = stack.enter_context(opened_folder(directory, root))
                targets = []
                for own in (DONE, FAILED):
                    with suppress(OSError):
                        inside = opened_folder(_join(own, directory), root)
                        targets.append(stack.enter_context(inside))
                back = restore(parent, private, targets)
        except OSError as error:
            log.error("cannot give %s its name back: %s", os.fsdecode(path), error.strerror)
            return []
        paths = [os.path.join(self._root, directory, name) for name in back]
        for restored in paths:
            log.warning("%s has its name back after an interruption", os.fsdecode(restored))
        return paths

    # -- steps ---------------------------------------------------------------------------------

    def _dispose(
        self, root: int, parent: int, directory: bytes, name: bytes, row: LedgerRow
    ) -> Disposed:
        with ExitStack() as stack:
            target = None
            if self._folder.after == "move":
                own = DONE if row.state == "done" else FAILED
                try:
                    target = stack.enter_context(self._target(root, own, directory))
                except OSError as error:
                    problem = self._refusal(own, error)
                    log.error("%s", problem)
                    return Disposed(problem=problem)
            taken = Taken(parent, name, self._progress)
            stack.callback(taken.close)
            try:
                if not _is_unchanged(taken, row):
                    return Disposed(look_at=self._put_back(taken, directory))
                if target is None:
                    taken.delete()
                else:
                    taken.move(target)
            except OSError:
                with suppress(OSError):  # if even that fails, the next scan restores it
                    self._put_back(taken, directory)
                raise
        return Disposed(done=True)

    def _put_back(self, taken: Taken, directory: bytes) -> bytes:
        return os.path.join(self._root, directory, taken.put_back())

    @contextmanager
    def _target(self, root: int, own: bytes, directory: bytes) -> Iterator[int]:
        """The folder below done/ or failed/ that mirrors `directory`, made if it is missing."""
        path = _join(own, directory)
        make_folder(root, path)
        self._learn(root, own)
        with opened_folder(path, root) as folder:
            yield folder

    def _learn(self, root: int, own: bytes) -> None:
        """Remember one of the daemon's own folders. Raises OSError for a link."""
        with opened_folder(own, root) as folder:
            found = os.fstat(folder)
        self._own[found.st_dev, found.st_ino] = birth(os.path.join(self._root, own))

    def _refusal(self, own: bytes, error: OSError) -> str:
        path = os.path.join(self._folder.path, os.fsdecode(own))
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return (
                f"finished files stay where they are: {path} is, or contains, a symbolic link or "
                "a file in place of a folder; make it a folder. To use another disk, mount it there"
            )
        return f"finished files stay where they are: cannot use {path}: {error.strerror}"


def _is_same(found: os.stat_result, row: LedgerRow) -> bool:
    return stat.S_ISREG(found.st_mode) and Identity.of(found).same_content(row.identity)


def _is_unchanged(taken: Taken, row: LedgerRow) -> bool:
    if not _is_same(taken.stat(), row) or _has_writer(taken.folder, taken.name):
        return False
    return _is_same(taken.stat(), row)  # a writer may have closed it between the two


def _has_writer(folder: int, name: bytes) -> bool | None:
    """Whether a program has the file open for writing; None if the system cannot tell."""
    try:
        fd = open_beneath(folder, name, os.O_RDONLY | os.O_NONBLOCK)
    except PermissionError:
        return None
    try:
        return has_writer(fd)
    finally:
        os.close(fd)


def _join(own: bytes, directory: bytes) -> bytes:
    return os.path.join(own, directory).rstrip(b"/")
