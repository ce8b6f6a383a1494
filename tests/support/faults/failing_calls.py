"""A process whose n-th call of one function fails, through a library that is preloaded.

calls = FailingCalls(tmp_path / "calls")
daemon(env=calls.env)
calls.plan("open", 7, errno.EMFILE)  # now, or with `arm` once a path that ends so is opened
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import random
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

SOURCE = Path(__file__).parent / "preload" / "failing_call.c"

# Errors that each call can really give: by its manual page, or by that of a network file system.
ERRORS = {
    "open": (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.ESTALE),
    "read": (errno.EIO, errno.ENOMEM, errno.ESTALE),
    "stat": (errno.EIO, errno.ENOMEM, errno.ESTALE),
    "readdir": (errno.EIO, errno.ENOMEM, errno.ESTALE),
    "rename": (errno.EIO, errno.ENOSPC, errno.ENOMEM, errno.ESTALE),
    "write": (errno.EIO, errno.ENOSPC, errno.ENOMEM, errno.ESTALE),
    "sync": (errno.EIO, errno.ENOSPC, errno.ESTALE),
    "thread": (errno.EAGAIN,),
    "process": (errno.EAGAIN, errno.ENOMEM),
}
CALLS = tuple(ERRORS)  # in the order of the library's `enum call`


class _Control(ctypes.Structure):
    """The library's `struct control`."""

    _fields_ = (
        ("armed", ctypes.c_uint32),
        ("failing", ctypes.c_uint32),
        ("nth", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("fired", ctypes.c_uint32),
        ("counts", ctypes.c_uint32 * len(CALLS)),
        ("arm", ctypes.c_char * 256),
        ("where", ctypes.c_char * 256),
    )


@cache
def build(source: Path) -> Path:
    """The library made of `source`; skips the test if there is no compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = Path(mkdtemp(prefix="tinyast-preload-")) / f"{source.stem}.so"
    flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", str(library), str(source), "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Plan:
    """The `nth` call of the kind `call` gives `error`."""

    call: str
    nth: int
    error: int

    @classmethod
    def draw(cls, rng: random.Random, counts: dict[str, int], most: int) -> Plan:
        """One of the calls that `counts` says are made, at most the `most`-th of them.

        Early calls are as likely as the many later ones: 1 to 10 like 100 to 1,000.
        """
        call = rng.choice([call for call, count in counts.items() if count])
        nth = int(min(most, counts[call]) ** rng.random())
        return cls(call, nth, rng.choice(ERRORS[call]))

    def __str__(self) -> str:
        return f"{self.call} {self.nth} gives {errno.errorcode[self.error]}"


class FailingCalls:
    """The library and its orders; `env` is for the process."""

    def __init__(self, control: Path) -> None:
        if not control.exists():  # otherwise it is shared with another process
            control.write_bytes(bytes(ctypes.sizeof(_Control)))
        with control.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        self._control = _Control.from_buffer(self._shared)
        self.env = {"LD_PRELOAD": str(build(SOURCE)), "FAILING_CALL": str(control)}

    def plan(self, plan: Plan | None, arm: str = "") -> None:
        """Have one call fail, counted from now on or from the opening of a path that ends so."""
        control = self._control
        control.armed = control.fired = 0
        control.counts = (ctypes.c_uint32 * len(CALLS))()
        control.where, control.arm = b"", arm.encode()
        control.nth = 0 if plan is None else plan.nth
        if plan is not None:
            control.failing, control.error = CALLS.index(plan.call), plan.error
        control.armed = 0 if arm else 1

    @property
    def fired(self) -> str | None:
        """What the call that failed was about; None if it has not failed yet."""
        where: bytes = self._control.where
        return where.decode(errors="replace") if self._control.fired else None

    @property
    def counts(self) -> dict[str, int]:
        """How many calls of each kind were made since `plan`."""
        return dict(zip(CALLS, self._control.counts, strict=True))
