"""Find the file that a message names, even if the daemon has moved it (`after = "move"`).

Messages do not say where a file went. It lies below `done/` or `failed/` of its folder, under its
name or one with a number, and its id tells it from namesakes. Every step is beneath a folder that
the daemon named, and through no link.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from daemon.host.beneath import open_beneath, opened_folder, relative
from daemon.protocol.file_ids import is_version
from daemon.settings.schema import PUT_AWAY

MOST = 10  # namesakes that are compared
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NONBLOCK  # never waits for a FIFO


def open_version(root: bytes, path: bytes, file_id: str | None, published: float) -> int:
    """Open the file that was at `path`, below the folder `root`, as the version `file_id`.

    If no file can be told to be that version, it is the file at `path`, or the only one of its name
    on another disk, where the daemon had to copy it. Of namesakes those are compared first that
    were moved soon after `published`, s since 1970. Raises OSError.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(opened_folder(root))
        place = relative(root, path)
        fault: OSError | None = None
        try:
            here = stack.enter_context(_Opened(folder, place))
            if file_id is None or is_version(file_id, path, os.fstat(here.fd)):
                return here.keep()
        except OSError as error:
            fault = error
        moved = []
        for name in _namesakes(folder, place, published):
            with suppress(OSError):  # a link, or gone again
                moved.append(stack.enter_context(_Opened(folder, name)))
        if file_id is not None:
            for each in moved:
                if is_version(file_id, path, os.fstat(each.fd)):
                    return each.keep()
        if fault is None:
            return here.keep()
        disk = os.stat(root).st_dev
        if len(moved) == 1 and os.fstat(moved[0].fd).st_dev != disk:
            return moved[0].keep()
        raise fault


class _Opened:
    """A file beneath a folder's descriptor, closed unless it is kept. Raises OSError."""

    def __init__(self, folder: int, place: bytes) -> None:
        self.fd = open_beneath(folder, place, _FILE)
        self._kept = False

    def keep(self) -> int:
        self._kept = True
        return self.fd

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            os.close(self.fd)


def _namesakes(folder: int, place: bytes, published: float) -> list[bytes]:
    """Files of this name that the daemon put away, the likeliest first."""
    found = sorted(_listed(folder, place), key=lambda each: abs(each[0] - published))
    return [name for _, name in found[:MOST]]


def _listed(folder: int, place: bytes) -> Iterator[tuple[float, bytes]]:
    """When each was moved, in s since 1970, and its place beneath `folder`."""
    directory, name = os.path.split(place)
    stem, suffix = os.path.splitext(name)
    alike = re.compile(re.escape(stem) + rb"(-\d+)?" + re.escape(suffix), re.DOTALL)
    for own in map(os.fsencode, PUT_AWAY):
        inside = os.path.join(own, directory).rstrip(b"/")
        with suppress(OSError), ExitStack() as stack:
            fd = open_beneath(folder, inside, _FOLDER)
            stack.callback(os.close, fd)
            for each in map(os.fsencode, os.listdir(fd)):
                if alike.fullmatch(each):
                    with suppress(FileNotFoundError):
                        moved = os.stat(each, dir_fd=fd, follow_symlinks=False).st_ctime
                        yield moved, os.path.join(inside, each)
