"""Duties of a daemon's child process: to die with it, and to say when it is ready.

A helper (`daemon.service.helpers`) gets the daemon's process ID in an environment variable and the
daemon's settings on standard input. It writes one line to standard output when it is ready, and the
reason if it cannot continue; its log goes to standard error.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

VARIABLE = "TINYAST_PARENT"  # process ID of the daemon
TROUBLE = "trouble: "  # begins a line about something for the daemon to publish
READY = "ready: "  # begins the line by which a helper says that it works
OOM_SCORE = 500  # of -1,000 to 1,000: if memory runs out, the kernel ends a helper, not the daemon
PR_SET_PDEATHSIG = 1  # prctl(2)

_is_helper = False


def die_with_parent(parent: int) -> None:
    """Let the kernel end this process with its parent (Linux; elsewhere the pipe breaks)."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(0)


def serve_parent() -> None:
    """If a daemon started this process as a helper, become one."""
    global _is_helper
    parent = os.environ.pop(VARIABLE, "")  # programs that a helper starts are not helpers
    if not parent.isdecimal():
        return
    _is_helper = True
    die_with_parent(int(parent))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def is_helper() -> bool:
    """Whether a daemon started this process as a helper."""
    return _is_helper


def report_ready(text: str) -> None:
    """Tell the daemon that this helper works; on a command line, the person."""
    print(f"{READY if _is_helper else ''}{text}", flush=True)


def report_trouble(text: str) -> None:
    """Tell the daemon of a trouble that this helper lives with; it publishes a status."""
    if _is_helper:
        print(f"{TROUBLE}{' '.join(text.split())}", flush=True)
    else:
        log.error("%s", text)


def given_settings() -> bytes:
    """The settings that the daemon passes to a helper, as JSON."""
    return sys.stdin.buffer.read()
