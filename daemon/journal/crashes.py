"""Which work was in hand when the daemon was killed, and how often: to give up what kills it.

Each worker marks the file in its hands in a small file of the state directory. Marks outlive the
process without a sync; they are no record of power cuts. The next start counts those that it finds
in the journal. Work that made progress between two crashes is not what crashed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from daemon.host.files import open_own

NAME = "in_work"
MOST_CRASHES = 3  # in a row at the same place, after which work is given up
_SLOT = 128  # bytes of a mark; longer names are cut


class WorkMarks:
    """One slot for each thread that handles what others send."""

    def __init__(self, state: Path, slots: int) -> None:
        self._fd = open_own(state / NAME)
        self.left = _parse(os.pread(self._fd, 1 << 16, 0))  # by the process before, if it crashed
        # Blocks that are there already can be written on a full disk.
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, bytes(_SLOT * slots), 0)

    @contextmanager
    def working(self, slot: int, name: str, step: int = 0) -> Iterator[None]:
        """Mark `name`, of which `step` steps are committed, as in work for as long as the block."""
        text = f"{step} {name}".encode("utf-8", "backslashreplace")[:_SLOT]
        self._write(slot, text)
        try:
            yield
        finally:
            self._write(slot, b"")

    def clear(self, slot: int) -> None:
        """Unmark what has that slot: its work hangs, and whoever ends the process means well."""
        self._write(slot, b"")

    def _write(self, slot: int, text: bytes) -> None:
        with suppress(OSError):  # a disk that fails for a moment costs a mark, and stops no work
            os.pwrite(self._fd, text.ljust(_SLOT, b"\0"), _SLOT * slot)

    def close(self) -> None:
        os.close(self._fd)


def _parse(marks: bytes) -> dict[str, int]:
    """Steps by name."""
    found: dict[str, int] = {}
    for start in range(0, len(marks), _SLOT):
        step, _, name = marks[start : start + _SLOT].rstrip(b"\0").partition(b" ")
        if name and step.isdigit() and len(step) < 10:
            found[name.decode("utf-8", "replace")] = int(step)
    return found


def counted(
    left: Mapping[str, int], before: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Steps and crashes by name, given those `left` in work and what was counted `before`."""
    counts = dict(before)
    for name, step in left.items():
        last_step, crashes = before.get(name, (step, 0))
        counts[name] = (step, crashes + 1 if step == last_step else 1)
    return counts
