"""Detect folders that can change without an event on this machine."""

from __future__ import annotations

from pathlib import Path

# File systems that other machines write to (inotify(7), "Limitations and caveats").
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "virtiofs"}


def is_remote(root: bytes, mounts: bytes | None = None) -> bool:
    """Whether other machines can change `root` without an event here.

    `mounts` has the format of /proc/self/mountinfo (proc(5)), which is read if None. Without that
    file the answer is False, and the daemon relies on events.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_bytes()
        except OSError:
            return False
    best, kind = b"", b""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(b" - ")
        point = fields.split()[4].replace(b"\\040", b" ")
        inside = root == point or root.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    name = kind.decode("ascii", "replace")
    return name in REMOTE or name.startswith("fuse.")
