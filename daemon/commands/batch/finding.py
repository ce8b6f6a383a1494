"""The recordings that a command is given: files by name, and those in folders."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from daemon.commands.batch.classify_output import shown
from daemon.errors import SettingsError
from daemon.settings.schema import Folder, Settings
from daemon.sources.folder.scan import Scope, Walk
from tinyast.audio.decoding import FORMATS


@dataclass(frozen=True)
class Found:
    """What the paths of a command line lead to, each once, in order."""

    files: list[bytes]
    missing: list[bytes]  # named, but not there
    special: int  # links, pipes and devices in folders

    def check(self, paths: Sequence[Path], folder: Folder) -> None:
        """Raise SettingsError if there is no file at all."""
        if self.files:
            return
        if self.missing:
            raise SettingsError(f"there is no file or folder {shown(self.missing[0])}")
        where = ", ".join(shown(os.fsencode(path)) for path in paths)
        kinds = "/".join(folder.looks_at())
        raise SettingsError(
            "; ".join([f"no {kinds} files in {where}", *left_out(self, paths, folder)])
        )


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
    """The files named, and those in the folders named.

    As the daemon does, it leaves links, pipes and devices in folders alone; a link that is named
    itself means the file that it points to.
    """
    files: list[bytes] = []
    missing: list[bytes] = []
    special = 0
    for path in paths:
        whole = os.fsencode(os.path.abspath(path))
        if os.path.isdir(whole):
            here = sorted(Walk(Scope(whole, folder)))
            regular = list(filter(_is_regular, here))
            special += len(here) - len(regular)
            files += regular
        elif os.path.exists(whole):
            files.append(os.path.realpath(whole) if os.path.islink(whole) else whole)
        else:
            missing.append(whole)
    return Found(list(dict.fromkeys(files)), list(dict.fromkeys(missing)), special)


def find_all(paths: Sequence[Path], folder: Folder) -> list[bytes]:
    """The files of `find`. Raises SettingsError if one of `paths` is not there."""
    found = find(paths, folder)
    if found.missing:
        raise SettingsError(f"there is no file or folder {shown(found.missing[0])}")
    return found.files


def left_out(found: Found, paths: Sequence[Path], folder: Folder) -> Iterator[str]:
    """Say which files in the folders named are not read, and how to have them read."""
    if found.special:
        yield (
            f"left out: {found.special} links, pipes and devices in folders; name a link itself to "
            "have its file read"
        )
    others = tuple(f".{name}" for name in FORMATS if name not in folder.formats)
    folders = [path for path in paths if os.path.isdir(path)]
    counts = Counter(
        os.path.splitext(os.fsdecode(each))[1].lower()
        for each in find(folders, replace(folder, suffixes=others)).files
    )
    if others and counts:
        names = ",".join([*folder.formats, *(ending[1:] for ending in sorted(counts))])
        there = ", ".join(f"{number} {ending}" for ending, number in sorted(counts.items()))
        yield f"left out: {there}; to have them read: --formats {names}"


def _is_regular(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return True  # for the command to say why it cannot be read
