"""Work shared among processes: the same result by any number, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import PYTHON_PATH

from tinyast.data.parallel import shared_out
from tinyast.errors import DataError

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_parallel import say_and_wait
from tinyast.data.parallel import shared_out
if __name__ == "__main__":
    with shared_out(2) as share:
        list(share(say_and_wait, [Path("a")]))
"""


def say_and_wait(_: Path) -> None:
    print(os.getpid(), flush=True)
    signal.pause()


def end_hard(_: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_order_is_kept() -> None:
    paths = [Path(str(number)) for number in range(20)]
    for workers in (1, 2):
        with shared_out(workers) as share:
            assert list(share(Path.as_posix, paths)) == [str(number) for number in range(20)]


def test_a_killed_worker_is_told_of() -> None:
    with pytest.raises(DataError, match="a worker process was killed"), shared_out(2) as share:
        list(share(end_hard, [Path("a")]))


def test_workers_end_with_who_started_them(tmp_path: Path) -> None:
    path = tmp_path / "work.py"
    path.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, path, Path(__file__).parent],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PYTHON_PATH},
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    # The worker has the other end of both pipes: they end when it has.
    process.communicate(timeout=60)
    assert not Path(f"/proc/{worker}").exists() or _is_dead(worker)


def _is_dead(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
