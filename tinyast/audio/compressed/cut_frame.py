"""Where the first whole frame lies in a recording of a network stream, which begins anywhere."""

from __future__ import annotations

from collections.abc import Callable

from tinyast.audio.content import Content

_IN_A_ROW = 3  # frames that follow each other: other data do not look like that
_LONGEST_ADTS = 8_191  # bytes
_SHORTEST_ADTS = 7  # bytes: its header


def first_whole(file: Content, longest: int, length: Callable[[bytes, int], int]) -> int:
    """The byte at which the first whole frame begins; 0 also if there is none.

    `length` gives the bytes of the frame that begins at a byte, 0 without one; `longest` is the
    most that it can give.
    """
    head = file.read(longest * (_IN_A_ROW + 1), 0)
    if length(head, 0):
        return 0
    at = head.find(b"\xff", 1, longest)
    while at > 0 and not _in_a_row(head, at, length):
        at = head.find(b"\xff", at + 1, longest)
    return max(0, at)


def _in_a_row(data: bytes, at: int, length: Callable[[bytes, int], int]) -> bool:
    for _ in range(_IN_A_ROW):
        found = length(data, at)
        if not found:
            return False
        at += found
    return True


def begins_within_adts(file: Content) -> bool:
    """Whether frames of AAC (ADTS: ISO/IEC 13818-7, 6.2) follow the rest of a cut one."""
    return first_whole(file, _LONGEST_ADTS, _adts_length) > 0


def _adts_length(data: bytes, at: int) -> int:
    if len(data) < at + _SHORTEST_ADTS or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return 0
    found = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    return found if found > _SHORTEST_ADTS else 0
