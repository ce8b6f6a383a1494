"""Standard input, output and error of a command, whatever its caller made of them."""

from __future__ import annotations

import errno
import os
import sys

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def open_standard_streams() -> None:
    """Prepare the streams for writing any text.

    Descriptors 0 to 2 that the caller closed become /dev/null, or the next file that is opened
    would take their place. Characters that the encoding of the terminal lacks are escaped.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write out what was printed. Raises OSError; Python tries nothing again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
        raise


def discard_output() -> None:
    """Let standard output go to /dev/null from now on."""
    fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, 1)
    os.close(fd)


def is_full(error: OSError) -> bool:
    """Whether a file or the output could not take what was written to it."""
    return error.errno in _FULL
