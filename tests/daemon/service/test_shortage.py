"""A start without enough descriptors or threads: one line says which, and what to raise."""

from __future__ import annotations

import errno
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from failing_calls import FailingCalls, Plan
from running import Daemon

from daemon.errors import DaemonError, StartError
from daemon.monitoring.shortage import remedy, require_descriptors

MakeDaemon = Callable[..., Daemon]


@pytest.mark.parametrize("limit", [10, 30, 50])
def test_a_start_with_few_descriptors_names_the_limit(daemon: MakeDaemon, limit: int) -> None:
    few = (
        f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))"
    )
    command = daemon().command()
    starting = [command[0], "-c", f"{few}; os.execv(sys.argv[1], sys.argv[1:])", *command]
    ended = subprocess.run(starting, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert line.startswith("tinyastd: the daemon needs 64 descriptors")
    assert f"now {limit} (LimitNOFILE=" in line


# The first two threads from there on are the daemon's own, and it tries them again; the next four
# are libzmq's, and then comes pyzmq's. ONNX Runtime crashes without the fourth file below /sys.
@pytest.mark.parametrize(
    ("plan", "arm", "what"),
    [
        (Plan("thread", 3, errno.EAGAIN), "p.lock", "ZeroMQ"),
        (Plan("thread", 7, errno.EAGAIN), "p.lock", "ZeroMQ"),
        (Plan("open", 4, errno.EMFILE), "/sys/devices/system/cpu/kernel_max", "ONNX Runtime"),
    ],
    ids=str,
)
def test_a_library_that_aborts_ends_the_start_with_a_line(
    daemon: MakeDaemon, tmp_path: Path, plan: Plan, arm: str, what: str
) -> None:
    calls = FailingCalls(tmp_path / "calls")
    listening = daemon(env=calls.env)
    calls.plan(plan, arm=arm)
    listening.spawn()
    assert listening.process.wait(60) == 3, listening.tail()
    last = listening.tail().splitlines()[-1]
    assert last.startswith(f"tinyastd: {what}")
    assert "cannot start" in last
    assert "TasksMax=" in last
    listening.start()
    assert listening.stop() == 0


def test_what_is_short_is_found_among_the_causes_of_an_error() -> None:
    def caused_by(cause: BaseException) -> DaemonError:
        error = StartError("it does not start")
        error.__cause__ = RuntimeError("it failed")
        error.__cause__.__context__ = cause
        return error

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert f"now {limit}" in remedy(caused_by(OSError(errno.EMFILE, "")))
    assert "fs.file-max" in remedy(caused_by(OSError(errno.ENFILE, "")))
    assert "MemoryMax=" in remedy(caused_by(OSError(errno.ENOMEM, "")))
    assert "TasksMax=" in remedy(caused_by(RuntimeError("can't start new thread")))
    assert remedy(caused_by(OSError(errno.EACCES, ""))) == ""
    require_descriptors(free=8)
    with pytest.raises(StartError, match="may open only"):
        require_descriptors(free=limit + 1)
