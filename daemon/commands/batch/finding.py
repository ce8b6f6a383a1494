"""The recordings that a command is given: files by name, and those in folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from daemon.commands.batch.classify_output import shown
from daemon.errors import FORBIDDEN, SettingsError
from daemon.settings.schema import Folder, Settings
from daemon.sources.folder.recordings import Recordings
from tinyast.audio.decoding import FORMATS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What the paths of a command line lead to, each once, in order."""

    files: list[bytes]
    missing: list[bytes]  # named, but not there
    walk: Recordings  # over the folders among them

    def check(self, paths: Sequence[Path]) -> None:
        """Raise SettingsError if there is no file at all."""
        if self.files:
            return
        if self.missing:
            raise SettingsError(no_file(self.missing[0]))
        where = [shown(os.fsencode(path)) for path in paths]
        raise SettingsError(no_files(where, self.walk))


def folder_settings(settings: Settings, formats: str | None, every_format: bool = False) -> Folder:
    """Settings for reading files: those of the first configured folder, but recursive.

    Raises SettingsError for a format that is not known.
    """
    first = settings.folder[0] if settings.folder else Folder(path=".")
    names = first.formats if formats is None else tuple(formats.lower().split(","))
    every_format |= names == ("all",)
    names = FORMATS if every_format else names
    if unknown := [name for name in names if name not in FORMATS]:
        raise SettingsError(
            f"--formats names {unknown[0]!r}; known are {', '.join(FORMATS)} and all"
        )
    suffixes = first.suffixes if formats is None and not every_format else ()
    return replace(first, recursive=True, formats=names, suffixes=suffixes)


def find(paths: Sequence[Path], folder: Folder) -> Found:
    """The files named, and those in the folders named, in one walk.

    As the daemon does, it leaves links, pipes and devices in folders alone; a link that is named
    itself means the file that it points to.
    """
    files: dict[bytes, None] = {}  # in order, each once
    missing: dict[bytes, None] = {}
    walk = Recordings(folder, _warn)
    for path in paths:
        whole = os.fsencode(os.path.abspath(path))
        if os.path.isdir(whole):
            for entry in walk.under(whole):
                files[entry.path] = None
        elif _is_there(whole):
            files[os.path.realpath(whole) if os.path.islink(whole) else whole] = None
        else:
            missing[whole] = None
    return Found(list(files), list(missing), walk)


def _is_there(path: bytes) -> bool:
    """Whether there is a file; also if this user may not know, which its reader says."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno in FORBIDDEN
    return True


def _warn(directory: bytes, error: OSError) -> None:
    log.warning("cannot list %s: %s", shown(directory), error.strerror or error)


def find_all(paths: Sequence[Path], folder: Folder) -> list[bytes]:
    """The files of `find`. Raises SettingsError if one of `paths` is not there."""
    found = find(paths, folder)
    if found.missing:
        raise SettingsError(no_file(found.missing[0]))
    return found.files


def no_file(path: bytes) -> str:
    """Say that nothing has this name."""
    hint = "; if it is a pattern, leave its quotes out" if b"*" in path else ""
    return f"there is no file or folder {shown(path)}{hint}"


def no_files(where: Iterable[str], walk: Recordings) -> str:
    """Say that there is no file to read in `where`, and which files `walk` left out."""
    kinds = "/".join(walk.folder.looks_at())
    return "; ".join([f"no {kinds} files in {', '.join(where)}", *left_out(walk)])


def left_out(walk: Recordings) -> Iterator[str]:
    """Say which files in folders are not read, and how to have them read."""
    if walk.special:
        yield (
            f"left out: {walk.special} links, pipes and devices in folders; name a link itself "
            "to have its file read"
        )
    if unread := sorted(walk.unread.items()):
        names = ",".join([*walk.folder.formats, *(suffix[1:] for suffix, _ in unread)])
        there = ", ".join(f"{number} {suffix}" for suffix, number in unread)
        yield f"left out: {there}; to have them read: --formats {names}"
