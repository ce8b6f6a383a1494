"""Decide which files belong to a folder, and walk over them."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterator

from daemon.host.taking import is_private
from daemon.settings.schema import Folder
from daemon.sources.folder.disposal import Disposal
from daemon.sources.folder.readiness import ignored_name, is_hidden_folder
from tinyast.audio.formats import FORMATS

log = logging.getLogger(__name__)

MOST_SHOWN = 300  # characters of a path in the log and in states
GONE = (errno.ENOENT, errno.ENOTDIR)  # a directory that was removed after it was listed
# Endings of sound that the daemon can read if `formats` names them, and of some that it cannot.
_READABLE = tuple(f".{name}" for name in FORMATS)
_OTHER_SOUND = (".aif", ".aiff", ".caf", ".wma", ".amr", ".wv", ".ape", ".w64", ".mp4")


class Scope:
    """The one rule for what belongs to a folder, whether a scan or an event names it.

    `disposal` knows the daemon's own folders; None if it has no such folders. `state` is its state
    directory, which holds sound that it kept of microphones.
    """

    def __init__(
        self,
        root: bytes,
        folder: Folder,
        disposal: Disposal | None = None,
        state: bytes | None = None,
    ) -> None:
        self.root, self.disposal = root, disposal
        beneath = state is not None and state.startswith(root.rstrip(b"/") + b"/")
        self._state = state if beneath else None
        self._recursive, self._suffixes = folder.recursive, folder.looks_at()
        self._said: set[str] = set()  # endings of sound that were ignored

    def is_own(self, path: bytes) -> bool:
        """Whether the daemon put a file there: under a private name, in done/ or its state."""
        if is_private(os.path.basename(path)):
            return True
        if self._state is not None and (path + b"/").startswith(self._state + b"/"):
            return True
        return self.disposal is not None and self.disposal.owns(path)

    def ignores(self, path: bytes) -> str | None:
        """Why a file at `path`, which is not the daemon's own, is not looked at; None if it is."""
        *parents, name = path.removeprefix(self.root).lstrip(b"/").split(b"/")
        if parents and not self._recursive:
            return "directory"
        if any(map(is_hidden_folder, parents)):
            return "hidden"
        return self.ignores_name(name)

    def ignores_name(self, name: bytes) -> str | None:
        """Why a file of this name is not looked at, wherever it lies; None if it is."""
        reason = ignored_name(name, self._suffixes)
        if reason == "suffix" and self.disposal is not None:
            self._say_unread(os.fsdecode(name))
        return reason

    def _say_unread(self, name: str) -> None:
        """Log the first file of each kind of sound that the settings leave out."""
        ending = os.path.splitext(name)[1].lower()
        if ending in self._said or ending not in (*_READABLE, *_OTHER_SOUND):
            return
        self._said.add(ending)
        hint = "convert such files to WAV or FLAC"
        if ending in _READABLE:
            hint = f'add "{ending[1:]}" to `formats` of this folder'
        log.warning(
            "%s in %s is ignored, and so is each other %s file; to have them classified, %s",
            name, os.fsdecode(self.root), ending, hint,
        )  # fmt: skip

    def enters(self, directory: bytes) -> bool:
        """Whether files in a directory belong to the folder if those in its parent do."""
        hidden = is_hidden_folder(os.path.basename(directory))
        return self._recursive and not hidden and not self.is_own(directory)


class Walk:
    """One walk: iterates over the paths of the files under a root, in no order.

    The memory used grows with the depth of the tree, not with the number of files. A directory
    that cannot be listed is left out; `fault` says why, if another attempt may succeed.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.ignored: Counter[str] = Counter()
        self.fault: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        stack = [self._scope.root]
        while stack:
            directory = stack.pop()
            for entry in self._list(directory):
                if is_private(entry.name):
                    yield from self._restore(entry.path)
                elif is_directory(entry):
                    if self._scope.enters(entry.path):
                        stack.append(entry.path)
                    else:
                        self.ignored["directory"] += 1
                elif reason := self._scope.ignores_name(entry.name):
                    self.ignored[reason] += 1
                else:
                    yield entry.path

    def _restore(self, path: bytes) -> list[bytes]:
        """Give a file that an interrupted disposal left under a private name its own name back."""
        disposal = self._scope.disposal
        return [] if disposal is None else disposal.restore(path)

    def _list(self, directory: bytes) -> Iterator[os.DirEntry[bytes]]:
        try:
            with os.scandir(directory) as entries:
                yield from entries
        except OSError as error:
            if error.errno in GONE and directory != self._scope.root:
                return
            self.ignored["unreadable directory"] += 1
            name = os.fsdecode(directory)
            shown = name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}…"
            text = f"cannot list {shown}: {error.strerror or error}"
            log.warning("%s", text)
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG):
                self.fault = text


def is_directory(entry: os.DirEntry[bytes]) -> bool:
    """Whether an entry is a directory itself, and not a link to one."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # the later check finds the reason
        return False
