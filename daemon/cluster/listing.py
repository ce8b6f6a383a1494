"""List recordings: in folders, globs, lists of paths, buckets. One folder at a time."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from daemon.cluster.entries import Entry, is_remote
from daemon.cluster.storage import Place, StorageError, place, words
from daemon.commands.batch.finding import no_file
from daemon.errors import SettingsError
from daemon.sources.folder.recordings import Recordings
from daemon.sources.folder.scan import Scope

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

LIST = "@"  # before the name of a file that lists paths


def check_sources(sources: Sequence[str]) -> None:
    """Raise SettingsError if all of `sources` are paths that are not there."""
    for source in sources:
        path = source.removeprefix("file://")
        if source.startswith(LIST) or is_remote(source) or glob.has_magic(path):
            return
        if os.path.lexists(path):
            return
    raise SettingsError(no_file(os.path.abspath(os.fsencode(path))))


def entries(sources: Sequence[str], walk: Recordings) -> Iterator[Entry]:
    """Everything that `sources` name; files that are not there have the size MISSING.

    `walk` counts the files that are left out. Memory grows with the number of folders and with the
    largest, not with the number of files. Raises SettingsError, StorageError.
    """
    for source in sources:
        if source.startswith(LIST):
            yield from entries_in_list(source.removeprefix(LIST), walk)
        elif is_remote(source):
            yield from _remote(place(source), walk)
        else:
            yield from _local(source.removeprefix("file://"), walk)


def entries_in_list(name: str, walk: Recordings) -> Iterator[Entry]:
    """The entries of a list with a path or address on each line. Raises SettingsError."""
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                if path := line.rstrip("\r\n"):
                    yield from entries([path], walk)
    except OSError as error:
        raise SettingsError(f"cannot read the list {name}: {error.strerror}") from error


def _local(source: str, walk: Recordings) -> Iterator[Entry]:
    whole = os.fsencode(os.path.abspath(source))
    if os.path.lexists(whole) or not glob.has_magic(source):
        yield from _file_or_folder(whole, walk)
        return
    # One path at a time; a folder that a pattern names counts with all in it.
    for path in glob.iglob(source, recursive=True):
        yield from _file_or_folder(os.fsencode(os.path.abspath(path)), walk)


def _file_or_folder(path: bytes, walk: Recordings) -> Iterator[Entry]:
    if os.path.isdir(path):
        for each in walk.under(path):
            yield _entry(each.path, partial(each.stat, follow_symlinks=False))
    else:
        whole = os.path.realpath(path) if os.path.islink(path) else path
        yield _entry(whole, lambda: os.lstat(whole))


def fail(directory: bytes, error: OSError) -> NoReturn:
    """End a listing at a folder that cannot be listed."""
    raise StorageError(f"cannot list {os.fsdecode(directory)}: {error.strerror}") from error


def _entry(path: bytes, stat: Callable[[], os.stat_result]) -> Entry:
    try:
        found = stat()
    except OSError:
        return Entry(path)
    return Entry(path, found.st_size, found.st_mtime_ns)


def _remote(source: Place, walk: Recordings) -> Iterator[Entry]:
    from pyarrow.fs import FileType

    info = _info(source, source.path)
    if info.type == FileType.File:
        yield _object(source, info)
    elif info.type == FileType.Directory:
        yield from _keys(source, source.path, walk)
    elif glob.has_magic(source.path):
        parts = source.path.split("/")
        fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
        for entry in _keys(source, "/".join(parts[:fixed]), walk):
            key = entry.path.decode().removeprefix(f"{source.scheme}://")
            if fnmatch.fnmatchcase(key, source.path):
                yield entry
    elif _info(source, source.path.split("/")[0]).type == FileType.NotFound:
        raise StorageError(f"cannot look at {source}: there is no such bucket")
    else:
        yield Entry(str(source).encode())


def _info(source: Place, path: str) -> FileInfo:
    try:
        return source.files.get_file_info(path)
    except OSError as error:
        raise StorageError(f"cannot look at {source}: {words(error)}{_hint(error)}") from error


def _keys(source: Place, root: str, walk: Recordings) -> Iterator[Entry]:
    """Objects below a prefix, sorted in each folder. Raises StorageError."""
    from pyarrow.fs import FileSelector, FileType

    scope = Scope(b"", walk.folder)
    stack = [root]
    while stack:
        directory = stack.pop()
        try:
            found = source.files.get_file_info(FileSelector(directory))
        except OSError as error:
            where = f"{source.scheme}://{directory}"
            raise StorageError(f"cannot list {where}: {words(error)}{_hint(error)}") from error
        found.sort(key=lambda each: str(each.path))
        for each in found:
            if each.type != FileType.File:
                continue
            if (reason := scope.ignores_name(each.base_name.encode())) is None:
                yield _object(source, each)
            elif reason == "suffix":
                walk.pass_over(each.base_name)
        folders = [each.path for each in found if each.type == FileType.Directory]
        stack += [path for path in reversed(folders) if scope.enters(path.encode())]


def _object(source: Place, info: FileInfo) -> Entry:
    return Entry(f"{source.scheme}://{info.path}".encode(), info.size, info.mtime_ns or 0)


def is_denied(error: OSError) -> bool:
    """Whether a store refuses access."""
    text = str(error)
    return isinstance(error, PermissionError) or any(
        sign in text for sign in ("ACCESS_DENIED", "Access Denied", "HTTP status 403", "Forbidden")
    )


def _hint(error: OSError) -> str:
    if not is_denied(error):
        return ""
    return "; give credentials that may list and read it (for S3: AWS_ACCESS_KEY_ID and the like)"
