"""List the recordings in folders once, for a command that reads them all and then ends."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

from daemon.settings.schema import Folder
from daemon.sources.folder.scan import GONE, Scope, is_directory
from tinyast.audio.formats import FORMATS

Entry = os.DirEntry[bytes]


class Recordings:
    """Walks over folders, each once, and counts the files that it leaves out on the way."""

    def __init__(self, folder: Folder, on_fault: Callable[[bytes, OSError], None]) -> None:
        """`folder` says which files to read. `on_fault` gets each folder that cannot be listed."""
        self.folder = folder
        self.special = 0  # links, pipes and devices with a wanted suffix
        self.unread: Counter[str] = Counter()  # files of other formats, by suffix
        self._on_fault = on_fault
        self._others = tuple(f".{name}" for name in FORMATS if name not in folder.formats)
        self._walked: set[bytes] = set()

    def under(self, root: bytes) -> Iterator[Entry]:
        """The regular files under the folder `root`, in the order of their paths.

        Memory grows with the number of folders, and of the entries of those on one path. A folder
        that an earlier call walked over is skipped, also below another root.
        """
        scope = Scope(root, self.folder)
        stack = [self._listed(root, root)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif is_directory(entry):
                if scope.enters(entry.path):
                    stack.append(self._listed(entry.path, root))
            elif (reason := scope.ignores_name(entry.name)) is None:
                if _is_regular(entry):
                    yield entry
                else:
                    self.special += 1
            elif reason == "suffix" and _is_regular(entry):
                self.pass_over(os.fsdecode(entry.name))

    def pass_over(self, name: str) -> None:
        """Count a file whose suffix is not wanted, if it is that of a format that can be read."""
        suffix = os.path.splitext(name)[1].lower()
        if suffix in self._others:
            self.unread[suffix] += 1

    def _listed(self, directory: bytes, root: bytes) -> Iterator[Entry]:
        if directory in self._walked:
            return iter(())
        self._walked.add(directory)
        try:
            with os.scandir(directory) as found:
                return iter(sorted(found, key=_place))
        except OSError as error:
            if error.errno not in GONE or directory == root:
                self._on_fault(directory, error)
            return iter(())


def _place(entry: Entry) -> bytes:
    """The key that puts the entries of each folder in an order that sorts all paths of a walk."""
    return entry.name + b"/" if is_directory(entry) else entry.name


def _is_regular(entry: Entry) -> bool:
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return True  # for the command to say why it cannot be read
