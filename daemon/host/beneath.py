"""Open, make and rename files beneath a folder without ever following a symbolic link.

Linux 5.6 and newer resolve a whole path in one call, openat2(2), with RESOLVE_BENEATH and
RESOLVE_NO_SYMLINKS. If that call is missing (an older kernel, another system) or forbidden (a
seccomp filter answers EPERM), each component is opened in turn with O_NOFOLLOW from the descriptor
of the one before it. Both refuse a link anywhere in the path with ELOOP, and a path that would
leave the folder with EXDEV.

Renaming without replacing uses renameat2(2) with RENAME_NOREPLACE. If the file system or kernel
does not offer that, a hard link and an unlink do the same.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SYS_OPENAT2 = 437  # the same on every architecture (Linux 5.6)
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RENAME_NOREPLACE = 1
_TRIES = 16  # of openat2, which answers EAGAIN when a rename raced with it

# To search a folder needs less permission than to list it.
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _Support:
    """What this kernel was found to lack, so that it is not asked again."""

    openat2 = sys.platform == "linux"
    renameat2 = hasattr(_libc, "renameat2")


def relative(root: bytes, path: bytes) -> bytes:
    """`path` as seen from the folder `root`, both absolute. Raises OSError EXDEV if outside."""
    prefix = root.rstrip(b"/") + b"/"
    if not path.startswith(prefix):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
    return path[len(prefix) :]


@contextmanager
def opened_folder(path: bytes, beneath: int | None = None) -> Iterator[int]:
    """A descriptor of the folder `path`: absolute and no link itself, or `beneath` a descriptor.

    Raises OSError: ELOOP or ENOTDIR for a symbolic link.
    """
    fd = os.open(path, _FOLDER) if beneath is None else open_beneath(beneath, path, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(root: bytes, path: bytes) -> int:
    """Open the file `path` for reading, both absolute, through no link below the folder `root`.

    Never blocks on a FIFO. Raises OSError: ELOOP for a symbolic link anywhere below `root`.
    """
    with opened_folder(root) as folder:
        return open_beneath(folder, relative(root, path), os.O_RDONLY | os.O_NONBLOCK)


def open_beneath(folder: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open `path`, relative, beneath the descriptor `folder`; an empty one is the folder itself.

    `flags` and `mode` are those of open(2). Raises OSError: ELOOP for a symbolic link anywhere in
    `path`, EXDEV for one that leads outside.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    path = path or b"."
    if b"\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fsdecode(path))
    if _Support.openat2:
        fd = _openat2(folder, path, flags, mode)
        if fd is not None:
            return fd
    return _open_by_component(folder, path, flags, mode)


def make_folder(folder: int, path: bytes) -> None:
    """Make the folder `path` and its parents, relative, beneath the descriptor `folder`.

    Those that are there already stay as they are. Raises OSError: ELOOP or ENOTDIR for a link.
    """
    parts = path.split(b"/") if path else []
    for end in range(1, len(parts) + 1):
        with opened_folder(b"/".join(parts[: end - 1]), folder) as parent:
            try:
                os.mkdir(parts[end - 1], dir_fd=parent)
            except FileExistsError:
                continue
    with opened_folder(path, folder):
        return


def rename_new(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Rename a file from folder descriptor `source` to `target`, and never replace another.

    `name` must be out of others' reach, since the fallback links and then unlinks it. Raises
    OSError: FileExistsError, EXDEV across file systems, EOPNOTSUPP where neither way exists.
    """
    if _Support.renameat2:
        failed = _libc.renameat2(source, name, target, new_name, _RENAME_NOREPLACE)
        if failed == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code), os.fsdecode(new_name))
    try:
        os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(
                errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), os.fsdecode(new_name)
            ) from error
        raise
    os.unlink(name, dir_fd=source)


def _openat2(folder: int, path: bytes, flags: int, mode: int) -> int | None:
    """A descriptor; None if the call is missing or forbidden."""
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = _OpenHow(flags, mode if flags & os.O_CREAT else 0, resolve)
    for _ in range(_TRIES):
        fd = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(folder),
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        if code == errno.ENOSYS:
            _Support.openat2 = False
            return None
        if code == errno.EPERM:
            return None
        if code not in (errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code), os.fsdecode(path))
    return None


def _open_by_component(folder: int, path: bytes, flags: int, mode: int) -> int:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if path.startswith(b"/") or b".." in parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
    if not parts:
        return os.open(b".", flags, mode, dir_fd=folder)
    parent = os.dup(folder)
    try:
        for part in parts[:-1]:
            below = _open_one(parent, part, _FOLDER, 0)
            os.close(parent)
            parent = below
        return _open_one(parent, parts[-1], flags, mode)
    finally:
        os.close(parent)


def _open_one(parent: int, part: bytes, flags: int, mode: int) -> int:
    try:
        return os.open(part, flags, mode, dir_fd=parent)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(part)) from None
        raise
