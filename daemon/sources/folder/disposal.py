"""What is done with a file once its end state is committed: nothing, unless settings say so."""

from __future__ import annotations

import errno
import logging
import os

from daemon.journal.ledger import Identity, LedgerRow
from daemon.settings.schema import Folder
from daemon.sources.folder.scan import DONE, FAILED

log = logging.getLogger(__name__)


def put_away(row: LedgerRow, root: bytes, folder: Folder) -> None:
    """Move or delete a finished file, unless it has changed since.

    Only a file that is `done` is deleted; one that failed stays for a person to look at. Nothing
    is ever overwritten. An OSError is logged and the file stays: the next scan tries again.
    """
    if folder.after == "keep" or (folder.after == "delete" and row.state != "done"):
        return
    try:
        if not Identity.of(os.lstat(row.path)).same_content(row.identity):
            return
        if folder.after == "delete":
            os.unlink(row.path)
        else:
            _move(row.path, os.path.join(root, DONE if row.state == "done" else FAILED))
    except FileNotFoundError:
        return
    except OSError as error:
        log.error(
            "cannot %s %s after it was classified: %s",
            folder.after,
            os.fsdecode(row.path),
            error.strerror,
        )


def _move(path: bytes, directory: bytes) -> None:
    os.makedirs(directory, exist_ok=True)
    stem, suffix = os.path.splitext(os.path.basename(path))
    number = 0
    while True:
        target = os.path.join(directory, stem + (b"-%d" % number if number else b"") + suffix)
        try:
            os.link(path, target, follow_symlinks=False)  # unlike rename, never replaces
            break
        except FileExistsError:
            number += 1
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise
            # No hard links here (FAT, some network shares).
            if os.path.lexists(target):
                number += 1
                continue
            os.rename(path, target)
            return
    os.unlink(path)
