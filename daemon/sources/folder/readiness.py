"""Decide whether a file is complete, still being written, or to be ignored.

Its name, its kind, its writers and its header decide; no sound is decoded. Files are opened by
descriptor, never through a symbolic link, and never so that opening blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from msgspec import Struct

from daemon.errors import is_passing
from daemon.host.files import opened
from daemon.journal.ledger import Identity
from tinyast.audio.content import Content
from tinyast.audio.decoding import sniff
from tinyast.audio.wav.header import read_header
from tinyast.errors import AudioError

# Names of unfinished files (browsers, rsync, editors, sync tools).
TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".swp", "~")
# Folders of deleted files and the like, in lower case: Windows (memory cards too), Synology, QNAP.
_HIDDEN_FOLDERS = frozenset(
    b"$recycle.bin,recycler,system volume information,lost+found,#recycle,@recycle,@eadir,"
    b"__macosx".split(b",")
)
_LEASE_SAYS_WRITER = {errno.EAGAIN, errno.EBUSY}


class Evidence(Struct, frozen=True):
    """Facts about a file before it is opened."""

    closed: bool = False  # its writer was seen to close it, or it was moved or linked in
    written: bool = False  # events say that a writer has it open
    settled: Identity | None = None  # its identity, if unchanged for the folder's `settle`
    old: bool = False  # unchanged for much longer than that
    remote: bool = False  # other machines may write it, and a lease cannot detect that


class Whole(Struct, frozen=True):
    """Ready to be read."""

    identity: Identity
    promised_more: bool = False  # its header says that bytes are missing
    sure: bool = True  # it has no writer; False: no writer was noticed while it settled


class Growing(Struct, frozen=True):
    """Probably not complete; look again when it changes or has settled."""

    identity: Identity
    has_writer: bool = False

    @property
    def empty(self) -> bool:
        """Perhaps a placeholder that a download or upload fills later."""
        return self.identity.size == 0


class Ignored(Struct, frozen=True):
    """Not a file that this daemon reads."""

    reason: str


class Faulty(Struct, frozen=True):
    """The system refused to show it; try again later."""

    text: str
    errno: int = 0
    identity: Identity | None = None  # if known


Finding = Whole | Growing | Ignored | Faulty


def ignored_name(name: bytes, suffixes: tuple[str, ...]) -> str | None:
    """Why a file of this name is not read; None if it is."""
    text = os.fsdecode(name).lower()
    if text.startswith("."):
        return "hidden"
    if text.endswith(TEMPORARY):
        return "temporary"
    if not text.endswith(suffixes):
        return "suffix"
    return None


def is_hidden_folder(name: bytes) -> bool:
    """Whether files in a folder of this name are deleted ones, or belong to a program."""
    return name.startswith(b".") or name.lower() in _HIDDEN_FOLDERS


def look(
    path: bytes,
    evidence: Evidence,
    found: os.stat_result | None = None,
    root: bytes | None = None,
) -> Finding:
    """Look at one file, through no symbolic link below the folder `root`.

    `found` is the result of `os.lstat`, if there is one already.
    """
    try:
        found = found or os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return Ignored(_kind(found.st_mode))
        with opened(path, root) as fd:
            return _look_inside(fd, evidence)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Ignored("gone")
        if error.errno == errno.ELOOP:
            return Ignored("symbolic link")
        identity = None if found is None else Identity.of(found)
        if identity is None or is_passing(error):
            return Faulty(error.strerror or str(error), error.errno or 0, identity)
        # For example forbidden. The worker that reads it gets the same error and reports it.
        settled = _has_settled(identity, evidence)
        return Whole(identity, sure=False) if settled else Growing(identity)


def _look_inside(fd: int, evidence: Evidence) -> Finding:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return Ignored(_kind(found.st_mode))
    identity = Identity.of(found)
    held = has_writer(fd, evidence)
    if held:
        return Growing(identity, has_writer=True)
    settled = _has_settled(identity, evidence)
    closed = evidence.closed or held is False
    if not (settled or closed):
        return Growing(identity)
    missing = missing_bytes(fd, identity.size) > 0
    if missing and not (settled and (identity.size or evidence.old)):
        return Growing(identity)
    return Whole(identity, missing, sure=closed)


def _has_settled(identity: Identity, evidence: Evidence) -> bool:
    return evidence.settled is not None and evidence.settled.same_times(identity)


def missing_bytes(fd: int, size: int) -> int:
    """How many bytes are missing from an open file, according to its header."""
    if size == 0:
        return 1  # it was created but not written yet
    content = Content(fd, size, header_only=True)
    if sniff(content) not in ("wav", None):
        return 0
    try:
        header = read_header(content)
    except AudioError:
        return 0  # more bytes cannot help; the worker that reads it reports the fault
    return 1 if header is None else header.missing(size)


NO_EVIDENCE = Evidence()


def may_have_writer(path: bytes, evidence: Evidence, root: bytes) -> bool | None:
    """`has_writer` of the file at `path`. Raises OSError."""
    with opened(path, root) as fd:
        return has_writer(fd, evidence)


def has_writer(fd: int, evidence: Evidence = NO_EVIDENCE) -> bool | None:
    """Whether any process has the file open for writing; None if there is no way to know.

    A read lease is granted only while no process of this machine has the file open for writing,
    and only to the file's owner or with CAP_LEASE (fcntl(2)); it is returned at once. The daemon
    ignores SIGIO, which announces a writer that came in between. Where leases fail, events decide.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno in _LEASE_SAYS_WRITER or evidence.written else None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    if evidence.remote:
        return True if evidence.written else None
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
