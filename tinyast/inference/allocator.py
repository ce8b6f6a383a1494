"""Keep freed memory for the next window, and return it after loading.

glibc returns large freed blocks to the system, and every window needs the same blocks again: the
system then maps and clears each page again, which can take longer than the arithmetic. glibc gives
every thread a separate arena with separate slack. And the process keeps the memory that loading a
model uses temporarily.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

# mallopt(3), malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
KEPT = 16 << 20  # bytes at the end of an arena to keep before returning any
MAPPED = 8 << 20  # bytes; larger blocks are mapped separately, such as a whole file's sound
SHARING = 4  # threads to an arena: each takes a few blocks for a window, and those are large


def keep_freed_memory(threads: int = 1) -> bool:
    """Tune the C library's allocator for windows in `threads` threads; whether it can be tuned.

    For the program, not for the library, to call, before it starts threads: it holds for the
    whole process.
    """
    mallopt = _libc("mallopt")
    if mallopt is None:
        return False
    arenas = -(-threads // SHARING)
    wanted = ((_M_MMAP_THRESHOLD, MAPPED), (_M_TRIM_THRESHOLD, KEPT), (_M_ARENA_MAX, arenas))
    return all(mallopt(what, value) == 1 for what, value in wanted)


def give_back_freed_memory() -> None:
    """Return free memory to the system, if the C library can; call it after loading."""
    trim = _libc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _libc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None for one without it, such as musl."""
    return getattr(ctypes.CDLL(None), name, None)
