"""Files and requests that kill the daemon, and a journal that is deleted under it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Daemon, of_type
from sounds import write_wav

MakeDaemon = Callable[..., Daemon]

# A decoder with a fatal fault, and a reader of requests.
POISON = """
import signal, threading
from daemon.pipeline.file_job import FileJob
from daemon.service import inbox
prepare, content = FileJob._prepare, inbox._content

def poisoned(self):
    picture = prepare(self)
    if b"poison" in self.claim.path and not self._then:
        signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)  # before anything else
    return picture

def read(file):
    found = content(file)
    if b"poison-request" in found:
        signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)  # before anything else
    return found

FileJob._prepare, inbox._content = poisoned, read
"""


@pytest.fixture
def poisoned(daemon: MakeDaemon, tmp_path: Path) -> Daemon:
    """A daemon that crashes over files and requests named `poison`."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text("import poison_later\n")
    (hook / "poison_later.py").write_text(
        "import sys\n"
        "class Later:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'daemon.commands.run':\n"
        "            sys.meta_path.remove(self)\n"
        f"            exec({POISON!r}, {{}})\n"
        "sys.meta_path.insert(0, Later())\n"
    )
    return daemon("--workers", "1", env={"PYTHONPATH": str(hook)})


def crashes(listening: Daemon) -> None:
    listening.spawn()
    assert listening.process.wait(60) == -signal.SIGSEGV


def test_a_file_in_work_at_three_crashes_fails(poisoned: Daemon) -> None:
    poison = write_wav(poisoned.folder / "poison.wav")
    for _ in range(3):
        crashes(poisoned)
    innocent = write_wav(poisoned.folder / "innocent.wav", seed=1)
    poisoned.start()
    ends = {end["source"]["path"]: end for end in poisoned.ends(2)}
    assert ends[str(innocent)]["state"] == "done"
    failed = ends[str(poison)]
    assert (failed["state"], failed["error"]["code"], failed["windows"]) == ("failed", "crashed", 0)
    assert "reprocess" in failed["error"]["text"]
    # A new version of it is a new chance.
    write_wav(poison, seed=2)
    assert poisoned.process.wait(60) == -signal.SIGSEGV


def test_a_request_in_work_at_three_crashes_is_removed(poisoned: Daemon) -> None:
    folder = poisoned.state / "requests"
    folder.mkdir(parents=True, mode=0o700)
    poisoned.state.chmod(0o700)
    (folder / "1.json").write_text('{"reprocess": ["/poison-request"]}')
    for _ in range(3):
        crashes(poisoned)
    poisoned.start()
    write_wav(poisoned.folder / "a.wav")
    assert poisoned.ends(1)[0]["state"] == "done"
    poisoned.wait_for(lambda: not list(folder.iterdir()), "removed")


def test_a_request_of_endless_depth_is_removed(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    folder = listening.state / "requests"
    folder.mkdir(mode=0o700)
    (folder / ".x").write_text("[" * 100_000)
    os.rename(folder / ".x", folder / "1.json")
    listening.wait_for(lambda: not list(folder.iterdir()), "removed")
    assert listening.stop() == 0


@pytest.mark.parametrize("what", ["journal", "state"])
def test_a_journal_deleted_under_the_daemon_comes_back_whole(daemon: MakeDaemon, what: str) -> None:
    listening = daemon().start()
    write_wav(listening.folder / "a.wav")
    listening.ends(1)
    if what == "journal":
        for file in listening.state.glob("journal*"):
            file.unlink()
    else:
        shutil.rmtree(listening.state)
    write_wav(listening.folder / "b.wav", seed=1)
    assert listening.status()["pid"] == listening.process.pid
    heard = listening.hear(
        lambda r: any(m["status"] == "journal_restored" for m in of_type(r, "status"))
    )
    listening.kill()
    listening.start()
    write_wav(listening.folder / "c.wav", seed=2)
    again = listening.hear(lambda r: len(of_type(r, "file")) == 3)
    assert [m.message["seq"] for m in again] == list(range(1, len(again) + 1))
    assert [m.body for m in again[: len(heard)]] == [m.body for m in heard]
