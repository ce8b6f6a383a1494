"""Walking a watched folder: every file in it whose name is looked at, one at a time."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator

from daemon.host.taking import is_private
from daemon.settings.schema import Folder
from daemon.sources.folder.disposal import Disposal
from daemon.sources.folder.readiness import ignored_name

log = logging.getLogger(__name__)


def walk(
    root: bytes, folder: Folder, ignored: Counter[str], disposal: Disposal | None = None
) -> Iterator[bytes]:
    """Paths of the files under `root`, in no order; what is passed over is counted in `ignored`.

    What an interrupted `disposal` left under a private name gets its own name back.
    A directory that vanishes meanwhile or may not be read is passed over too. The memory used
    grows with the depth of the tree, not with the number of files.
    """
    suffixes = folder.looks_at()
    stack = [root]
    while stack:
        directory = stack.pop()
        try:
            entries = os.scandir(directory)
        except OSError as error:
            ignored["unreadable directory"] += 1
            log.warning("cannot list %s: %s", os.fsdecode(directory), error.strerror)
            continue
        with entries:
            for entry in entries:
                if disposal is not None and is_private(entry.name):
                    yield from disposal.restore(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    if folder.recursive and not _set_aside(entry, disposal):
                        stack.append(entry.path)
                    else:
                        ignored["directory"] += 1
                elif reason := ignored_name(entry.name, suffixes):
                    ignored[reason] += 1
                else:
                    yield entry.path


def _set_aside(entry: os.DirEntry[bytes], disposal: Disposal | None) -> bool:
    if entry.name.startswith(b"."):
        return True
    return disposal is not None and disposal.owns(entry.path)
