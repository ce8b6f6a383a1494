"""Every error the daemon raises on purpose, each with the exit code it ends in."""

from __future__ import annotations

import errno
import os

# errno values that are about the file itself. Any other means a problem of the system that may
# pass, such as a network that is down, a full disk or too many open files: the daemon tries again.
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
DAMAGED = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})  # its medium, or a passing problem
_OWN_FAULTS = GONE | FORBIDDEN | {errno.EISDIR, errno.EINVAL, errno.EFBIG, errno.EOVERFLOW}


def is_passing(error: OSError) -> bool:
    """Whether what failed with `error` may succeed later without any change to the file."""
    return error.errno not in _OWN_FAULTS


def words_for(error: OSError, path: str | os.PathLike[str]) -> str:
    """What is wrong with `path`, which was to be written or made, and how to put it right."""
    folder = os.path.dirname(os.path.abspath(path))
    match error.errno:
        case errno.ENOENT if not os.path.isdir(folder):
            return f"there is no folder {folder}; make it, or name another"
        case errno.EISDIR:
            return "it is a folder; name a file"
        case errno.EEXIST | errno.ENOTDIR:
            return "it is a file, or lies below one; name a folder"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"this user may not write there ({error.strerror}); name another place"
    return error.strerror or str(error)


class DaemonError(Exception):
    """Base class: the text names the fault, its place and the remedy."""

    exit_code = 1


class SettingsError(DaemonError):
    """Settings that cannot be used."""

    exit_code = 2


class StartError(DaemonError):
    """The daemon cannot start now: a resource is taken, missing or forbidden."""

    exit_code = 3


class JournalError(DaemonError):
    """The journal cannot be opened or written, and waiting does not help."""

    exit_code = 3


class JournalDamaged(DaemonError):
    """The journal was found damaged while in use; the next start moves it aside."""


class Abandoned(Exception):
    """The daemon stops while the disk refuses writes; the next start repeats the work."""
