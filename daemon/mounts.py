"""Which folders change without this machine being told."""

from __future__ import annotations

from pathlib import Path

# File systems that other machines write to (inotify(7), "Limitations and caveats").
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "virtiofs"}


def is_remote(root: bytes) -> bool:
    """Whether other machines can change `root` without this one being told (Linux only)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    best, kind = b"", b""
    for line in mounts:
        fields, _, rest = line.partition(b" - ")
        point = fields.split()[4].replace(b"\\040", b" ")
        inside = root == point or root.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    name = kind.decode("ascii", "replace")
    return name in REMOTE or name.startswith("fuse.")
