"""To whom belongs what root makes for a daemon that runs as another user?"""

from __future__ import annotations

import os
from pathlib import Path


def give_to_owner_of(folder: Path, fd: int) -> None:
    """Give an open file or directory to the owner of `folder`, where this is root's to do.

    Raises OSError.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
