"""Take one file out of every writer's reach, then move it, delete it or put it back.

A writer can replace a file at any moment between a look at it and a call that names it. So the
file is first renamed to a private name in its own folder, which no other program knows; what has
that name can then be compared and acted on. All of it works on folder descriptors.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import xxhash

from daemon.host.beneath import open_beneath, rename_new

PREFIX = b".tinyast-"  # hidden: scans pass over it
_PRIVATE = re.compile(rb"\.tinyast-([0-9a-f]{16})(?:\.(.+))?", re.DOTALL)
_BLOCK = 1 << 20  # bytes copied at a time
_MAX_NAME = 255  # bytes; NAME_MAX of nearly every file system


def is_private(name: bytes) -> bool:
    """Whether a file or folder has a private name, given to it by `Taken`."""
    return _PRIVATE.fullmatch(name) is not None


def _nothing() -> None:
    pass


class Taken:
    """A file of the folder descriptor `parent`, taken from `name`; the caller closes it.

    `progress` is called for each block that is copied. Raises OSError if it cannot be taken.
    """

    def __init__(self, parent: int, name: bytes, progress: Callable[[], None] = _nothing) -> None:
        self._parent, self._name, self._progress = parent, name, progress
        self._token = PREFIX + secrets.token_hex(8).encode()
        self.folder, self.name = parent, self._token + b"." + name  # where it is
        try:
            os.rename(name, self.name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self._take_into_folder()

    def _take_into_folder(self) -> None:
        """A name with no room for a longer one is kept, in a private folder."""
        os.mkdir(self._token, 0o700, dir_fd=self._parent)
        flags = os.O_RDONLY | os.O_DIRECTORY
        self.folder, self.name = open_beneath(self._parent, self._token, flags), self._name
        try:
            os.rename(self._name, self._name, src_dir_fd=self._parent, dst_dir_fd=self.folder)
        except OSError:
            self.close()
            raise

    def stat(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    def delete(self) -> None:
        os.unlink(self.name, dir_fd=self.folder)

    def move(self, target: int) -> bytes:
        """Move it to folder descriptor `target`; returns its name there, one that was free.

        To another disk it is copied, synced and compared before it is deleted here.
        """
        return _move(self.folder, self.name, target, self._name, self._token, self._progress)

    def put_back(self) -> bytes:
        """Give it its name back; returns the name, another one if a newer file has that."""
        token = self._token + b"-"
        return _move(self.folder, self.name, self._parent, self._name, token, self._progress)

    def close(self) -> None:
        """Remove the private folder, if there is one. A file still in it stays."""
        if self.folder != self._parent:
            os.close(self.folder)
            self.folder = self._parent
            with suppress(OSError):
                os.rmdir(self._token, dir_fd=self._parent)


def restore(parent: int, private: bytes, targets: list[int]) -> list[bytes]:
    """Put back what a crash left in folder descriptor `parent` under the name `private`.

    A copy to one of the folder descriptors `targets` that the crash interrupted is deleted.
    Returns the names put back. Raises OSError.
    """
    match = _PRIVATE.fullmatch(private)
    if match is None:
        return []
    token, name = PREFIX + match[1], match[2]
    for target in targets:
        with suppress(OSError):
            os.unlink(token, dir_fd=target)
    if name is not None:
        if not stat.S_ISREG(os.stat(private, dir_fd=parent, follow_symlinks=False).st_mode):
            return []
        return [_move(parent, private, parent, name, token + b"-", _nothing)]
    with _opened(parent, private, os.O_RDONLY | os.O_DIRECTORY) as folder:
        names = [os.fsencode(entry) for entry in os.listdir(folder)]
        back = [_move(folder, one, parent, one, token + b"-", _nothing) for one in names]
    os.rmdir(private, dir_fd=parent)
    return back


def _move(
    source: int,
    private: bytes,
    target: int,
    name: bytes,
    copy: bytes,
    progress: Callable[[], None],
) -> bytes:
    """Move `private` from `source` to `target` as `name` or, if that is taken, as `name-N`."""
    try:
        return _each_free_name(target, name, lambda free: rename_new(source, private, target, free))
    except OSError as error:
        if error.errno != errno.EXDEV and error.errno != errno.EOPNOTSUPP:
            raise
    _copy(source, private, target, copy, progress)
    try:
        try:
            free = _each_free_name(
                target, name, lambda free: rename_new(target, copy, target, free)
            )
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            # Neither way to rename without replacing: make it under its name to begin with.
            free = _each_free_name(
                target, name, lambda free: _copy(source, private, target, free, progress)
            )
            os.unlink(copy, dir_fd=target)
    except OSError:
        os.unlink(copy, dir_fd=target)
        raise
    _sync(target)
    os.unlink(private, dir_fd=source)
    return free


def _each_free_name(folder: int, name: bytes, use: Callable[[bytes], None]) -> bytes:
    """Call `use` with names that seem free in `folder` until one is; returns that one."""
    stem, suffix = os.path.splitext(name)

    def numbered(number: int) -> bytes:
        extra = b"-%d" % number if number else b""
        return stem[: _MAX_NAME - len(extra) - len(suffix)] + extra + suffix

    for number in count(_first_free(folder, numbered)):
        with suppress(FileExistsError):
            use(numbered(number))
            return numbered(number)
    raise AssertionError


def _first_free(folder: int, numbered: Callable[[int], bytes]) -> int:
    """A number whose name is free, found in few looks among thousands of namesakes."""

    def is_taken(number: int) -> bool:
        try:
            os.stat(numbered(number), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    if not is_taken(0):
        return 0
    taken, free = 0, 1
    while is_taken(free):
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if is_taken(middle) else (taken, middle)
    return free


def _copy(
    source: int, name: bytes, target: int, new_name: bytes, progress: Callable[[], None]
) -> None:
    """Copy a file with its times, mode and attributes, sync it, read it again and compare.

    Raises OSError, and leaves no copy then: EIO if the copy differs or the file changed meanwhile.
    """
    with (
        _opened(source, name, os.O_RDONLY) as old,
        _opened(target, new_name, os.O_RDWR | os.O_CREAT | os.O_EXCL) as new,
    ):
        try:
            before = os.fstat(old)
            written = _digest(old, progress, new)
            os.fchmod(new, stat.S_IMODE(before.st_mode) & 0o777)
            with suppress(PermissionError):
                os.fchown(new, before.st_uid, before.st_gid)
            _copy_attributes(old, new)
            os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
            os.fsync(new)
            if hasattr(os, "posix_fadvise"):  # later reads then come from the disk
                os.posix_fadvise(new, 0, 0, os.POSIX_FADV_DONTNEED)
            after = os.fstat(old)
            as_it_was = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
            os.lseek(new, 0, os.SEEK_SET)
            if not as_it_was or _digest(new, progress) != written:
                raise OSError(errno.EIO, "the copy differs from the file")
        except OSError:
            os.unlink(new_name, dir_fd=target)
            raise


def _copy_attributes(old: int, new: int) -> None:
    """Copy extended attributes, such as a site's name or an access list, where the system can."""
    if not hasattr(os, "listxattr"):
        return
    with suppress(OSError):
        for name in os.listxattr(old):
            with suppress(OSError):  # one that the other file system or this user cannot set
                os.setxattr(new, name, os.getxattr(old, name))


def _digest(fd: int, progress: Callable[[], None], into: int | None = None) -> bytes:
    """Digest the rest of a file, and write it to `into` if given."""
    content = xxhash.xxh3_128()
    while block := os.read(fd, _BLOCK):
        content.update(block)
        rest = memoryview(block)
        while into is not None and rest:
            rest = rest[os.write(into, rest) :]
        progress()
    return content.digest()


def _sync(folder: int) -> None:
    """Sync a folder's names to disk, if the system can."""
    with suppress(OSError), _opened(folder, b"", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


@contextmanager
def _opened(folder: int, name: bytes, flags: int) -> Iterator[int]:
    fd = open_beneath(folder, name, flags, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
