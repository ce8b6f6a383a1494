"""The table of mounts: folders that can change without an event on this machine, or be covered."""

from __future__ import annotations

import os
import re
import select
from contextlib import suppress
from pathlib import Path

# File systems that other machines, or the host of this virtual one, write to (inotify(7),
# "Limitations and caveats"). FUSE shows what others write too (sshfs, davfs2, bindfs), except on a
# disk of this machine ("fuseblk").
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "virtiofs"}
REMOTE |= {"fuse", "vboxsf", "vmhgfs", "prl_fs", "lustre", "gpfs", "gfs2", "ocfs2"}

_TABLE = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-7]{3})")  # of a blank, tab, newline or backslash


def is_remote(root: bytes, mounts: bytes | None = None) -> bool:
    """Whether other machines can change `root` without an event here.

    `mounts` has the format of /proc/self/mountinfo (proc(5)), which is read if None. Without that
    file the answer is False, and the daemon relies on events.
    """
    if mounts is None:
        try:
            mounts = _TABLE.read_bytes()
        except OSError:
            return False
    best, kind = b"", b""
    for point, _, its_kind in _parsed(mounts):
        if _is_beneath(root, point) and len(point) >= len(best):
            best, kind = point, its_kind
    return _is_remote_kind(kind)


class MountsBeneath:
    """Notices file systems that come and go beneath the folder `root`. For one thread.

    The kernel reports a change of the table of mounts to whoever has it open; without that file,
    no mount is noticed.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._fd: int | None = None
        self._known: dict[bytes, tuple[bytes, bytes]] = {}  # by place: device, kind
        with suppress(OSError):
            self._fd = os.open(_TABLE, os.O_RDONLY | os.O_CLOEXEC)
            self._poller = select.poll()
            self._poller.register(self._fd, select.POLLPRI)
            self._known = self._read(self._fd)

    def changed(self, unmounted: bool = False) -> list[bytes]:
        """Places beneath the root where a file system came or went since the last call.

        `unmounted`: one of them is gone, and another may have got its number already.
        """
        if self._fd is None or not (self._poller.poll(0) or unmounted):
            return []
        try:
            now = self._read(self._fd)
        except OSError:  # out of memory; the next change is noticed again
            return []
        before, self._known = self._known, now
        return [at for at in now | before if unmounted or now.get(at) != before.get(at)]

    @property
    def remote(self) -> bytes | None:
        """A place beneath the root that other machines can change without an event here."""
        return next((at for at, (_, kind) in self._known.items() if _is_remote_kind(kind)), None)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _read(self, fd: int) -> dict[bytes, tuple[bytes, bytes]]:
        os.lseek(fd, 0, os.SEEK_SET)
        table = b""
        while block := os.read(fd, 1 << 16):
            table += block
        return {
            point: (device, kind)
            for point, device, kind in _parsed(table)
            if point != self._root and _is_beneath(point, self._root)
        }


def _parsed(mounts: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Place, device number and kind of each mount; the one mounted last has a place to itself."""
    found = []
    for line in mounts.splitlines():
        fields, _, rest = line.partition(b" - ")
        _, _, device, _, point = fields.split()[:5]
        point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), point)
        found.append((point, device, rest.split()[0]))
    return found


def _is_beneath(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _is_remote_kind(kind: bytes) -> bool:
    name = kind.decode("ascii", "replace")
    return name in REMOTE or name.startswith("fuse.")
