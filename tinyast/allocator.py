"""Freed memory is kept for the next window.

glibc gives large blocks back to the system when they are freed, and every window needs the same
ones again: each page is then mapped and cleared anew, which took longer than the arithmetic. It
also gives every thread an arena of its own, each with its own slack.
"""

from __future__ import annotations

import ctypes

# mallopt(3), malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
KEPT = 16 << 20  # bytes at the end of an arena before any are given back
MAPPED = 8 << 20  # bytes of a block from which on it is mapped by itself, as a whole file's sound


def keep_freed_memory(arenas: int) -> bool:
    """Tune the C library's allocator for windows in `arenas` threads; whether it can be tuned.

    For the program, not for the library, to call, before it starts threads: it holds for the
    whole process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl, say, whose allocator has no such settings
        return False
    wanted = ((_M_MMAP_THRESHOLD, MAPPED), (_M_TRIM_THRESHOLD, KEPT), (_M_ARENA_MAX, arenas))
    return all(mallopt(what, value) == 1 for what, value in wanted)
