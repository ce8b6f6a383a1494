"""Possible contents of a disk after a power cut, given a record of writes and syncs.

    recorder = Recorder(tmp_path / "disk")  # a new folder, of which writes are recorded
    daemon(env=recorder.env)
    for cut in cuts(recorder.records(), rng, 100):
        cut.write_to(folder)

The disk is a harsh one. What a file had when it was last synced is there; of later writes, each
sector may be there or not. Names are durable once their folder was synced; of later changes of
names, only the first few may be there.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from failing_calls import build

SECTOR = 512
_HEAD = struct.Struct("=QQQQ")
_SOURCE = Path(__file__).parent / "preload" / "record_writes.c"


class Entry(NamedTuple):
    """One call of the process."""

    kind: str  # Create, Truncate, Write, Sync, Rename, Unlink or sEnd, by their capital letter
    inode: int
    offset: int
    data: bytes


class Recorder:
    """Records the writes below `folder` of every process that is started with `env`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._file = folder.with_name("records")
        library = build(_SOURCE)
        self.env = {
            "LD_PRELOAD": str(library),
            "RECORD_TO": str(self._file),
            "RECORD_UNDER": str(folder),
        }

    def records(self) -> list[Entry]:
        data = self._file.read_bytes()
        found, at = [], 0
        while at + _HEAD.size <= len(data):
            kind, inode, offset, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            found.append(Entry(chr(kind), inode, offset, data[at : at + length]))
            at += length
        return found


@dataclass
class _File:
    """One file: its certain content, and the operations since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: truncated there

    def sync(self) -> None:
        self.durable, self.pending = self.survivor(None), []

    def survivor(self, rng: random.Random | None) -> bytearray:
        """Its content after a cut; with no `rng`, all of it."""
        content = bytearray(self.durable)
        chance = 1.0 if rng is None else rng.choice((0.0, 0.5, 0.9, 1.0))
        for offset, data in self.pending:
            if data is None:
                if rng is None or rng.random() < chance:
                    del content[offset:]
                    content.extend(bytes(offset - len(content)))
                continue
            for start, piece in _sectors(offset, data):
                if rng is None or rng.random() < chance:
                    content.extend(bytes(max(0, start - len(content))))
                    content[start : start + len(piece)] = piece
        return content


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Pieces of a write that lie in one sector each, with their offsets."""
    at = 0
    while at < len(data):
        length = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
        yield offset + at, data[at : at + length]
        at += length


class Disk:
    """A folder's files while records are played back."""

    def __init__(self, folder: Path) -> None:
        self._folder = bytes(folder)
        self._files: dict[int, _File] = {}  # by inode
        self._names: dict[bytes, _File] = {}  # durable ones, by path
        self._changes: list[tuple[bytes, bytes | None, _File | None]] = []  # of names, since
        self.sent: dict[int, bytearray] = {}  # by descriptor of the socket

    def play(self, entry: Entry) -> None:
        file = self._files.get(entry.inode)
        match entry.kind:
            case "C":
                file = self._files[entry.inode] = _File()
                self._changes.append((entry.data, None, file))
            case "W" if file is not None:
                file.pending.append((entry.offset, entry.data))
            case "T" if file is not None:
                file.pending.append((entry.offset, None))
            case "S" if file is not None:
                file.sync()
            case "S":  # of a folder
                self._names, self._changes = self._renamed(len(self._changes)), []
            case "R":
                old, new = entry.data.rstrip(b"\0").split(b"\0")
                self._changes.append((old, new, None))
            case "U":
                self._changes.append((entry.data, None, None))
            case "E":
                self.sent.setdefault(entry.inode, bytearray()).extend(entry.data)

    def _renamed(self, count: int) -> dict[bytes, _File]:
        """Names after the first `count` of the changes since their folder was synced."""
        names = dict(self._names)
        for path, new, file in self._changes[:count]:
            if file is not None:
                names[path] = file
            elif path in names:
                found = names.pop(path)
                if new is not None:
                    names[new] = found
        return names

    def cut(self, rng: random.Random, target: Path) -> None:
        """Write to the folder `target` a state that a power cut now may leave."""
        names = self._renamed(rng.randint(0, len(self._changes)))
        for path, file in names.items():
            place = target / path[len(self._folder) + 1 :].decode()
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.write_bytes(file.survivor(rng))
