"""The plan of a job: which entries make which part. It lies in the output, part by part.

    OUTPUT/_tinyast/job.json           the job
    OUTPUT/_tinyast/plan/000012        the entries of a part (MessagePack of `Part`)
    OUTPUT/date=2024-06-01/part-000012.parquet

Only the plan says which files belong to a part. So a part can be made again anywhere with the same
rows, and a restart lists the sources again and adds files that the plan lacks. Readers skip names
that begin with `_`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote_from_bytes

import msgspec
import xxhash

from daemon.cluster.entries import Entry, Part, Seen, decoded
from daemon.cluster.splitting import SLICE
from daemon.cluster.storage import Place, StorageError
from daemon.pipeline.recording_time import time_in_name, zone
from daemon.settings.schema import Folder

Partition = Literal["date", "folder", "none"]

FOLDER = "_tinyast"
PLAN = f"{FOLDER}/plan"
MOST_FILES = 500  # in a part: two seconds of one core
MOST_BYTES = 256 << 20
MOST_WAITING = 20_000  # entries in memory
LONGEST = 200  # characters of a folder's name


def part_name(number: int, part: Part) -> str:
    """The place of a part's table in the output."""
    return f"{part.partition}/part-{number:06}.parquet".lstrip("/")


def read_part(output: Place, number: int) -> Part:
    """Raises StorageError."""
    data = output.read(f"{PLAN}/{number:06}")
    try:
        return decoded(data or b"")
    except msgspec.DecodeError as error:
        raise StorageError(
            f"part {number} of the plan in {output} is missing or damaged"
        ) from error


class Plan:
    """Adds entries to the plan of an output. Raises StorageError."""

    def __init__(self, output: Place, partition_of: Callable[[Entry], str]) -> None:
        self._output, self._partition_of = output, partition_of
        self._waiting: dict[str, list[Entry]] = {}
        self._bytes: Counter[str] = Counter()  # of those that wait, by partition
        self._count = 0  # entries waiting
        self._seen = Seen()
        self.parts, self.files = 0, 0  # planned
        for name in output.names(PLAN):
            if name.isdecimal():
                self.parts = int(name) + 1
                for entry in read_part(output, int(name)).entries:
                    self._seen.add(entry.key)
                    self.files += entry.first == 0

    def add(self, entry: Entry) -> None:
        """Plan an entry, unless it is in the plan already."""
        if not self._seen.add(entry.key):
            return
        self.files += entry.first == 0
        partition = self._partition_of(entry)
        waiting = self._waiting.setdefault(partition, [])
        waiting.append(entry)
        self._bytes[partition] += _work(entry)
        self._count += 1
        if len(waiting) >= MOST_FILES or self._bytes[partition] >= MOST_BYTES:
            self._write(partition)
        elif self._count >= MOST_WAITING:
            self._write(max(self._waiting, key=lambda each: len(self._waiting[each])))

    def finish(self) -> None:
        """Plan the entries that still wait for company."""
        for partition in list(self._waiting):
            self._write(partition)

    def _write(self, partition: str) -> None:
        part = Part(partition, tuple(self._waiting.pop(partition)))
        self._count -= len(part.entries)
        del self._bytes[partition]
        self._output.write(f"{PLAN}/{self.parts:06}", part.encoded())
        self.parts += 1


def _work(entry: Entry) -> int:
    """Bytes to read."""
    return max(0, entry.size) if entry.last is None else SLICE


def partitions(how: Partition, folder: Folder) -> Callable[[Entry], str]:
    """The sub-folder for an entry's rows.

    A date is that in the file's name, as the settings read names, or that of its last change; UTC.
    """
    local = zone(folder.time_zone)

    def date(entry: Entry) -> str:
        named = time_in_name(os.fsdecode(os.path.basename(entry.path)), folder, local)
        if named is not None:
            return f"date={named.at.astimezone(UTC):%Y-%m-%d}"
        try:
            return f"date={datetime.fromtimestamp(entry.mtime_ns / 1e9, UTC):%Y-%m-%d}"
        except (ValueError, OverflowError, OSError):  # not in the calendar
            return "date=1970-01-01"

    def parent(entry: Entry) -> str:
        name = quote_from_bytes(os.path.dirname(entry.path), safe="")
        if len(name) > LONGEST:
            name = name[: LONGEST - 17] + "-" + xxhash.xxh3_64_hexdigest(name.encode())
        return f"folder={name}"

    return {"date": date, "folder": parent, "none": lambda entry: ""}[how]
