"""Is this file whole, still growing, or none of our business?

Answered from the name, the kind of file, who holds it open and what its header promises; nothing
is decoded. Files are opened by descriptor, never through a symbolic link, never blocking.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from dataclasses import dataclass

from daemon.errors import MACHINE_FAULTS
from daemon.host.files import opened
from daemon.journal.ledger import Identity
from tinyast.audio.content import Content
from tinyast.audio.decoding import sniff
from tinyast.audio.wav_header import read_header
from tinyast.errors import AudioError

# Names that programs give to files they have not finished (browsers, rsync, editors, sync tools).
TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".swp", "~")
_LEASE_SAYS_WRITER = {errno.EAGAIN, errno.EBUSY}


@dataclass(frozen=True)
class Whole:
    """Ready to be read. `promised_more` where its header says that bytes are missing."""

    identity: Identity
    promised_more: bool = False


@dataclass(frozen=True)
class Growing:
    """Not whole yet as far as can be told; look again when it changes or has settled."""

    identity: Identity


@dataclass(frozen=True)
class Ignored:
    """Not a file that this daemon reads."""

    reason: str


@dataclass(frozen=True)
class Faulty:
    """The machine would not let it be looked at; try again later."""

    text: str


Finding = Whole | Growing | Ignored | Faulty


def ignored_name(name: bytes, suffixes: tuple[str, ...]) -> str | None:
    """Why a file of this name is not looked at; None if it is."""
    text = os.fsdecode(name).lower()
    if text.startswith("."):
        return "hidden"
    if text.endswith(TEMPORARY):
        return "temporary"
    if not text.endswith(suffixes):
        return "suffix"
    return None


def look(
    path: bytes,
    closed: bool,
    settled: Identity | None,
    found: os.stat_result | None = None,
    root: bytes | None = None,
) -> Finding:
    """Look at one file, of which `found` is what `os.lstat` just said, if it was asked.

    It is opened through no symbolic link below the folder `root`.

    `closed`: an event said that its writer is done. `settled`: its identity if it has been the
    same for the folder's `settle`, which counts as closed too.
    """
    try:
        found = found or os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return Ignored(_kind(found.st_mode))
        with opened(path, root) as fd:
            return _look_inside(fd, closed, settled)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Ignored("gone")
        if error.errno == errno.ELOOP:
            return Ignored("symbolic link")
        if found is None or error.errno in MACHINE_FAULTS:
            return Faulty(error.strerror or str(error))
        # Forbidden, say. The reading worker meets the same error and says so in its own words.
        identity = Identity.of(found)
        return Whole(identity) if settled == identity else Growing(identity)


def _look_inside(fd: int, closed: bool, settled: Identity | None) -> Finding:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return Ignored(_kind(found.st_mode))
    identity = Identity.of(found)
    if settled == identity:
        return Whole(identity, promised_more=missing_bytes(fd, identity.size) > 0)
    held = has_writer(fd)
    if held or (held is None and not closed):
        return Growing(identity)
    return Growing(identity) if missing_bytes(fd, identity.size) > 0 else Whole(identity)


def missing_bytes(fd: int, size: int) -> int:
    """How many bytes an open file lacks: those its header promises, or those of its header."""
    if size == 0:
        return 1  # made, and not yet written
    content = Content(fd, size, header_only=True)
    if sniff(content) not in ("wav", None):
        return 0
    try:
        header = read_header(content)
    except AudioError:
        return 0  # bad for good: for the reader to say
    return 1 if header is None else header.missing(size)


def has_writer(fd: int) -> bool | None:
    """Whether anyone has the file open for writing; None where the system cannot tell.

    A read lease is granted only while no writer has the file open (fcntl(2)); it is given back
    at once. The daemon ignores SIGIO, which announces a writer that came in between.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno in _LEASE_SAYS_WRITER else None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _kind(mode: int) -> str:
    names = {
        stat.S_IFLNK: "symbolic link",
        stat.S_IFDIR: "directory",
        stat.S_IFIFO: "FIFO",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return names.get(stat.S_IFMT(mode), "special file")
